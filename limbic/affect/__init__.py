"""Generated stubs of limbic.affect.v1. Never edited: see tools/generate_protos.sh."""
