"""The workers: one thread and one reader each, fed from a bounded queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from limbic.runtime.clock import Clock
from limbic.runtime.deadline import Deadline
from services.affect_head import metrics
from services.affect_head.errors import DeadlineTooShortError, HeadUnavailableError, QueueFullError
from services.affect_head.head import Reader, Reading, ReadingAbortedError, Utterance
from services.affect_head.jobs import Job, JobQueue, Stage

_COST_WEIGHT = 0.1
"""Of the newest reading in the mean cost: about the last twenty count."""

_SHORTEST_RETRY_S = 0.01


class ReaderPool:
    """Reads utterances on several cores without ever blocking the event loop.

    Args:
        readers: one for each worker. The pool closes them.
        queue_limit: utterances that may wait.
        expected_cost_s: seconds that a reading takes, until the first ones have shown it.
        clock: for the time that jobs wait.
    """

    def __init__(self, readers: Sequence[Reader], *, queue_limit: int, expected_cost_s: float, clock: Clock) -> None:
        self._queue = JobQueue(queue_limit)
        self._queue_limit = queue_limit
        self._mean_cost_s = expected_cost_s
        self._clock = clock
        metrics.QUEUE_DEPTH.set_function(lambda: len(self._queue))
        self._threads = [
            threading.Thread(target=self._work, args=(reader,), name=f"affect-{number}", daemon=True)
            for number, reader in enumerate(readers)
        ]
        metrics.WORKERS.set(len(self._threads))
        for thread in self._threads:
            thread.start()

    async def read(self, utterance: Utterance, deadline: Deadline, *, background: bool = False) -> Reading:
        """Read an utterance; cancelling this call, or its deadline, stops the computation.

        Args:
            utterance: what to read.
            deadline: when nobody needs it any more.
            background: let every utterance that is not go first. The caller bounds how many of these there are.

        Raises:
            QueueFullError: too many wait already.
            DeadlineTooShortError: the deadline came first.
            HeadUnavailableError: the pool is closing.
        """
        loop = asyncio.get_running_loop()
        job = Job(utterance, deadline, loop.create_future(), queued_at=self._clock.monotonic(), background=background)
        if deadline.remaining() <= 0:
            raise self._late()
        if not self._queue.put(job):
            metrics.SHED_QUEUE_FULL.inc()
            raise QueueFullError(
                f"{self._queue_limit} utterances are waiting already",
                retry_after=self._retry_after_s(),
                limit=str(self._queue_limit),
            )
        try:
            # The loop's clock is the deadline's.
            async with asyncio.timeout_at(deadline.at):
                return await job.future
        except TimeoutError:
            raise DeadlineTooShortError("the deadline came before the reading") from None
        finally:
            stage = self._queue.withdraw(job)
            if stage is Stage.QUEUED:
                metrics.CANCELLED_QUEUED.inc()
            elif stage is Stage.RUNNING:
                metrics.CANCELLED_RUNNING.inc()

    def close(self) -> None:
        """Stop what runs, refuse what waits, and wait for the workers to end. Blocks; call it from a thread."""
        for job in self._queue.close():
            self._settle(job, HeadUnavailableError("the affect head is going down", retry_after=1.0))
        for thread in self._threads:
            thread.join()

    def _work(self, reader: Reader) -> None:
        while (job := self._queue.take()) is not None:
            outcome = self._outcome(job, reader)
            if outcome is not None:
                self._queue.done(job)
                self._settle(job, outcome)
        reader.close()

    def _outcome(self, job: Job, reader: Reader) -> Reading | Exception | None:
        """Read; None if the job went back to the queue."""
        if job.deadline.remaining() <= 0:
            return self._late()
        waited = self._clock.monotonic() - job.queued_at
        try:
            with metrics.BUSY_WORKERS.track_inprogress():
                reading = reader.read(job.utterance, job.abort)
        except ReadingAbortedError:
            if self._queue.give_back(job):
                return None
            return HeadUnavailableError("the affect head is going down", retry_after=1.0)
        except Exception as error:  # noqa: BLE001 (whatever it is belongs to the call that waits for it, and not to this thread)
            return error
        if job.background:
            # Its waiting is meant to be, and nobody's turn depends on it.
            return reading
        metrics.QUEUE_WAIT_SECONDS.observe(waited)
        metrics.COMPUTE_SECONDS.observe(reading.latency_s)
        self._mean_cost_s += _COST_WEIGHT * (reading.latency_s - self._mean_cost_s)
        return reading

    @staticmethod
    def _settle(job: Job, outcome: Reading | Exception) -> None:
        def deliver() -> None:
            if job.future.done():
                return
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

        job.future.get_loop().call_soon_threadsafe(deliver)

    @staticmethod
    def _late() -> DeadlineTooShortError:
        metrics.SHED_DEADLINE.inc()
        return DeadlineTooShortError("the deadline had passed before the reading could start")

    def _retry_after_s(self) -> float:
        """Seconds until the queue has been worked off, at the mean cost of the last readings."""
        return max(_SHORTEST_RETRY_S, self._queue.ahead * self._mean_cost_s / len(self._threads))
