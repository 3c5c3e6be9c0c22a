"""A teacher's readings of the training texts: soft targets for the axes that nobody rated.

One JSON object a line: `key` (the text's content key) and the three axes. The first line says who rated: `teacher`, its id, and
`rows_sha256` of the training split. The file holds no text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.hashing import file_sha256
from training.outputs import AXES
from training.rows import Row


@dataclass(frozen=True, slots=True)
class Ratings:
    """What one teacher says of the texts of a training split."""

    teacher: str
    """Its id; the provenance of every target that comes from here is `teacher:<id>`."""
    rows_sha256: str
    """Of the training split that was rated."""
    axes: Mapping[str, tuple[float, ...]]
    """Content key to the three readings, each -1 to 1."""
    sha256: str = ""
    """Of the file that they were read from."""

    def targets(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return soft targets [rows, 3]: the teacher's reading where the row has no rating of people's, else NaN."""
        result = np.full((len(rows), len(AXES)), np.nan, dtype=np.float32)
        for index, row in enumerate(rows):
            if (said := self.axes.get(row.key)) is not None:
                result[index] = [
                    value if getattr(row, axis) is None else np.nan for axis, value in zip(AXES, said, strict=True)
                ]
        return result


NOBODY = Ratings("", "", {})
"""No teacher: every target is people's."""


def lacks_an_axis(row: Row) -> bool:
    """Whether nobody rated a row on one of the axes at least, so that a teacher has something to add."""
    return row.key != "" and any(getattr(row, axis) is None for axis in AXES)


def write_ratings(path: Path, ratings: Ratings) -> None:
    """Write the ratings in the order of their keys."""
    lines: list[dict[str, str | float]] = [{"teacher": ratings.teacher, "rows_sha256": ratings.rows_sha256}]
    for key, values in sorted(ratings.axes.items()):
        lines.append({"key": key} | {axis: round(value, 4) for axis, value in zip(AXES, values, strict=True)})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")


def read_ratings(path: Path, rows_sha256: str) -> Ratings:
    """Read the ratings of one training split.

    Raises:
        DataError: if the file is missing, does not read as ratings, or rates another split. That also keeps a development
            text out: it is in no training split, and neither is what nearly repeats it.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing; `python -m training rate` makes it.")
    with path.open(encoding="ascii") as file:
        try:
            first = json.loads(next(file))
            teacher, rated = str(first["teacher"]), str(first["rows_sha256"])
            axes: dict[str, tuple[float, ...]] = {}
            for line in file:
                values = json.loads(line)
                axes[str(values["key"])] = said = tuple(float(values[axis]) for axis in AXES)
                if not all(-1 <= value <= 1 for value in said):
                    raise ValueError("an axis outside -1 to 1")
        except (StopIteration, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} does not read as a teacher's ratings: {error}.") from error
    if rated != rows_sha256:
        raise DataError(f"{path} rates another training split than this; rate the texts again.")
    return Ratings(teacher, rated, axes, file_sha256(path))
