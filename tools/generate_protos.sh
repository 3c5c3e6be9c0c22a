#!/usr/bin/env bash
# Generates the Python stubs from protos/ into limbic/, with the pinned grpcio-tools and mypy-protobuf of the environment.
# `tools/generate_protos.sh DIR` writes them below DIR instead, to compare with what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-.}
bin=${VENV:-.venv}/bin
mkdir -p "$out/limbic"
mapfile -t protos < <(find protos -name '*.proto' | sort)
"$bin/python" -m grpc_tools.protoc -Iprotos \
  --plugin=protoc-gen-mypy="$bin/protoc-gen-mypy" --plugin=protoc-gen-mypy_grpc="$bin/protoc-gen-mypy_grpc" \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet,generate_concrete_servicer_stubs:$out" "${protos[@]}"
for package in affect state llm gateway; do
  printf '"""Generated stubs of limbic.%s.v1. Never edited: see tools/generate_protos.sh."""\n' "$package" | tee "$out/limbic/$package/__init__.py" >"$out/limbic/$package/v1/__init__.py"
done
