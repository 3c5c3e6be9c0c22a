"""A file of lines that grows to a size and is then rotated. Blocks: for one thread of its own."""

from __future__ import annotations

import os
from pathlib import Path

_BLOCK = 64 * 1024


class RotatingFile:
    """Appends whole lines, never half of one, readable by this user only.

    Args:
        path: the current file; older ones are PATH.1, PATH.2, …
        max_bytes: a file that would grow beyond this is put aside first.
        files: how many there are, the current one among them.
    """

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._fd: int | None = None

    def append(self, lines: str) -> None:
        """Write lines, each with its end.

        Raises:
            OSError: they could not be written; nothing of them stands in the file.
        """
        data = lines.encode()
        try:
            fd = self._opened()
            size = os.fstat(fd).st_size
            if size and size + len(data) > self._max_bytes:
                self._rotate()
                fd, size = self._opened(), 0
            self._write(fd, data, size)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _opened(self) -> int:
        if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
            # Somebody removed it: what is written to it now would be seen by nobody.
            self.close()
        if self._fd is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(self._fd, 0o600)
            _mend(self._fd)
        return self._fd

    def _rotate(self) -> None:
        self.close()
        for number in range(self._files - 1, 0, -1):
            source = self._numbered(number - 1)
            if source.exists():
                source.replace(self._numbered(number))
        if self._files == 1:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    @staticmethod
    def _write(fd: int, data: bytes, size: int) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
        except OSError:
            os.ftruncate(fd, size)
            raise


def _mend(fd: int) -> None:
    """Cut off the half of a line with which a killed process left the file."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            os.ftruncate(fd, start + newline + 1)
            return
        end = start
    os.ftruncate(fd, 0)
