"""What waits for a worker, and in which order: the one place that knows where a reading stands.

Two lanes. Utterances that someone waits for are bounded in number and go first. Readings in the background (explanations) run
only when nothing else waits, and give way in the middle: one that runs while an utterance finds no worker free is stopped and
goes back to the head of its lane.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from enum import Enum, auto

from limbic.runtime.deadline import Deadline
from limbic.runtime.llama import AbortFlag
from services.affect_head.errors import HeadUnavailableError
from services.affect_head.head import Reading, Utterance


class Stage(Enum):
    """How far a job is."""

    QUEUED = auto()
    RUNNING = auto()
    DONE = auto()


class Job:
    """One reading that someone asked for.

    Args:
        utterance: what to read.
        deadline: when nobody needs it any more.
        future: where its loop waits for the reading.
        queued_at: when it was asked for, in seconds of the monotonic clock.
        background: whether it gives way to others.
    """

    __slots__ = ("abort", "background", "deadline", "future", "queued_at", "stage", "utterance", "withdrawn")

    def __init__(
        self,
        utterance: Utterance,
        deadline: Deadline,
        future: asyncio.Future[Reading],
        *,
        queued_at: float,
        background: bool,
    ) -> None:
        self.utterance = utterance
        self.deadline = deadline
        self.future = future
        self.queued_at = queued_at
        self.background = background
        self.stage = Stage.QUEUED
        self.abort = AbortFlag()
        self.withdrawn = False


class JobQueue:
    """Hands jobs to workers. Every method may be called from any thread, and none but `take` blocks.

    Args:
        limit: utterances that may wait; background jobs are not counted, their number is bounded by who makes them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._background: deque[Job] = deque()
        self._running: set[Job] = set()
        self._idle = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._background)

    @property
    def ahead(self) -> int:
        """Utterances that are waiting or being read, which a new one would come after."""
        with self._changed:
            return len(self._waiting) + sum(not job.background for job in self._running)

    def put(self, job: Job) -> bool:
        """Add a job, and return whether there was room for it.

        Raises:
            HeadUnavailableError: the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise HeadUnavailableError("the affect head is going down", retry_after=1.0)
            if job.background:
                self._background.append(job)
            else:
                if len(self._waiting) >= self._limit + self._idle:
                    return False
                self._waiting.append(job)
                if len(self._waiting) > self._idle:
                    self._make_way()
            self._changed.notify()
            return True

    def take(self) -> Job | None:
        """Wait for the next job and mark it as running; None once the queue is closed."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._closed or self._waiting or self._background)
            self._idle -= 1
            if self._closed:
                return None
            job = (self._waiting or self._background).popleft()
            job.stage = Stage.RUNNING
            self._running.add(job)
            return job

    def done(self, job: Job) -> None:
        """Mark a job as finished, in whichever way."""
        with self._changed:
            self._running.discard(job)
            job.stage = Stage.DONE

    def give_back(self, job: Job) -> bool:
        """Put a stopped job back to the head of its lane, if it was stopped only to make way; return whether it was."""
        with self._changed:
            if job.withdrawn or self._closed:
                return False
            self._running.discard(job)
            job.stage = Stage.QUEUED
            # A new flag: the old one is set, and a worker's context may still hold it.
            job.abort = AbortFlag()
            self._background.appendleft(job)
            self._changed.notify()
            return True

    def withdraw(self, job: Job) -> Stage:
        """Take a job out of the queue, or stop it if it runs; return how far it was."""
        with self._changed:
            stage = job.stage
            if stage is Stage.QUEUED:
                (self._background if job.background else self._waiting).remove(job)
                job.stage = Stage.DONE
            job.withdrawn = True
            job.abort.set()
            return stage

    def close(self) -> list[Job]:
        """Let no job in, send the workers home, stop what runs, and return what was still waiting."""
        with self._changed:
            self._closed = True
            left = [*self._waiting, *self._background]
            self._waiting.clear()
            self._background.clear()
            for job in left:
                job.stage = Stage.DONE
            for job in self._running:
                job.abort.set()
            self._changed.notify_all()
            return left

    def _make_way(self) -> None:
        for job in self._running:
            if job.background and not job.abort.is_set():
                job.abort.set()
                return
