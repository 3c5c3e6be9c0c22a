"""Generated stubs of limbic.llm.v1. Never edited: see tools/generate_protos.sh."""
