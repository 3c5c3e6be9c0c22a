"""Generated stubs of limbic.gateway.v1. Never edited: see tools/generate_protos.sh."""
