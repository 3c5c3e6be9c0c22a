"""Order, bounds and preemption of the queue, without any thread."""

from __future__ import annotations

import asyncio

import pytest

from limbic.runtime.deadline import Deadline
from services.affect_head.errors import HeadUnavailableError
from services.affect_head.head import Utterance
from services.affect_head.jobs import Job, JobQueue, Stage


def job(text: str, *, background: bool = False) -> Job:
    future = asyncio.get_running_loop().create_future()
    return Job(Utterance(text), Deadline.after(60), future, queued_at=0.0, background=background)


async def test_utterances_go_in_their_order_and_before_the_background() -> None:
    queue = JobQueue(4)
    jobs = [job("late", background=True), job("first"), job("second")]
    for each in jobs:
        assert queue.put(each)

    assert [queue.take() for _ in range(3)] == [jobs[1], jobs[2], jobs[0]]


async def test_room_is_bounded_for_utterances_only() -> None:
    queue = JobQueue(2)

    assert [queue.put(job(str(n))) for n in range(3)] == [True, True, False]
    assert queue.put(job("background", background=True))
    assert len(queue) == 3


async def test_a_withdrawn_job_frees_its_place_at_once() -> None:
    queue = JobQueue(1)
    waiting = job("waiting")
    queue.put(waiting)

    assert queue.withdraw(waiting) is Stage.QUEUED
    assert queue.withdraw(waiting) is Stage.DONE
    assert queue.put(job("next"))


async def test_a_running_job_is_stopped_when_it_is_withdrawn() -> None:
    queue = JobQueue(1)
    running = job("running")
    queue.put(running)
    queue.take()

    assert queue.withdraw(running) is Stage.RUNNING
    assert running.abort.is_set()
    assert not queue.give_back(running)


async def test_a_running_background_job_makes_way_and_comes_back_first_in_its_lane() -> None:
    queue = JobQueue(2)
    explained, other, urgent = job("explained", background=True), job("other", background=True), job("urgent")
    queue.put(explained)
    queue.put(other)
    assert queue.take() is explained

    queue.put(urgent)

    assert explained.abort.is_set()
    assert queue.give_back(explained)
    assert not explained.abort.is_set()
    assert [queue.take() for _ in range(3)] == [urgent, explained, other]


async def test_a_running_utterance_never_makes_way() -> None:
    queue = JobQueue(2)
    running = job("running")
    queue.put(running)
    queue.take()

    queue.put(job("next"))

    assert not running.abort.is_set()


async def test_one_utterance_stops_one_background_job_and_not_all() -> None:
    queue = JobQueue(3)
    explained = [job("first", background=True), job("second", background=True)]
    for each in explained:
        queue.put(each)
        queue.take()

    queue.put(job("urgent"))
    assert sorted(each.abort.is_set() for each in explained) == [False, True]

    queue.put(job("another"))
    assert all(each.abort.is_set() for each in explained)


async def test_closing_sends_workers_home_stops_what_runs_and_returns_what_waits() -> None:
    queue = JobQueue(3)
    running, waiting, background = job("running"), job("waiting"), job("background", background=True)
    queue.put(running)
    queue.take()
    queue.put(waiting)
    queue.put(background)

    assert queue.close() == [waiting, background]
    assert running.abort.is_set()
    assert queue.take() is None
    assert queue.withdraw(waiting) is Stage.DONE
    with pytest.raises(HeadUnavailableError):
        queue.put(job("late"))
