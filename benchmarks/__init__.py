"""What the README claims, measured. Each module is a benchmark of its own, `python -m benchmarks.NAME`; `python -m benchmarks` runs all."""
