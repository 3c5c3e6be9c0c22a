"""The language model that a head is trained on: one whole GGUF, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from limbic.runtime.models import ModelFileError, find_model
from training.errors import ModelError
from training.gguf_file import read_architecture, write_whole
from training.hashing import file_sha256
from training.logs import logger

ARCHITECTURES = ("llama", "qwen3")
"""Those that can be trained and written back. Any decoder can be served."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model.

    Attributes:
        name: what the user called it: a name in limbic/models.toml, or a path.
        path: its GGUF.
        sha256: of that file.
    """

    name: str
    path: Path
    sha256: str


def open_base(name: str, converted: Path) -> Base:
    """Find a base model and return its GGUF.

    Args:
        name: a name in limbic/models.toml, the path of a GGUF, or the folder of a Hugging Face checkpoint.
        converted: where the GGUF of a checkpoint is written, unless it is there already.

    Raises:
        ModelError: there is no such model, it is an adapter only, or its architecture cannot be trained.
    """
    if Path(name).is_dir():
        if not converted.is_file():
            # Only a checkpoint needs torch.
            from training.generative.convert import convert_folder

            logger.info("converting %s to %s", name, converted)
            write_whole(converted, convert_folder(Path(name)), "F16")
        path = converted
    else:
        try:
            model = find_model(name)
            model.verify()
        except ModelFileError as error:
            raise ModelError(
                f"{error}. A base is a name in limbic/models.toml, a GGUF, or a checkpoint's folder."
            ) from error
        path = model.path
    return Base(name, path, file_sha256(path))


def check_architecture(path: Path) -> str:
    """Return a base's architecture.

    Raises:
        ModelError: it is no whole model, or none that can be trained.
    """
    architecture = read_architecture(path)
    if architecture not in ARCHITECTURES:
        raise ModelError(f"{path} is of architecture {architecture!r}; {' and '.join(ARCHITECTURES)} can be trained.")
    return architecture
