"""The feeds: every reading on disk, for programs (`affect_head_raw.jsonl`) and for people (`affect_head_readable.log`).

A turn never waits for them. One thread writes; what it cannot keep up with, or what the disk does not take, is counted and left out.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from gateway.feeds_files import RotatingFile
from gateway.feeds_text import raw_line, readable_lines
from gateway.metrics import FEED_DROPPED
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.logs import get_logger

_log = get_logger(__name__)

RAW, READABLE = "affect_head_raw.jsonl", "affect_head_readable.log"
WAITING = 1_024
"""Readings that may wait for the disk: a minute's worth under the heaviest load, a few megabytes."""

_Writer = Callable[[gateway_pb2.TelemetryReading], str]


class Feeds:
    """Writes readings to both files.

    Args:
        folder: where they are; made with mode 0700 if it is not there.
        max_bytes: the size at which a file is rotated.
        files: how many there are of each.
    """

    def __init__(self, folder: Path, max_bytes: int, files: int) -> None:
        self._feeds: list[tuple[RotatingFile, _Writer]] = [
            (RotatingFile(folder / RAW, max_bytes, files), raw_line),
            (RotatingFile(folder / READABLE, max_bytes, files), readable_lines),
        ]
        self._waiting: queue.Queue[gateway_pb2.TelemetryReading | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="feeds", daemon=True)
        self._failing = False

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, reading: gateway_pb2.TelemetryReading) -> None:
        """Have a reading written. Returns at once. The reading must not change any more."""
        try:
            self._waiting.put_nowait(reading)
        except queue.Full:
            FEED_DROPPED.labels("queue_full").inc()

    async def stop(self) -> None:
        """Write what waits, and close."""
        if self._thread.is_alive():
            await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (reading := self._waiting.get()) is not None:
            self._write(reading)
        for file, _ in self._feeds:
            file.close()

    def _write(self, reading: gateway_pb2.TelemetryReading) -> None:
        problem: OSError | None = None
        for file, text_of in self._feeds:
            try:
                file.append(text_of(reading))
            except OSError as error:
                problem = error
        if problem is not None:
            FEED_DROPPED.labels("write_failed").inc()
            if not self._failing:
                _log.error("the feeds cannot be written; turns go on without them", error=str(problem))
        elif self._failing:
            _log.info("the feeds are written again")
        self._failing = problem is not None
