"""Fetches one large file over HTTP so that what lies at its place is always whole and always what it should be.

It grows beside its place as `NAME.part` and is moved there once its length and its SHA-256 are right. A connection that breaks is taken up
where it broke, now or at the next start; a server that cannot do that, or has another file by now, starts it from the beginning.

HTTP's own terms: RFC 9110, sections 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

import httpx

from limbic.runtime.models import GGUF_MAGIC

CHUNK_BYTES = 1024 * 1024
SPARE_BYTES = 256 * 1024 * 1024
"""Disk that a download leaves free: the journal may lie on the same one."""
FRUITLESS_TRIES = 5
"""Connections in a row that bring nothing before it is given up."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")


class DownloadError(Exception):
    """A file could not be fetched. The text says what to do."""


class _BrokenOffError(Exception):
    """A connection brought less than was announced."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is in its place.

    Attributes:
        path: where.
        sha256: its content.
        checked: whether that was compared with what somebody else says it must be.
    """

    path: Path
    sha256: str
    checked: bool


class Download:
    """One file on its way.

    Args:
        client: follows redirects; its headers go to the URL's own host only.
        url: where it comes from.
        target: where it goes; its folder is made.
        sha256: what it must contain; empty where only the server says, or nobody.
        on_progress: told how many bytes are here and how many there are in all.
        sleep: waits between two tries.
    """

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        target: Path,
        *,
        sha256: str = "",
        on_progress: Callable[[int, int], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._url = url
        self._target = target
        self._part = target.with_name(f"{target.name}.part")
        # Which version of the file the part is of, as the server calls it.
        self._version_file = target.with_name(f"{target.name}.part.version")
        self._wanted_sha256 = sha256
        self._on_progress = on_progress
        self._sleep = sleep
        self._hasher = hashlib.sha256()
        self._here = 0
        self._beginning = b""
        self._total = 0

    def fetch(self) -> Fetched:
        """Fetch it, or take up where an earlier attempt ended. Blocks for as long as that takes.

        Raises:
            DownloadError: it could not be had, or is not what it should be.
        """
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            with self._part.open("ab") as part, _alone(part, self._target):
                self._take_up()
                self._fetch_all(part)
                sha256 = self._hasher.hexdigest()
                self._check(sha256)
                part.flush()
                os.fsync(part.fileno())
                self._part.replace(self._target)
                self._version_file.unlink(missing_ok=True)
                _sync_folder(self._target.parent)
        except OSError as error:
            raise DownloadError(
                f"{self._part} cannot be written ({error.strerror}); what was fetched is kept, the same command goes on"
            ) from None
        return Fetched(self._target, sha256, bool(self._wanted_sha256))

    def _fetch_all(self, part: BinaryIO) -> None:
        fruitless, problem = 0, ""
        while True:
            before = self._here
            wait: float | None = None
            try:
                if self._request(part):
                    return
                problem = "the server has another version of the file now"
            except (_BrokenOffError, httpx.TransportError) as error:
                problem = f"the connection broke off ({type(error).__name__.strip('_')})"
            except httpx.HTTPStatusError as error:
                problem = f"the server answers {error.response.status_code}"
                wait = _retry_after_s(error.response)
            fruitless = 0 if self._here > before else fruitless + 1
            if fruitless >= FRUITLESS_TRIES:
                raise DownloadError(
                    f"{problem}, {fruitless} times in a row, with {self._here:,} bytes here; the same command goes on from there"
                )
            if fruitless or wait:
                self._sleep(min(LONGEST_WAIT_S, max(wait or 0.0, FIRST_WAIT_S * 2 ** max(0, fruitless - 1))))

    def _request(self, part: BinaryIO) -> bool:
        """Make one request and return whether the file is complete; False if it has to be begun anew."""
        headers = {"Accept-Encoding": "identity"}
        version = self._version_file.read_text("utf-8") if self._version_file.is_file() else ""
        if self._here and not (version or self._wanted_sha256):
            # Nothing would tell if the rest were of another file.
            self._begin_anew(part)
        if self._here:
            headers["Range"] = f"bytes={self._here}-"
            if version:
                headers["If-Range"] = version
        with self._client.stream("GET", self._url, headers=headers) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self._is_all(part, answer)
            if answer.status_code in _PASSING:
                answer.raise_for_status()
            if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                raise DownloadError(_refusal(answer.status_code, self._url))
            start, total = _extent(answer)
            if start != self._here:
                # The whole file instead of the rest, or a rest that does not follow.
                self._begin_anew(part)
                if start:
                    return False
            self._learn(answer, total)
            self._receive(part, answer)
        return True

    def _is_all(self, part: BinaryIO, answer: httpx.Response) -> bool:
        # No byte follows what is here: it is complete, or of another file.
        match = _UNSATISFIED_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if match is None or int(match[1]) != self._here:
            self._begin_anew(part)
            return False
        self._wanted_sha256 = self._wanted_sha256 or _said_by_hub(answer)[0]
        return True

    def _learn(self, answer: httpx.Response, total: int) -> None:
        said_sha256, said_bytes = _said_by_hub(answer)
        if said_sha256 and not self._wanted_sha256:
            self._wanted_sha256 = said_sha256
        if said_bytes and total and said_bytes != total:
            raise DownloadError(
                f"the server announces {total:,} bytes of a file that its hub says has {said_bytes:,}; not fetched"
            )
        self._total = total or said_bytes
        if not self._total and not self._wanted_sha256:
            raise DownloadError(
                "the server does not say how long the file is, and nobody what it must contain: give its SHA-256"
            )
        free = shutil.disk_usage(self._part.parent).free
        if self._total - self._here + SPARE_BYTES > free:
            raise DownloadError(
                f"{self._total - self._here:,} bytes are missing and only {free:,} are free in {self._part.parent}, of which "
                f"{SPARE_BYTES:,} are left alone; make room, the same command goes on"
            )
        # A weak version says that two files mean the same, not that they are the same.
        version = answer.headers.get("etag", "")
        if version and not version.startswith("W/"):
            self._version_file.write_text(version, "utf-8")
        else:
            self._version_file.unlink(missing_ok=True)

    def _receive(self, part: BinaryIO, answer: httpx.Response) -> None:
        self._on_progress(self._here, self._total)
        for chunk in answer.iter_raw():
            part.write(chunk)
            self._take(chunk)
            # A page that asks to log in comes with status 200 as well.
            if not GGUF_MAGIC.startswith(self._beginning):
                self._discard(part)
                kind = answer.headers.get("content-type", "no content type")
                raise DownloadError(
                    f"what {_host(self._url)} sent is no GGUF file ({kind}); is it the file's own address?"
                )
            self._on_progress(self._here, self._total)
        part.flush()
        if self._total and self._here < self._total:
            raise _BrokenOffError
        if self._total and self._here > self._total:
            self._discard(part)
            raise DownloadError(f"the server sent more than the {self._total:,} bytes that it announced; discarded")

    def _check(self, sha256: str) -> None:
        if self._wanted_sha256 and sha256 != self._wanted_sha256:
            self._part.unlink(missing_ok=True)
            self._version_file.unlink(missing_ok=True)
            raise DownloadError(
                f"what came has SHA-256 {sha256}, expected {self._wanted_sha256}; discarded: it was changed on its way or at its source"
            )

    def _take_up(self) -> None:
        # Through a file object of its own: one that reads and appends by turns, through a buffer, puts bytes where they do not belong.
        with self._part.open("rb") as part:
            while chunk := part.read(CHUNK_BYTES):
                self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self._here += len(chunk)
        self._beginning = (self._beginning + chunk)[: len(GGUF_MAGIC)]

    def _begin_anew(self, part: BinaryIO) -> None:
        part.truncate(0)
        self._version_file.unlink(missing_ok=True)
        self._hasher = hashlib.sha256()
        self._here = 0
        self._beginning = b""

    def _discard(self, part: BinaryIO) -> None:
        self._begin_anew(part)
        self._part.unlink(missing_ok=True)


def _extent(answer: httpx.Response) -> tuple[int, int]:
    """Return where in the file an answer begins, and the file's length, 0 if that is not said."""
    if answer.status_code == httpx.codes.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if match is None:
            raise DownloadError("the server sent a part of the file without saying which")
        return int(match[1]), int(match[2])
    return 0, int(answer.headers.get("content-length", "0"))


def _said_by_hub(answer: httpx.Response) -> tuple[str, int]:
    # Hugging Face says on the way, before it redirects to where the file lies, what the file must contain.
    for response in (*answer.history, answer):
        sha256 = response.headers.get("x-linked-etag", "").strip('"')
        if _SHA256.fullmatch(sha256):
            return sha256, int(response.headers.get("x-linked-size", "0"))
    return "", 0


def _retry_after_s(answer: httpx.Response) -> float | None:
    said = answer.headers.get("retry-after", "")
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None


def _refusal(status: int, url: str) -> str:
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return (
            f"{_host(url)} wants to know who asks (HTTP {status}): accept the model's terms on its page there, and name a file that "
            "holds your token in LIMBIC_RUNTIME__HUB_TOKEN_FILE"
        )
    if status == httpx.codes.NOT_FOUND:
        return f"{_host(url)} has no such file (HTTP 404); is the name right, with upper and lower case?"
    return f"{_host(url)} refuses (HTTP {status})"


def _host(url: str) -> str:
    return httpx.URL(url).host


@contextmanager
def _alone(part: BinaryIO, target: Path) -> Iterator[None]:
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held the lock may have moved this very file to its place since it was opened here.
        if not Path(part.name).exists() or not os.path.samestat(os.fstat(part.fileno()), Path(part.name).stat()):
            raise BlockingIOError
    except BlockingIOError:
        raise DownloadError(f"{target} is being fetched already, by another process") from None
    yield


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
