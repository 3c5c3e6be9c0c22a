"""The OpenAI-compatible API over real HTTP: limits, origins, sessions, and what happens when parts are away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from gateway.completions.request import MAX_BODY_BYTES
from tests.gateway.conftest import House
from tests.gateway.fakes import until

CHAT = "/v1/chat/completions"
HELLO = {"role": "user", "content": "hello"}


async def ask(
    http: httpx.AsyncClient, *said: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(said)]
    return await http.post(CHAT, json={"messages": messages, **fields}, headers=headers)


def refused(response: httpx.Response) -> tuple[int, Any, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["type"], error["code"]


async def test_a_header_names_the_session_and_two_keys_do_not_share_one(house: House, http: httpx.AsyncClient) -> None:
    named = await ask(http, "hello", headers={"X-Limbic-Session": "ada-and-me"})
    keys = [await ask(http, "hello", headers={"Authorization": f"Bearer {key}"}) for key in ("a", "b", "a")]

    assert named.json()["limbic"]["session_id"] == named.headers["x-limbic-session"] == "ada-and-me"
    first, second, again = (one.headers["x-limbic-session"] for one in keys)
    assert first == again != second
    assert [one.json()["limbic"]["affect"]["status"] for one in keys] == ["in_window", "in_window", "already_felt"]


async def test_a_body_beyond_its_limit_is_refused(house: House, http: httpx.AsyncClient) -> None:
    response = await http.post(
        CHAT, content=b'{"messages": "' + b"x" * MAX_BODY_BYTES, headers={"content-type": "application/json"}
    )

    assert refused(response) == (413, "invalid_request_error", "body_too_large")
    assert house.engine.facts == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'"\xff"', "application/json", 400),
        (b'{"messages": [{"role": "user", "content": "hi"}]}', "text/plain", 415),
    ],
)
async def test_what_is_no_json_is_refused(http: httpx.AsyncClient, content: bytes, kind: str, status: int) -> None:
    response = await http.post(CHAT, content=content, headers={"content-type": kind})

    assert refused(response)[:2] == (status, "invalid_request_error")


async def test_unknown_paths_and_methods_are_told_in_the_same_form(http: httpx.AsyncClient) -> None:
    assert refused(await http.get("/v1/completions"))[0] == 404
    assert refused(await http.get(CHAT))[0] == 405


async def test_a_name_that_is_not_ours_is_refused(http: httpx.AsyncClient) -> None:
    for request in (
        http.post(CHAT, json={"messages": [HELLO]}, headers={"host": "evil.example"}),
        http.get("/v1/models", headers={"host": "evil.example"}),
    ):
        assert refused(await request) == (403, "permission_error", "unknown_host")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:3000", True),
        ("https://chat.example", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
    ],
)
async def test_browsers_are_told_who_may_call(parts: House, origin: str, allowed: bool) -> None:
    await parts.start(cors_origins=("https://chat.example",))
    assert parts.service is not None
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{parts.service.http_port}") as http:
        preflight = await http.options(
            CHAT,
            headers={
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,content-type,x-limbic-session",
            },
        )
        answer = await ask(http, "hello", headers={"origin": origin})
        page = await http.get("/telemetry/snapshot", headers={"origin": origin})

    assert preflight.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    if allowed:
        assert "x-limbic-session" in preflight.headers["access-control-allow-headers"]
        assert "x-limbic-turn" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in page.headers


async def test_a_session_that_was_deleted_is_begun_anew_without_an_error(house: House, http: httpx.AsyncClient) -> None:
    await ask(http, "one", user="me")
    house.engine.tips.clear()
    house.engine.turns.clear()

    response = await ask(http, "one", "Hello there.", "two", user="me")

    assert response.status_code == 200
    limbic = response.json()["limbic"]
    path = house.engine.path(limbic["session_id"], limbic["turn_id"])
    assert [turn.text for turn in path] == ["one", "Hello there.", "two"]


async def test_a_turn_too_many_is_told_when_to_come_back(parts: House) -> None:
    await parts.start(max_turns=1)
    assert parts.service is not None
    parts.model.hold_at = 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{parts.service.http_port}") as http:
        first = asyncio.create_task(ask(http, "hello"))
        await until(lambda: parts.model.running == 1)
        second = await ask(http, "another conversation")
        parts.model.release.set()
        answered = await first

    assert refused(second) == (429, "rate_limit_error", "too_many_turns")
    assert second.headers["retry-after"] == "1"
    assert answered.status_code == 200


@pytest.mark.parametrize("queue", [0, 1])
async def test_a_second_turn_of_a_session_waits_or_is_refused_as_set(parts: House, queue: int) -> None:
    await parts.start(session_queue=queue, session_wait_ms=60_000)
    assert parts.service is not None
    parts.model.hold_at = 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{parts.service.http_port}", timeout=30.0) as http:
        first = asyncio.create_task(ask(http, "hello", user="me"))
        await until(lambda: parts.model.running == 1)
        second = asyncio.create_task(ask(http, "hello?", user="me"))
        if queue == 0:
            assert refused(await second) == (429, "rate_limit_error", "session_busy")
        parts.model.release.set()
        assert (await first).status_code == 200
        assert (await second).status_code == (200 if queue else 429)


async def test_without_the_engine_and_the_head_the_reply_says_what_is_missing(
    house: House, http: httpx.AsyncClient
) -> None:
    await house.engine_backend.stop()
    await house.head_backend.stop()
    await house.until_known("state-engine", serving=False)

    response = await ask(http, "hello")

    limbic = response.json()["limbic"]
    assert (response.status_code, response.headers["x-limbic-degraded"], limbic["degraded"]) == (200, "true", True)
    assert limbic["affect"]["status"] == "unavailable"
    assert len(limbic["degraded_reasons"]) >= 2
    await house.engine_backend.start()
    await house.until_replayed()
    assert [turn.text for turn in house.engine.path(limbic["session_id"], limbic["reply_turn_id"])] == [
        "hello",
        "Hello there.",
    ]


async def test_from_sigterm_on_a_turn_is_sent_elsewhere(house: House, http: httpx.AsyncClient) -> None:
    assert house.service is not None
    house.service.drain()

    response = await ask(http, "hello")

    assert refused(response) == (503, "server_error", "server_draining")
    assert response.headers["retry-after"] == "1"


async def test_the_last_event_of_a_stream_is_done(http: httpx.AsyncClient) -> None:
    response = await ask(http, "hello", stream=True)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-limbic-turn"].startswith("c.")
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: ") for event in events[:-1])
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"


async def test_words_are_in_no_log(house: House, http: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]) -> None:
    await ask(http, "my secret", "Hello there.", "another secret", user="Ada Lovelace")
    await ask(http, "my secret", n=3)

    said = capfd.readouterr()
    assert "secret" not in said.out + said.err
    assert "Lovelace" not in said.out + said.err
