"""Generated stubs of limbic.state.v1. Never edited: see tools/generate_protos.sh."""
