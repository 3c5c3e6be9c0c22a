"""The page's API over real HTTP, with a real state engine behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import ParseDict

from gateway.ports import BackendFailure
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2
from tests.gateway.fakes import until
from tests.gateway.page_parts import Event, PageHouse, events_of

SESSION = "/api/sessions/ada"
TURNS = f"{SESSION}/turns"


async def said(api: httpx.AsyncClient, text: str = "I missed you", **fields: Any) -> list[Event]:
    """Run a turn to its end."""
    async with api.stream("POST", TURNS, json={"text": text, **fields}) as response:
        assert response.status_code == 200, (await response.aread()).decode()
        return [event async for event in events_of(response)]


async def test_a_turn_streams_the_contracts_messages(api: httpx.AsyncClient) -> None:
    async with api.stream("POST", TURNS, json={"text": "I missed you", "turn_id": "t1"}) as response:
        events = [event async for event in events_of(response)]

    assert response.headers["content-type"].startswith("text/event-stream")
    assert [event.name for event in events] == ["state", "affect", "delta", "delta", "delta", "done"]
    for event in events:
        assert ParseDict(event.data, gateway_pb2.TurnResponse()).WhichOneof("event") == event.name
    assert events[0].data["state"]["turn_id"] == "t1"
    assert events[1].data["affect"]["status"] == "AFFECT_STATUS_IN_WINDOW"
    assert "".join(event.data["delta"]["text"] for event in events if event.name == "delta") == "Hello there."
    assert events[-1].data["done"]["trace"]["session_id"] == "ada"


async def test_deltas_come_as_they_are_made(page_house: PageHouse, api: httpx.AsyncClient) -> None:
    page_house.model.hold_at = 1
    async with api.stream("POST", TURNS, json={"text": "hello"}) as response:
        events = events_of(response)
        while (await anext(events)).name != "delta":
            pass
        held = page_house.model.running
        page_house.model.release.set()
        rest = [event.name async for event in events]

    assert held == 1
    assert rest == ["delta", "delta", "done"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": "x" * 8_001}, "text"),
        ({"text": "a\ud800b"}, "text"),
        ({"text": 5}, "text"),
        ({"text": "hello", "mood": "good"}, "mood"),
        ({"text": "hello", "session_id": "someone-else"}, "session_id"),
        ({"text": "hello", "turn_id": "no spaces"}, "turn_id"),
        ({"text": "hello", "options": {"affect_window": "1"}}, "options"),
        ({"text": "hello", "options": {"sampling": {"temperature": 9}}}, "options.sampling.temperature"),
        ([], "body"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_the_fields_name(
    page_house: PageHouse, api: httpx.AsyncClient, body: Any, field: str
) -> None:
    response = await api.post(TURNS, content=json.dumps(body), headers={"content-type": "application/json"})

    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["status"], error["field"]) == (400, "INVALID_ARGUMENT", field)
    assert error["reason"] == "INVALID_ARGUMENT"
    assert error["message"].startswith(field)
    assert page_house.model.requests == []


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b'{"text": "se\x00cret"'])
async def test_what_is_no_json_is_refused_and_not_quoted(api: httpx.AsyncClient, content: bytes) -> None:
    response = await api.post(TURNS, content=content, headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["error"]["field"]) == (400, "body")
    assert "se" + "cret" not in response.text


async def test_a_body_that_is_too_large_is_not_read_to_its_end(api: httpx.AsyncClient) -> None:
    response = await api.post(TURNS, json={"text": "x" * 300_000})

    assert (response.status_code, response.json()["error"]["reason"]) == (413, "BODY_TOO_LARGE")


async def test_a_turn_that_is_refused_later_ends_with_an_error_event(
    page_house: PageHouse, api: httpx.AsyncClient
) -> None:
    page_house.model.failure, page_house.model.fail_at = BackendFailure("ABORTED", "GENERATION_CUT"), 2

    events = await said(api)

    assert [event.name for event in events][-2:] == ["delta", "error"]
    assert events[-1].data["error"]["code"] == 409
    assert events[-1].data["error"]["reason"] == "GENERATION_CUT"
    assert (await api.get(TURNS)).json()["turns"][-1]["cut"] is True


async def test_a_client_that_goes_away_stops_the_model_and_is_felt_all_the_same(
    page_house: PageHouse, api: httpx.AsyncClient
) -> None:
    page_house.model.hold_at = 1
    async with api.stream("POST", TURNS, json={"text": "hello", "turn_id": "t1"}) as response:
        events = events_of(response)
        while (await anext(events)).name != "delta":
            pass

    await until(lambda: page_house.model.running == 0)
    assert page_house.model.finished == 0
    async with asyncio.timeout(10.0):
        while len(turns := (await api.get(TURNS)).json()["turns"]) < 2:
            pass
    assert [(turn["turn_id"] == "t1", turn["cut"]) for turn in turns] == [(True, False), (False, True)]
    assert turns[0]["stimuli"][0]["reading"]["valence"] == 0.8


async def test_a_session_can_be_opened_before_anything_is_said(api: httpx.AsyncClient) -> None:
    opened = await api.put(SESSION, json={})
    again = await api.put(SESSION, json={})
    state = await api.get(SESSION)

    assert (opened.status_code, opened.json()["existed"], again.json()["existed"]) == (200, False, True)
    assert state.json()["state"]["turn_id"] == ""
    assert {level["band"] for level in state.json()["state"]["levels"]} == {"BAND_STEADY"}


async def test_the_tree_its_path_and_its_pages(api: httpx.AsyncClient) -> None:
    await said(api, "hello", turn_id="t1")
    first = (await api.get(SESSION)).json()["state"]["turn_id"]
    await said(api, "I hate you", turn_id="t2", parent_turn_id=first)
    await said(api, "I like you", turn_id="t3", parent_turn_id=first)

    everything = (await api.get(TURNS)).json()
    path = (await api.get(TURNS, params={"path_to_turn_id": "tip"})).json()["turns"]
    last = (await api.get(TURNS, params={"page_size": 2})).json()
    before = (await api.get(TURNS, params={"page_size": 2, "page_token": last["next_page_token"]})).json()

    assert [turn["text"] for turn in everything["turns"]] == [
        "hello", "Hello there.", "I hate you", "Hello there.", "I like you", "Hello there.",
    ]  # fmt: skip
    assert [turn["text"] for turn in path] == ["hello", "Hello there.", "I like you", "Hello there."]
    assert {turn["role"] for turn in path} == {"ROLE_USER", "ROLE_ASSISTANT"}
    assert before["turns"] + last["turns"] == everything["turns"][-4:]


async def test_explain_says_what_an_utterance_still_contributes(api: httpx.AsyncClient) -> None:
    await said(api, "I hate you", turn_id="t1")

    explained = (await api.get(f"{SESSION}/explain", params={"limit": 5})).json()

    assert ParseDict(explained, state_pb2.ExplainResponse()).contributions[0].turn_id == "t1"
    cortisol = next(share for share in explained["contributions"][0]["levels"] if share["name"] == "cortisol")
    assert cortisol["value"] > 0


async def test_rewind_moves_the_tip(api: httpx.AsyncClient) -> None:
    await said(api, "hello", turn_id="t1")

    moved = await api.post(f"{SESSION}/rewind", json={"turn_id": "t1"})

    assert moved.status_code == 200
    assert len(moved.json()["abandoned_turn_ids"]) == 1
    assert (await api.get(SESSION)).json()["state"]["turn_id"] == "t1"


async def test_a_deleted_session_is_gone_here_too(page_house: PageHouse, api: httpx.AsyncClient) -> None:
    await said(api, "a secret", turn_id="t1")

    deleted = await api.delete(SESSION)
    gone = await api.get(SESSION)
    await said(api, "hello", turn_id="t2")

    assert int(deleted.json()["deleted_facts"]) > 0
    assert (gone.status_code, gone.json()["error"]["reason"]) == (404, "SESSION_NOT_FOUND")
    assert [message.text for message in page_house.model.requests[-1].messages] == ["hello"]


async def test_the_curve_has_the_states_of_its_moments_and_shows_the_jumps(api: httpx.AsyncClient) -> None:
    await said(api, "hello", turn_id="t1")
    await said(api, "I hate you", turn_id="t2")

    curve = ParseDict((await api.get(f"{SESSION}/curve")).json(), gateway_pb2.Curve())

    assert [*curve.levels] == ["dopamine", "serotonin", "cortisol", "oxytocin", "noradrenaline"]
    assert len(curve.baselines) == 5
    causes = [point.cause_turn_id for point in curve.points if point.cause_turn_id]
    assert (causes[0], causes[2], len(causes)) == ("t1", "t2", 4)
    at = next(index for index, point in enumerate(curve.points) if point.cause_turn_id == "t2")
    before, after = curve.points[at - 1], curve.points[at]
    assert after.at.ToNanoseconds() - before.at.ToNanoseconds() <= 2_000_000
    assert after.levels[2] - before.levels[2] > 1.0
    for point in (before, after, curve.points[-1]):
        moment = point.at.ToJsonString()
        tip = (await api.get(SESSION)).json()["state"]["turn_id"]
        state = (await api.get(SESSION, params={"turn_id": tip, "as_of": moment})).json()["state"]
        assert [*point.levels] == pytest.approx([level["value"] for level in state["levels"]], rel=1e-6)


async def test_an_empty_session_has_an_empty_curve(api: httpx.AsyncClient) -> None:
    await api.put(SESSION, json={})

    assert (await api.get(f"{SESSION}/curve")).json()["points"] == []


async def test_which_words_moved_a_reading(page_house: PageHouse, api: httpx.AsyncClient) -> None:
    await said(api, "good morning", turn_id="t1")
    await said(api, "I hate you", turn_id="t2")

    reading = await api.get(f"{SESSION}/reading", params={"turn_id": "t2"})

    assert [word["word"] for word in reading.json()["words"]] == ["I", "hate", "you"]
    asked = page_house.head.explained[-1]
    assert (asked.text, [*asked.context]) == ("I hate you", ["good morning", "Hello there."])


async def test_words_that_are_not_kept_cannot_be_explained(api: httpx.AsyncClient) -> None:
    await api.put(SESSION, json={"keep_text": False})
    await said(api, "hello", turn_id="t1")

    refused = await api.get(f"{SESSION}/reading", params={"turn_id": "t1"})

    assert (refused.status_code, refused.json()["error"]["reason"]) == (409, "WORDS_NOT_KEPT")


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/api/sessions/nobody", 404, "SESSION_NOT_FOUND"),
        ("GET", "/api/sessions/nobody/watch", 404, "SESSION_NOT_FOUND"),
        ("GET", "/api/sessions/nobody/curve", 404, "SESSION_NOT_FOUND"),
        ("GET", "/api/sessions/no spaces", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/sessions/ada?as_of=yesterday", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/sessions/ada?turn_id=a&turn_id=b", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/sessions/ada/turns?page_size=-1", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/sessions/ada/turns?nothing=1", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/sessions/ada/watch?interval=1ms", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/sessions/ada/watch?interval=0.01s", 400, "INVALID_ARGUMENT"),
        ("POST", "/api/sessions/ada/rewind", 404, "TURN_NOT_FOUND"),
    ],
)
async def test_refusals_say_their_reason(
    api: httpx.AsyncClient, method: str, path: str, status: int, reason: str
) -> None:
    await api.put(SESSION, json={})

    response = await api.request(method, path, json={"turn_id": "nowhere"} if method == "POST" else None)

    assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
    assert response.headers["cache-control"] == "no-store"


async def test_an_engine_that_is_away_is_said_to_be_away(page_house: PageHouse, api: httpx.AsyncClient) -> None:
    await page_house.engine_backend.stop()

    response = await api.get(SESSION)

    assert (response.status_code, response.json()["error"]["status"]) == (503, "UNAVAILABLE")
    assert response.json()["error"]["message"] == "a part of the system could not be reached; try again in a moment"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"sec-fetch-site": "cross-site"}, "FOREIGN_ORIGIN"),
        ({"sec-fetch-site": "same-site"}, "FOREIGN_ORIGIN"),
        ({"origin": "https://example.org"}, "FOREIGN_ORIGIN"),
        ({"origin": "null"}, "FOREIGN_ORIGIN"),
        ({"host": "evil.example"}, "UNKNOWN_HOST"),
        ({"host": "localhost.evil.example"}, "UNKNOWN_HOST"),
        ({"host": "[::1"}, "UNKNOWN_HOST"),
        ({"content-type": "text/plain"}, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_other_sites_in_the_same_browser_change_nothing(
    page_house: PageHouse, api: httpx.AsyncClient, headers: dict[str, str], reason: str
) -> None:
    response = await api.post(
        TURNS, content=b'{"text": "hello"}', headers={"content-type": "application/json"} | headers
    )

    assert response.status_code in (403, 415)
    assert response.json()["error"]["reason"] == reason
    assert page_house.model.requests == []
    if reason != "UNSUPPORTED_MEDIA_TYPE":
        assert (await api.get("/telemetry/stream", headers=headers)).status_code == 403
        assert (await api.delete(SESSION, headers=headers)).status_code == 403


async def test_the_pages_own_requests_pass_and_so_does_a_name_that_is_ours(page_parts: PageHouse) -> None:
    await page_parts.start(http_hosts=("ada.home.example",))
    own = {"host": "ada.home.example:8080", "origin": "https://ada.home.example:8080", "sec-fetch-site": "same-origin"}
    async with httpx.AsyncClient(base_url=page_parts.url) as api:
        response = await api.put(SESSION, json={}, headers=own)

    assert response.status_code == 200


async def test_a_watch_sends_the_state_at_once_and_with_each_fact(
    page_house: PageHouse, api: httpx.AsyncClient
) -> None:
    await api.put(SESSION, json={})
    async with api.stream("GET", f"{SESSION}/watch", params={"interval": "3600s"}) as response:
        events = events_of(response)
        first = await anext(events)
        await page_house.say("I hate you", turn_id="t1")
        async for event in events:
            if event.data["cause_turn_id"] == "t1":
                break

    assert (first.name, first.data["cause_turn_id"]) == ("state", "")
    levels = {level["name"]: level["value"] for level in event.data["state"]["levels"]}
    assert levels["cortisol"] > 31.0


async def test_streams_without_an_end_are_counted_and_end_with_their_client(page_parts: PageHouse) -> None:
    await page_parts.start(max_watchers=1)
    async with httpx.AsyncClient(base_url=page_parts.url) as api:
        await api.put(SESSION, json={})
        async with api.stream("GET", f"{SESSION}/watch") as response:
            await anext(events_of(response))
            refused = await api.get("/telemetry/stream")
        async with asyncio.timeout(10.0):
            while True:
                async with api.stream("GET", "/telemetry/stream") as later:
                    if later.status_code == 200:
                        snapshot = await anext(events_of(later))
                        break

    assert (refused.status_code, refused.json()["error"]["reason"]) == (429, "TOO_MANY_WATCHERS")
    assert refused.headers["retry-after"] == "5"
    assert ParseDict(snapshot.data, gateway_pb2.TelemetrySnapshot()).window.window.ToNanoseconds() == 5 * 10**9


@pytest.mark.parametrize("path", ["/telemetry/stream?interval=60s", f"{SESSION}/watch?interval=3600s"])
async def test_streams_without_an_end_end_when_the_gateway_goes_down(
    page_house: PageHouse, api: httpx.AsyncClient, path: str
) -> None:
    await api.put(SESSION, json={})
    async with api.stream("GET", path) as response:
        events = events_of(response)
        await anext(events)
        stopping = asyncio.create_task(page_house.stop_server())
        async with asyncio.timeout(10.0):
            rest = [event async for event in events]
    await stopping

    assert [event.name for event in rest] in ([], ["error"])


async def test_a_gateway_that_goes_down_takes_no_more_turns(page_house: PageHouse, api: httpx.AsyncClient) -> None:
    assert page_house.service is not None
    page_house.service.drain()

    response = await api.post(TURNS, json={"text": "hello"})

    assert (response.status_code, response.json()["error"]["reason"]) == (503, "SERVER_DRAINING")


@pytest.mark.parametrize("interval", ["0.1s", "61s", "soon"])
async def test_telemetry_is_sent_neither_too_often_nor_too_seldom(api: httpx.AsyncClient, interval: str) -> None:
    response = await api.get("/telemetry/stream", params={"interval": interval})

    assert (response.status_code, response.json()["error"]["field"]) == (400, "interval")
