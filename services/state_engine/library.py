"""The temperaments that sessions may choose from: those that are shipped, and those of a directory of the operator's."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from services.state_engine.errors import TemperamentNotFoundError
from services.state_engine.temperament import Temperament, TemperamentError, parse_temperament

_SUFFIX = ".toml"
_LARGEST_FILE = 256 * 1024


class TemperamentLibrary:
    """All temperaments, by name, and those that sessions began with, by digest.

    Args:
        directory: more files, besides those that are shipped; one of the same name takes the shipped one's place.

    Raises:
        TemperamentError: one of them cannot be used, or the directory cannot be read.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._by_name: dict[str, Temperament] = {}
        self._by_digest: dict[str, Temperament] = {}
        folders: list[Traversable] = [files("services.state_engine").joinpath("temperaments")]
        if directory is not None:
            folders.append(directory)
        for folder in folders:
            self._add_all(folder)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that sessions may choose, sorted."""
        return tuple(sorted(self._by_name))

    def named(self, name: str) -> Temperament:
        """Return the temperament of a name.

        Raises:
            TemperamentNotFoundError: there is none.
        """
        if name not in self._by_name:
            raise TemperamentNotFoundError(name, self.names)
        return self._by_name[name]

    def recorded(self, name: str, digest: str, text: str) -> Temperament:
        """Return the temperament that a session began with, whatever its file holds now.

        Raises:
            TemperamentError: this version of the program cannot use it any more.
        """
        temperament = self._by_digest.get(digest)
        if temperament is None:
            temperament = parse_temperament(name, text, f"journal: temperament {name}")
            self._by_digest[digest] = temperament
        return temperament

    def _add_all(self, folder: Traversable) -> None:
        try:
            entries = sorted(
                (entry for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)), key=lambda e: e.name
            )
            sources = [(entry, entry.read_bytes()) for entry in entries]
        except OSError as error:
            raise TemperamentError(str(folder), "(directory)", f"cannot be read: {error.strerror}") from error
        for entry, source in sources:
            if len(source) > _LARGEST_FILE:
                raise TemperamentError(str(entry), "(file)", f"is larger than {_LARGEST_FILE} bytes")
            try:
                text = source.decode()
            except UnicodeDecodeError:
                raise TemperamentError(str(entry), "(file)", "is not UTF-8") from None
            temperament = parse_temperament(entry.name.removesuffix(_SUFFIX), text, str(entry))
            self._by_name[temperament.name] = temperament
            self._by_digest[temperament.digest] = temperament
