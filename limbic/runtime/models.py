"""Model files: where they lie, and whether they are what they should be."""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

GGUF_MAGIC = b"GGUF"


class ModelFileError(Exception):
    """A model file is missing, or is not what it should be. The text says what to do."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file that has not been checked yet.

    Attributes:
        name: its name in models.toml, or the file's own.
        path: where it lies.
        sha256: what it must contain; empty if nobody says.
        prompt_format: how a language model is best prompted; empty if nobody says.
    """

    name: str
    path: Path
    sha256: str
    prompt_format: str = ""

    def verify(self) -> str:
        """Check that the file is there, is a GGUF and has the right content; return its SHA-256. Reads the whole file.

        Raises:
            ModelFileError: it is not so.
        """
        if not self.path.is_file():
            raise ModelFileError(f"model {self.name}: {self.path} does not exist; `make up` builds or installs it")
        with self.path.open("rb") as file:
            if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
                raise ModelFileError(f"model {self.name}: {self.path} is no GGUF file")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if self.sha256 and digest != self.sha256:
            raise ModelFileError(
                f"model {self.name}: {self.path} has SHA-256 {digest}, expected {self.sha256}; "
                "it was changed or cut short: remove it and run `make up`"
            )
        return digest


def known_models() -> list[str]:
    """Return the names in models.toml."""
    return list(_manifest())


def record_sha256(path: Path, sha256: str) -> None:
    """Write down what a model file contains, beside it, in the form that `sha256sum --check` reads."""
    _record_of(path).write_text(f"{sha256}  {path.name}\n", "utf-8")


def recorded_sha256(path: Path) -> str:
    """Return what was written down of a model file's content; empty if nothing was.

    Raises:
        ModelFileError: what is written down cannot be read.
    """
    record = _record_of(path)
    if not record.is_file():
        return ""
    digest = record.read_text("utf-8", "replace").partition(" ")[0]
    if len(digest) != hashlib.sha256().digest_size * 2 or not set(digest) <= set("0123456789abcdef"):
        raise ModelFileError(f"model {path.name}: {record} holds no SHA-256; remove it, or pull the model again")
    return digest


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _manifest() -> dict[str, Any]:
    return tomllib.loads(resources.files("limbic").joinpath("models.toml").read_text("utf-8"))


def find_model(name_or_path: str, sha256: str = "") -> ModelFile:
    """Find a model by its name in models.toml, or by the path of a GGUF file.

    Of a file that `limbic models pull` fetched, the SHA-256 that it had then is required where no other one is given.

    Raises:
        ModelFileError: no such name, or the package that brings the file is not installed.
    """
    manifest = _manifest()
    entry = manifest.get(name_or_path)
    if entry is None:
        if not name_or_path.endswith(".gguf"):
            raise ModelFileError(
                f"no model is called {name_or_path!r}; known: {', '.join(manifest)}; or give the path of a .gguf file"
            )
        path = Path(name_or_path)
        return ModelFile(path.name, path, sha256 or recorded_sha256(path))
    prompt_format = entry.get("prompt_format", "")
    if package := entry.get("package"):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelFileError(f"model {name_or_path}: the package {package} is not installed; `make up` installs it")
        return ModelFile(
            name_or_path, Path(spec.submodule_search_locations[0]) / entry["file"], entry["sha256"], prompt_format
        )
    return ModelFile(name_or_path, Path(entry["file"]), entry["sha256"], prompt_format)
