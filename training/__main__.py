"""Run `python -m training`: errors that the pipeline foresees end it with one sentence and status 1."""

from __future__ import annotations

import os
import sys

# Before torch is loaded: its threads then soon sleep while they wait for each other. Spinning, a step beside other work took four times
# as long.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from training.cli import app
from training.errors import TrainingError


def main() -> None:
    """Run the command line."""
    try:
        app()
    except TrainingError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
