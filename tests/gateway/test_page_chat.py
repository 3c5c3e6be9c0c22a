"""The page in a real browser: what is said, felt, taken back and said otherwise."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Browser, expect

from gateway.ports import BackendFailure
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.gateway.browser import Visit, visit
from tests.gateway.page_parts import PageHouse


async def turns_of(house: PageHouse, session_id: str) -> list[state_pb2.Turn]:
    assert house.service is not None
    stub = state_pb2_grpc.StateEngineServiceStub(house.service._channels["state-engine"])
    found = await stub.ListTurns(state_pb2.ListTurnsRequest(session_id=session_id))
    return list(found.turns)


async def test_a_message_is_felt_and_answered_as_it_comes(page_house: PageHouse, guest: Visit) -> None:
    page, rest = guest.page, await guest.level("dopamine")
    page_house.model.hold_at = 1

    await guest.say("I missed you", until=None)
    reply = page.locator(".message.reply .said")
    await expect(reply).to_have_text("Hello")
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    await expect(page.locator("#messages")).to_have_attribute("aria-busy", "true")
    page_house.model.release.set()

    await expect(reply).to_have_text("Hello there.")
    await expect(page.get_by_role("button", name="joy")).to_be_visible()
    await expect(page.locator("#announcer")).to_have_text(re.compile("^Reply: Hello there."))
    await expect(page.get_by_label("What you say")).to_have_value("")
    assert await guest.level("dopamine") > rest + 1.0
    await expect(page.locator("#conversation-title")).to_have_text("I missed you")


async def test_shift_enter_begins_a_line_and_enter_sends(page_house: PageHouse, guest: Visit) -> None:
    field = guest.page.get_by_label("What you say")
    await field.press_sequentially("one")
    await field.press("Shift+Enter")
    await field.press_sequentially("two")
    await field.press("Enter")

    await expect(guest.page.locator(".message.you .said")).to_have_text("one\ntwo")
    await expect(guest.page.locator(".message.reply .said")).to_have_text("Hello there.")
    assert page_house.model.requests[-1].messages[-1].text == "one\ntwo"


async def test_another_reply_is_a_sibling_and_the_words_are_felt_once(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("I missed you")
    page_house.model.words = ["Welcome", " back."]
    await page.get_by_role("button", name="Another reply").click()
    reply = page.locator(".message.reply .said")
    await expect(reply).to_have_text("Welcome back.")
    await expect(page.locator(".message.reply .place")).to_have_text("2/2")

    await page.get_by_role("button", name="Previous reply").click()

    await expect(reply).to_have_text("Hello there.")
    await expect(page.locator(".message.reply .place")).to_have_text("1/2")
    turns = await turns_of(page_house, await guest.session())
    assert [turn.text for turn in turns] == ["I missed you", "Hello there.", "Welcome back."]
    assert len({turn.parent_turn_id for turn in turns[1:]}) == 1
    assert sum(len(turn.stimuli) for turn in turns) == 1

    await guest.say("And now?", until="Welcome back.")
    said = await turns_of(page_house, await guest.session())
    assert said[-2].parent_turn_id == said[1].turn_id


async def test_an_edited_message_branches_and_the_timeline_shows_both(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("hello")
    await guest.say("I hate you")
    angry = await guest.level("cortisol")
    await expect(page.locator(".mark")).to_have_count(4)

    await page.locator(".message.you").last.hover()
    await page.locator(".message.you").last.get_by_role("button", name="Edit").click()
    editor = page.get_by_label("Your words")
    await expect(editor).to_be_focused()
    await editor.fill("I like you")
    await editor.press("Enter")
    await expect(page.locator(".message.you .said").last).to_have_text("I like you")
    await expect(page.locator(".message.you .place")).to_have_text("2/2")

    await expect(page.locator(".mark.left")).to_have_count(2)
    await expect(page.locator(".row path.left")).to_have_count(5)
    await expect(page.locator(".join.left")).not_to_have_count(0)
    assert await guest.level("cortisol") < angry - 1.0
    turns = await turns_of(page_house, await guest.session())
    assert turns[2].parent_turn_id == turns[4].parent_turn_id == turns[1].turn_id

    await page.get_by_role("button", name="Previous version").click()
    await expect(page.locator(".message.you .said").last).to_have_text("I hate you")
    await expect(page.get_by_role("meter", name="cortisol")).to_have_attribute(
        "aria-valuenow", re.compile(f"^{int(angry)}")
    )


async def test_the_first_message_can_be_edited_too(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("hello")
    await page.get_by_role("button", name="Edit").click()
    await page.get_by_label("Your words").fill("good evening")
    await page.get_by_role("button", name="Say it so").click()

    await expect(page.locator(".message.you .said")).to_have_text("good evening")
    await expect(page.locator(".message.reply .said")).to_have_text("Hello there.")
    turns = await turns_of(page_house, await guest.session())
    assert [turn.parent_turn_id for turn in turns if turn.role == state_pb2.ROLE_USER] == ["", ""]


async def test_a_late_reading_moves_the_timeline_at_the_time_of_the_words(
    page_parts: PageHouse, browser: Browser
) -> None:
    page_parts.head.release = asyncio.Event()
    await page_parts.start(affect_window_ms=1)
    async with await visit(browser, page_parts.url) as guest:
        page = await guest.open()
        await guest.say("I hate you")
        await expect(page.get_by_role("button", name="still being read")).to_be_visible()
        await expect(page.locator("[data-row=cortisol] .line")).to_be_attached()
        flat = await guest.level("cortisol")
        before = await page.locator("[data-row=cortisol] .line").get_attribute("d")

        page_parts.head.release.set()

        await expect(page.get_by_role("button", name="anger")).to_be_visible()
        await expect(page.locator("[data-row=cortisol] .line")).not_to_have_attribute("d", before or "")
        await expect(page.get_by_role("meter", name="cortisol")).not_to_have_attribute("aria-valuenow", f"{flat:.1f}")
        assert await guest.level("cortisol") > flat + 1.0
        session = await guest.session()
        curve = await page.evaluate("id => fetch(`/api/sessions/${id}/curve`).then((r) => r.json())", session)
    cortisol = curve["levels"].index("cortisol")
    felt = next(point for point in curve["points"] if point["cause_turn_id"])
    assert felt["levels"][cortisol] > flat + 1.0


async def test_what_cannot_be_answered_is_said_and_can_be_tried_again(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    page_house.model.failure, page_house.model.fail_at = BackendFailure("UNAVAILABLE", "UPSTREAM_UNAVAILABLE"), -1
    await guest.say("hello", until=None)
    await expect(page.get_by_role("alert")).to_contain_text("no language model could be reached")
    page_house.model.failure = None

    await page.get_by_role("button", name="Try again").click()

    await expect(page.locator(".message.reply .said")).to_have_text("Hello there.")
    await expect(page.get_by_role("alert")).to_have_count(0)
    turns = await turns_of(page_house, await guest.session())
    assert [(turn.text, len(turn.stimuli)) for turn in turns] == [("hello", 1), ("Hello there.", 0)]


async def test_escape_breaks_a_reply_off(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    page_house.model.hold_at = 2
    await guest.say("hello", until=None)
    await expect(page.locator(".message.reply .said")).to_have_text("Hello there")

    await page.keyboard.press("Escape")

    await expect(page.locator(".message.reply .note")).to_have_text("broken off")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert page_house.model.finished == 0


async def test_words_that_are_too_many_are_not_sent(page_house: PageHouse, guest: Visit) -> None:
    field = guest.page.get_by_label("What you say")
    await field.fill("é" * 8_001)
    await field.press("Enter")

    await expect(guest.page.locator("#count")).to_have_text("8,001 of 8,000 characters")
    await expect(field).to_have_attribute("aria-invalid", "true")
    assert page_house.model.requests == []


HOSTILE_TEXTS = [
    "<img src=x onerror=alert(1)><script>alert(1)</script><b>bold</b>",
    "\u202eevil\u202c \u0627\u0644\u0633\u0644\u0627\u0645 &amp; </div>",
    "W" * 8_000,
    "{{constructor.constructor('alert(1)')()}} javascript:alert(1)",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=["markup", "direction", "one long word", "templates"])
async def test_hostile_words_are_shown_as_words(page_house: PageHouse, guest: Visit, text: str) -> None:
    page = guest.page
    page_house.model.words = [text]

    await guest.say(text, until=text)

    assert await page.locator(".message.you .said").inner_text() == text
    assert await page.locator("#messages img, #messages script, #messages b").count() == 0
    await expect(page.locator(".mark")).to_have_count(2)
    wide = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    chat = await page.evaluate(
        "[document.querySelector('#scroll').scrollWidth, document.querySelector('#scroll').clientWidth]"
    )
    assert chat[0] <= chat[1]


async def test_a_missing_head_is_said_in_words_and_its_return_too(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await expect(page.locator("#parts")).to_have_text("all parts serving")
    await page_house.head_backend.stop()
    await expect(page.locator("#notice")).to_have_text(
        "The affect head is away: your words are answered, but not felt."
    )

    await guest.say("hello")

    await expect(page.get_by_role("button", name="not felt: the affect head is away")).to_be_visible()
    await page_house.head_backend.start()
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator("#parts")).to_have_text("all parts serving")


async def test_the_engine_killed_and_back_costs_nothing_that_was_said(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("hello")
    await page_house.engine_backend.stop()
    await expect(page.locator("#notice")).to_contain_text("The state engine is away")

    await guest.say("I hate you")
    await expect(page.locator("#notice")).to_contain_text("on the gateway's disk for the state engine")
    await page_house.engine_backend.start()

    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator(".message.you .said")).to_have_text(["hello", "I hate you"])
    await expect(page.get_by_role("meter", name="cortisol")).to_have_attribute(
        "aria-valuenow", re.compile("^3[1-9]|^[4-9]")
    )
    await expect(page.locator(".mark.you")).to_have_count(2)


async def test_conversations_are_remembered_opened_and_deleted(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("the first one")
    first = await guest.session()
    await page.get_by_role("button", name="New conversation", exact=True).click()
    await expect(page.locator(".message")).to_have_count(0)
    await guest.say("the second one")
    await page.reload()
    await expect(page.locator(".message.you .said")).to_have_text("the second one")

    await page.get_by_role("button", name="the second one").click()
    await expect(page.locator("#session-list .title")).to_have_text(["the second one", "the first one"])
    await page.locator("#session-list").get_by_role("button", name="the first one").first.click()
    await expect(page.locator(".message.you .said")).to_have_text("the first one")
    assert await guest.session() == first

    await page.locator("#conversations").click()
    delete = page.locator("#session-list li").nth(1).locator("button").nth(1)
    await delete.click()
    await expect(delete).to_have_text("Delete?")
    await delete.click()
    await expect(page.locator("#session-list .title")).to_have_text(["the second one"])
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator(".message")).to_have_count(0)


async def test_what_is_said_elsewhere_appears(page_house: PageHouse, guest: Visit) -> None:
    await page_house.say("from a terminal", session_id=await guest.session())

    await expect(guest.page.locator(".message.you .said")).to_have_text("from a terminal")
    await expect(guest.page.locator(".message.reply .said")).to_have_text("Hello there.")
    await expect(guest.page.locator(".mark")).to_have_count(2)


async def test_a_conversation_can_be_opened_by_its_name(page_house: PageHouse, browser: Browser) -> None:
    await page_house.say("from a terminal", session_id="chat-1234")
    async with await visit(browser, page_house.url) as guest:
        page = await guest.open("?session=chat-1234")
        await expect(page.locator(".message.you .said")).to_have_text("from a terminal")


async def test_the_page_shows_how_each_stage_did_and_the_last_readings(page_house: PageHouse, guest: Visit) -> None:
    page = guest.page
    await guest.say("I hate mondays")

    await expect(page.locator("#latency .last")).not_to_have_count(0)
    await expect(page.locator("#latency-note")).to_have_text("window 5.0 s: 1 in time, 0 late, 0 not felt")
    await expect(page.locator("#readings .quote")).to_have_text("I hate mondays")
    await expect(page.locator("#readings .axis .number")).to_have_text(["−0.90", "−0.20", "+0.80"])
    await page.locator("summary").last.click()
    await expect(page.locator("#latency-table th[scope=row]")).to_have_text(
        [
            "checked",
            "state read",
            "history read",
            "words read",
            "words kept",
            "first words",
            "whole reply",
            "reply kept",
        ]
    )
    snapshot = gateway_pb2.TelemetrySnapshot()
    snapshot.MergeFrom(await page_house.snapshot())
    assert snapshot.readings[0].text == ""
