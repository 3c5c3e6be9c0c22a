"""One training row: a text, the targets that its source really carries, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from training.errors import DataError

_TARGETS = ("emotions", "xed", "valence", "intimacy", "tension", "arousal", "dominance", "archetype")


@dataclass(frozen=True, slots=True)
class Row:
    """A text with its targets; a target of None was never rated, and teaches nothing."""

    key: str
    """Content key (`training.text.content_key`): the row's identity in every split."""
    text: str
    """Normalised to ASCII."""
    source: str
    """The source that the row is sampled with."""
    provenance: tuple[str, ...]
    """Every `file:line` (or `file:id`) that this content was found at and took a target from."""
    emotions: tuple[int, ...] | None = None
    """Indexes into `outputs.EMOTIONS`, all that were given."""
    xed: tuple[int, ...] | None = None
    """Indexes into `outputs.XED_LABELS`."""
    valence: float | None = None
    intimacy: float | None = None
    tension: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    """Axes, each -1 to 1."""
    archetype: str | None = field(default=None)
    """A probe's archetype; for reports only, never a target."""

    def completed_by(self, other: Row) -> Row | None:
        """Return this row with the targets that only `other` carries, or None where `other` adds nothing."""
        missing = {
            name: getattr(other, name)
            for name in _TARGETS
            if getattr(self, name) is None and getattr(other, name) is not None
        }
        if not missing:
            return None
        return replace(self, provenance=self.provenance + other.provenance, **missing)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line, leaving out what a row does not carry."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        for row in rows:
            present = {name: value for name, value in asdict(row).items() if value is not None}
            file.write(json.dumps(present) + "\n")


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows that `write_rows` wrote.

    Raises:
        DataError: if the file is missing or a line is not a row.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; `python -m training dataset` makes it.")
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            try:
                values = json.loads(line)
                for name in ("provenance", "emotions", "xed"):
                    if name in values:
                        values[name] = tuple(values[name])
                yield Row(**values)
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}, line {number} is not a training row: {error}.") from error
