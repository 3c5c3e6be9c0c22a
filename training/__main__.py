"""Run `python -m training`: errors that the pipeline foresees end it with one sentence and status 1."""

from __future__ import annotations

import sys

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
