"""The pipeline's exceptions, each carrying one sentence that says what is wrong and what to do.

TrainingError
├── DataError        a training file is missing or does not read as it should
├── IntegrityError   a file's SHA-256 is not the one that was recorded
├── ModelError       a model or adapter file is not what the command needs
├── RaterError       a server that rates texts cannot be reached, or refuses
├── RecipeError      a recipe's field cannot be set so
└── CheckpointError  a run cannot be continued from what its folder holds
"""

from __future__ import annotations


class TrainingError(Exception):
    """Anything the pipeline refuses; the command line prints it as one sentence and exits with status 1."""


class DataError(TrainingError):
    """A training file is missing or does not read as it should."""


class IntegrityError(TrainingError):
    """A file's SHA-256 is not the one that was recorded."""


class ModelError(TrainingError):
    """A model or adapter file is not what the command needs."""


class RaterError(TrainingError):
    """A server that rates texts cannot be reached, or refuses."""


class RecipeError(TrainingError):
    """A recipe's field cannot be set so."""


class CheckpointError(TrainingError):
    """A run cannot be continued from what its folder holds."""
