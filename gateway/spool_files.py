"""The spool's files: how facts lie on disk, and what survives a crash. Blocking; run in one thread.

A directory holds numbered segments. A segment is a sequence of records, each a 4-byte length, a CRC-32 of the payload (both big-endian)
and the payload, a serialized google.protobuf.Any. Records are only ever appended, and a segment is deleted when each of its records has
been acknowledged; so after a crash some acknowledged records may be there again, which their ids make harmless.

A segment ends where it was torn off by a crash, and a start never writes into an old segment, so a torn end hides nothing. A record whose
content is damaged ends it too, but then the file is set aside and not deleted: what lies behind may still be of use to someone.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_HEADER = struct.Struct(">II")
_SUFFIX = ".facts"
_DAMAGED_SUFFIX = ".damaged"
_REJECTED = "rejected.facts-aside"
_LOCK = "lock"

SEGMENT_BYTES = 1024 * 1024
"""A segment that has reached this size is not written to any more, so that a long outage frees its space bit by bit."""


class SpoolLockedError(Exception):
    """Another process uses this spool."""


def encode(payload: bytes) -> bytes:
    """Return a record. An empty payload is no record: a file that a crash has filled with zeros would be full of them."""
    if not payload:
        raise ValueError("a record cannot be empty")
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def decode(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield each whole record's end and payload, up to the first that is torn or damaged."""
    while offset + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, offset)
        end = offset + _HEADER.size + length
        payload = data[offset + _HEADER.size : end]
        if length == 0 or end > len(data) or zlib.crc32(payload) != checksum:
            return
        yield end, payload
        offset = end


def is_torn(data: bytes, end: int) -> bool:
    """Tell whether what follows the last whole record is the beginning of one that a crash cut short.

    A file system may also have made the file longer without its content: zeros count as torn.
    """
    rest = data[end:]
    if not any(rest) or len(rest) < _HEADER.size:
        return True
    length, _ = _HEADER.unpack_from(rest)
    return length > 0 and _HEADER.size + int(length) > len(rest)


class SpoolFiles:
    """The segments of one directory, which is created with mode 0700 and locked against a second user.

    Args:
        directory: where they lie.
        max_bytes: how much may lie there.

    Raises:
        SpoolLockedError: another process uses the directory.
        OSError: it cannot be created or read.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = self._acquire()
        self._segments = sorted(
            int(path.stem) for path in directory.iterdir() if path.suffix == _SUFFIX and path.stem.isdigit()
        )
        self._next = self._segments[-1] + 1 if self._segments else 1
        self._bytes = sum(self._path(number).stat().st_size for number in self._segments)
        self._writer: int | None = None
        self._written = 0
        self._read_offset = 0
        self._peeked_bytes = 0

    def close(self) -> None:
        """Let go of the directory. What lies there stays."""
        self._close_writer()
        os.close(self._lock)

    @property
    def size_bytes(self) -> int:
        """What lies there."""
        return self._bytes

    def records(self) -> Iterator[bytes]:
        """Yield the payload of every record that is there, oldest first."""
        for number in self._segments:
            for _, payload in decode(self._path(number).read_bytes()):
                yield payload

    def append(self, payloads: list[bytes]) -> None:
        """Append records and make them durable.

        Raises:
            OSError: they could not be written (also: there is no room left for them); none of them counts.
        """
        blob = b"".join(map(encode, payloads))
        if self._bytes + len(blob) > self._max_bytes:
            raise OSError(f"the spool holds {self._bytes} of {self._max_bytes} bytes")
        if self._writer is not None and self._written >= SEGMENT_BYTES:
            self._close_writer()
        if self._writer is None:
            self._writer, self._written = self._open_segment(), 0
        try:
            _write_all(self._writer, blob)
            os.fsync(self._writer)
        except OSError:
            # Whatever of it has reached the file must not stand in front of later records.
            os.ftruncate(self._writer, self._written)
            self._close_writer()
            raise
        self._written += len(blob)
        self._bytes += len(blob)

    def peek(self) -> bytes | None:
        """Return the oldest record that is not acknowledged, or None if there is none."""
        while self._segments:
            payload = self._read_record()
            if payload is not None:
                self._peeked_bytes = _HEADER.size + len(payload)
                return payload
            self._finish_segment()
        return None

    def acknowledge(self) -> None:
        """Count the record that was peeked at as done with. The last one of a segment takes the segment with it."""
        self._read_offset += self._peeked_bytes
        self._peeked_bytes = 0
        if self._read_offset >= self._path(self._segments[0]).stat().st_size:
            self._finish_segment()

    def set_aside(self, payload: bytes) -> None:
        """Append a record to the file of those that were refused for good."""
        descriptor = os.open(self._directory / _REJECTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(encode(payload))
            file.flush()
            os.fsync(file.fileno())

    def _acquire(self) -> int:
        descriptor = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SpoolLockedError(f"another process uses the spool at {self._directory}") from None
        return descriptor

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012d}{_SUFFIX}"

    def _read_record(self) -> bytes | None:
        with self._path(self._segments[0]).open("rb") as file:
            file.seek(self._read_offset)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return None
            # A damaged length may be anything; reading stops at the end of the file.
            return next((payload for _, payload in decode(header + file.read(_HEADER.unpack(header)[0]))), None)

    def _open_segment(self) -> int:
        number = self._next
        descriptor = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._next += 1
        self._segments.append(number)
        self._sync_directory()
        return descriptor

    def _close_writer(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def _finish_segment(self) -> None:
        number = self._segments[0]
        path = self._path(number)
        if len(self._segments) == 1:
            # The one that is being written, if any is.
            self._close_writer()
        data = path.read_bytes()
        if is_torn(data, self._read_offset):
            path.unlink()
        else:
            path.rename(path.with_suffix(_DAMAGED_SUFFIX))
        self._bytes -= len(data)
        self._segments.pop(0)
        self._read_offset = self._peeked_bytes = 0
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, blob: bytes) -> None:
    view = memoryview(blob)
    while view:
        view = view[os.write(descriptor, view) :]
