"""Reasons for readings, beside the turns, and what reaches telemetry and feeds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.feeds import RAW, READABLE
from gateway.feeds_reasons import WAITING, Reasons
from gateway.ports import BackendFailure, ReadingSeen
from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.logs import shown_id
from tests.gateway.fakes import settle, until
from tests.gateway.page_parts import WARM, PageHouse


class Head:
    """Says why, when it is let; never two at a time."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.failure: BackendFailure | None = None
        self.asked: list[str] = []
        self.running = self.most = 0

    async def explain(self, request: affect_pb2.ExplainRequest, timeout_s: float) -> affect_pb2.ExplainResponse:
        self.asked.append(request.text)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.release.wait()
            if self.failure is not None:
                raise self.failure
            return affect_pb2.ExplainResponse(sentence=f"because of {request.text}")
        finally:
            self.running -= 1


class Delivered:
    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def __call__(self, seen: ReadingSeen, reason: str) -> None:
        assert seen.turn_id not in self.reasons
        self.reasons[seen.turn_id] = reason


def seen(number: int, reading: affect_pb2.AffectReading | None = WARM) -> ReadingSeen:
    return ReadingSeen(
        session_id="ada",
        turn_id=f"t{number}",
        occurred_at_ns=0,
        status=gateway_pb2.AFFECT_STATUS_IN_WINDOW,
        reading=reading,
        latency_s=0.0,
        lateness_s=0.0,
        text=f"words {number}",
    )


async def test_reasons_are_asked_one_at_a_time_and_beyond_a_few_left_out() -> None:
    head, delivered = Head(), Delivered()
    reasons = Reasons(head.explain, delivered)

    for number in range(WAITING + 2):
        reasons.ask(seen(number))
    shed = dict(delivered.reasons)
    head.release.set()
    await settle()

    assert shed == {f"t{WAITING}": "", f"t{WAITING + 1}": ""}
    assert head.most == 1
    assert [delivered.reasons[f"t{number}"] for number in range(WAITING)] == [
        f"because of words {number}" for number in range(WAITING)
    ]


async def test_what_has_a_reason_or_no_reading_is_not_asked_about() -> None:
    head, delivered = Head(), Delivered()
    reasons = Reasons(head.explain, delivered)
    told = affect_pb2.AffectReading(reasoning="said so itself")

    reasons.ask(seen(1, None))
    reasons.ask(seen(2, told))
    await settle()

    assert delivered.reasons == {"t1": "", "t2": "said so itself"}
    assert head.asked == []


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "UNAVAILABLE"])
async def test_a_head_that_does_not_say_why_costs_the_reason_only(code: str) -> None:
    head, delivered = Head(), Delivered()
    reasons = Reasons(head.explain, delivered)
    head.failure = BackendFailure(code)
    head.release.set()

    reasons.ask(seen(1))
    await settle()

    assert delivered.reasons == {"t1": ""}


async def test_at_the_end_every_reading_is_delivered_with_or_without_its_reason() -> None:
    head, delivered = Head(), Delivered()
    reasons = Reasons(head.explain, delivered)
    for number in range(3):
        reasons.ask(seen(number))

    await reasons.stop()
    await settle()

    assert delivered.reasons == {"t0": "", "t1": "", "t2": ""}


def feed(house: PageHouse, name: str = RAW) -> Path:
    return house.directory / "logs" / name


async def test_telemetry_and_feeds_say_why_where_words_may_be_kept(page_parts: PageHouse) -> None:
    await page_parts.start(log_text=True)
    await page_parts.say("I hate mondays", turn_id="t1")
    await page_parts.until_seen(lambda snapshot: snapshot.readings[0].reading.reasoning)
    reading = (await page_parts.snapshot()).readings[0]
    await page_parts.stop_server()

    line = json.loads(feed(page_parts).read_text("utf-8"))
    assert (reading.text, reading.reading.reasoning) == ("I hate mondays", "“I” did it.")
    assert (line["text"], line["reading"]["reasoning"]) == (reading.text, reading.reading.reasoning)
    assert "why         “I” did it." in feed(page_parts, READABLE).read_text("utf-8")


async def test_where_words_may_not_be_kept_nobody_is_asked_why(page_house: PageHouse) -> None:
    await page_house.say("a secret", turn_id="t1")
    await page_house.stop_server()

    assert page_house.head.explained == []
    for name in (RAW, READABLE):
        text = feed(page_house, name).read_text("utf-8")
        assert shown_id("t1") in text
        assert "secret" not in text


async def test_feeds_can_be_switched_off(page_parts: PageHouse) -> None:
    await page_parts.start(feed_max_bytes=0)
    await page_parts.say("hello")
    await page_parts.stop_server()

    assert not feed(page_parts).exists()


async def test_a_turn_does_not_wait_for_its_reason(page_parts: PageHouse) -> None:
    page_parts.head.explain_failure = BackendFailure("RESOURCE_EXHAUSTED")
    await page_parts.start(log_text=True)

    events = await page_parts.say("hello")
    await until(lambda: page_parts.head.explained)

    assert events[-1].HasField("done")
    assert (await page_parts.snapshot()).readings[0].text == "hello"
