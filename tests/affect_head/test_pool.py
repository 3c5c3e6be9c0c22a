"""The workers: what is stopped, what is dropped, and that a worker is free again after it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from limbic.runtime.clock import SystemClock
from limbic.runtime.deadline import Deadline
from limbic.runtime.llama import AbortFlag, LlamaError
from services.affect_head.encoder import EncoderHead
from services.affect_head.errors import DeadlineTooShortError, HeadUnavailableError, QueueFullError
from services.affect_head.head import Reader, Reading, Utterance
from services.affect_head.pool import ReaderPool
from tests.affect_head.gated_head import GatedHead

SOON = 60.0


def pool_of(*readers: Reader, queue: int = 2) -> ReaderPool:
    return ReaderPool(readers, queue_limit=queue, expected_cost_s=0.5, clock=SystemClock())


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def pool(gated: GatedHead) -> AsyncIterator[ReaderPool]:
    """One worker whose readings are held, and two places in the queue."""
    pool = pool_of(gated)
    gated.hold()
    yield pool
    gated.let_all_go()
    await asyncio.to_thread(pool.close)


def begin(pool: ReaderPool, text: str, *, background: bool = False, seconds: float = SOON) -> asyncio.Task[Reading]:
    return asyncio.create_task(pool.read(Utterance(text), Deadline.after(seconds), background=background))


async def queued(*tasks: asyncio.Task[Reading]) -> None:
    """Let tasks that were just made reach the queue: none of them awaits anything before that."""
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_beyond_the_bound_readings_are_refused_with_the_time_until_the_queue_is_empty(
    pool: ReaderPool, gated: GatedHead
) -> None:
    running = begin(pool, "running")
    await gated.until(gated.started, 1)
    waiting = [begin(pool, "second"), begin(pool, "third")]
    await queued(*waiting)
    shed = count("limbic_affect_shed_total", reason="queue_full")

    with pytest.raises(QueueFullError) as caught:
        await pool.read(Utterance("fourth"), Deadline.after(SOON))

    # Three are ahead, at half a second each.
    assert caught.value.retry_after == pytest.approx(1.5)
    assert count("limbic_affect_shed_total", reason="queue_full") == shed + 1
    assert count("limbic_affect_queue_depth") == 2
    gated.let_all_go()
    assert len(await asyncio.gather(running, *waiting)) == 3
    assert gated.started == ["running", "second", "third"]


async def test_a_queued_reading_that_is_cancelled_never_starts_and_frees_its_place(
    pool: ReaderPool, gated: GatedHead
) -> None:
    running = begin(pool, "running")
    await gated.until(gated.started, 1)
    gone, kept = begin(pool, "gone"), begin(pool, "kept")
    await queued(gone, kept)
    cancelled = count("limbic_affect_cancelled_total", stage="queued")

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    new = begin(pool, "new")
    await queued(new)
    gated.let_all_go()
    await asyncio.gather(running, kept, new)

    assert gated.started == ["running", "kept", "new"]
    assert count("limbic_affect_cancelled_total", stage="queued") == cancelled + 1


async def test_a_running_reading_that_is_cancelled_frees_its_worker(pool: ReaderPool, gated: GatedHead) -> None:
    cancelled = count("limbic_affect_cancelled_total", stage="running")
    running = begin(pool, "running")
    await gated.until(gated.started, 1)

    running.cancel()
    await gated.until(gated.aborted, 1)
    gated.let_one_go()
    reading = await pool.read(Utterance("next"), Deadline.after(SOON))

    assert reading.axes.valence == len("next") / 100
    assert gated.finished == ["next"]
    assert count("limbic_affect_cancelled_total", stage="running") == cancelled + 1


async def test_a_deadline_stops_a_running_reading(pool: ReaderPool, gated: GatedHead) -> None:
    with pytest.raises(DeadlineTooShortError):
        await pool.read(Utterance("slow"), Deadline.after(0.05))

    await gated.until(gated.aborted, 1)


async def test_a_deadline_that_has_passed_starts_nothing(pool: ReaderPool, gated: GatedHead) -> None:
    shed = count("limbic_affect_shed_total", reason="deadline")

    with pytest.raises(DeadlineTooShortError):
        await pool.read(Utterance("late"), Deadline.after(0))

    assert gated.started == []
    assert count("limbic_affect_shed_total", reason="deadline") == shed + 1


async def test_the_background_makes_way_for_an_utterance_and_is_read_again(pool: ReaderPool, gated: GatedHead) -> None:
    explained = begin(pool, "explained", background=True)
    await gated.until(gated.started, 1)

    urgent = begin(pool, "urgent")
    await gated.until(gated.aborted, 1)
    gated.let_all_go()
    await asyncio.gather(explained, urgent)

    assert gated.started == ["explained", "urgent", "explained"]
    assert gated.finished == ["urgent", "explained"]


async def test_the_background_goes_on_while_another_worker_is_free(gated: GatedHead) -> None:
    pool = pool_of(gated, gated)
    gated.hold()
    explained = begin(pool, "explained", background=True)
    await gated.until(gated.started, 1)

    urgent = begin(pool, "urgent")
    await gated.until(gated.started, 2)
    gated.let_all_go()
    await asyncio.gather(explained, urgent)

    assert gated.aborted == []
    await asyncio.to_thread(pool.close)


async def test_closing_tells_everyone_who_waits(gated: GatedHead) -> None:
    pool = pool_of(gated)
    gated.hold()
    running, waiting = begin(pool, "running"), begin(pool, "waiting")
    await gated.until(gated.started, 1)

    await asyncio.to_thread(pool.close)

    for task in (running, waiting):
        with pytest.raises(HeadUnavailableError):
            await task
    with pytest.raises(HeadUnavailableError):
        await pool.read(Utterance("late"), Deadline.after(SOON))
    assert gated.closed == 1


class FailingReader:
    """Fails once, then reads."""

    def __init__(self, head: GatedHead) -> None:
        self._head = head
        self._failed = False

    def read(self, utterance: Utterance, abort: AbortFlag) -> Reading:
        if not self._failed:
            self._failed = True
            raise LlamaError("llama_encode returned -1")
        return self._head.read(utterance, abort)

    def close(self) -> None:
        pass


async def test_a_failure_belongs_to_its_call_and_the_worker_goes_on(gated: GatedHead) -> None:
    pool = pool_of(FailingReader(gated))

    with pytest.raises(LlamaError):
        await pool.read(Utterance("first"), Deadline.after(SOON))
    assert await pool.read(Utterance("second"), Deadline.after(SOON))
    await asyncio.to_thread(pool.close)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_number_of_workers_changes_no_bit(head: EncoderHead, workers: int) -> None:
    texts = [f"word {number} i love you so much" for number in range(60)]
    alone = head.open_reader()
    expected = [dataclasses.replace(alone.read(Utterance(text), AbortFlag()), latency_s=0) for text in texts]
    alone.close()
    pool = pool_of(*(head.open_reader() for _ in range(workers)), queue=len(texts))

    readings = await asyncio.gather(*(pool.read(Utterance(text), Deadline.after(SOON)) for text in texts))
    await asyncio.to_thread(pool.close)

    assert [dataclasses.replace(reading, latency_s=0) for reading in readings] == expected


async def test_the_real_encoder_is_stopped_by_cancellation_and_reads_on(head: EncoderHead) -> None:
    pool = pool_of(head.open_reader(), queue=64)
    expected = await pool.read(Utterance("i love you"), Deadline.after(SOON))

    tasks = [begin(pool, "word " * 510) for _ in range(20)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    reading = await pool.read(Utterance("i love you"), Deadline.after(SOON))
    await asyncio.to_thread(pool.close)

    assert sum(task.cancelled() for task in tasks) >= len(tasks) - 2
    assert reading.axes == expected.axes
