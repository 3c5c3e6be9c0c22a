"""What people say, what they call things and what opens doors stays where it belongs: through every input, and where parts fail.

Each input carries a word of its own, so that a word that turns up where it should not says which way it went.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from limbic.client import bearer
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.llm.v1 import llm_pb2
from limbic.runtime.channels import open_channel
from limbic.runtime.keys import Limits, Role, new_key, save_keys
from tests.end_to_end.calls import Calls
from tests.end_to_end.stack import Stack, running_stack


@dataclass
class Canaries:
    """Words that stand nowhere else, by the input that they were put into."""

    words: dict[str, str] = field(default_factory=dict)

    def __call__(self, where: str) -> str:
        # Letters only, so that a word may stand in an id too, and no part of it is like a part of another one.
        token = "".join(chr(ord("a") + byte % 26) for byte in os.urandom(12))
        return self.words.setdefault(where, f"quill{token}")

    def found_in(self, data: bytes) -> set[str]:
        return {where for where, word in self.words.items() if word.encode() in data}


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


class Private:
    """A stack that asks for keys and was started by somebody whose files anybody may read."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.secret, key = new_key("ada", Role.OPERATOR, now=datetime.now(UTC), limits=Limits(turns_per_minute=1_000))
        save_keys(stack.folder / "keys", [key])
        self.api_key = f"sk-{secrets.token_hex(16)}"
        self.api_key_file = stack.folder / "api-key"
        self.api_key_file.write_text(self.api_key, "utf-8")
        self.metadata = bearer(self.secret)
        self.headers = {"authorization": f"Bearer {self.secret}"}
        # What came back to a client as an error, which is to be looked through, too.
        self.errors: list[str] = []

    def up(self) -> None:
        mask = os.umask(0o022)
        try:
            self.stack.up()
        finally:
            os.umask(mask)

    def files(self) -> Iterator[Path]:
        for folder in (self.stack.supervisor.data_dir, self.stack.supervisor.logs_dir):
            yield folder
            yield from folder.rglob("*")

    async def http(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        async with httpx.AsyncClient(base_url=f"http://{self.stack.settings.gateway.http}", trust_env=False) as http:
            answer = await http.request(method, path, headers=headers, timeout=60.0, **options)
        if answer.status_code >= 400:
            self.errors.append(str(dict(answer.headers)) + answer.text)
        return answer

    async def turn(
        self, request: gateway_pb2.TurnRequest, timeout_s: float = 60.0, more: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Run a turn to its end, or to the error that it ends with."""
        async with open_channel(self.stack.settings.gateway.listen) as channel:
            stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
            try:
                async for _ in stub.Turn(request, timeout=timeout_s, metadata=(*self.metadata, *more)):
                    pass
            except grpc.aio.AioRpcError as error:
                self.errors.append(repr(error) + str(error.trailing_metadata()))


async def until_well(private: Private) -> None:
    calls = Calls(private.stack, metadata=private.metadata)
    # Three parts die one after the other, and each start reads its model anew.
    await calls.until_well(timeout_s=120.0)
    await calls.close()


def changes(folder: Path, **more: Any) -> dict[str, dict[str, Any]]:
    return {"gateway": {"keys_file": str(folder / "keys"), **more.pop("gateway", {})}, **more}


@pytest.fixture(scope="module")
def private() -> Iterator[Private]:
    with running_stack(start=False) as stack:
        # The file has to be there when it is started.
        one = Private(stack)
        one.stack.configure(changes(stack.folder, runtime={"log_level": "debug"}))
        # A list of tables is more than the stack's file can hold.
        upstream = {"url": "http://127.0.0.1:9/v1", "api_key_file": str(one.api_key_file)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LIMBIC_LLM__FALLBACKS", json.dumps([upstream]))
            one.up()
            yield one


async def through_every_input(private: Private, canaries: Canaries) -> None:
    """Send a word through whatever takes words, ids, headers or numbers, rightly and wrongly."""
    word = canaries
    sampling = llm_pb2.Sampling(max_tokens=4, stop=[word("stop sequence")])
    await private.turn(
        gateway_pb2.TurnRequest(
            text=f"my secret is {word('text')}",
            persona=f"You are {word('persona')}.",
            session_id=word("session id"),
            turn_id=word("turn id"),
            options=gateway_pb2.TurnOptions(sampling=sampling),
        ),
        more=(("x-note", word("metadata")), ("traceparent", word("traceparent"))),
    )
    # Wrong in each way that is looked at.
    for wrong in (
        gateway_pb2.TurnRequest(text="hi", session_id=f"no id {word('bad session id')}"),
        gateway_pb2.TurnRequest(text="hi", turn_id=f"no id {word('bad turn id')}"),
        gateway_pb2.TurnRequest(text="hi", session_id="s1", parent_turn_id=word("parent turn id")),
        gateway_pb2.TurnRequest(text=f"{word('text too long')} " * 2_000),
        gateway_pb2.TurnRequest(text="hi", persona=f"{word('persona too long')} " * 3_000),
        gateway_pb2.TurnRequest(text="hi", options=gateway_pb2.TurnOptions(style=word("style"))),
        gateway_pb2.TurnRequest(text="hi", options=gateway_pb2.TurnOptions(temperament=word("temperament"))),
        gateway_pb2.TurnRequest(
            text="hi", options=gateway_pb2.TurnOptions(sampling=llm_pb2.Sampling(stop=[word("stop too long") * 20]))
        ),
    ):
        await private.turn(wrong)
    chat = {"model": word("model"), "user": word("user"), "metadata": {"note": word("unknown field")}, "max_tokens": 4}
    said = [
        {"role": "system", "content": f"You are {word('system message')}."},
        {"role": "user", "content": f"I am {word('message')}", "name": word("name")},
    ]
    named = {
        "x-limbic-session": word("session header"),
        "user-agent": word("user agent"),
        "cookie": f"a={word('cookie')}",
    }
    await private.http("POST", "/v1/chat/completions", json={**chat, "messages": said}, headers=named)
    await private.http("POST", "/v1/chat/completions", json={**chat, "messages": said, "stream": True})
    for body in (
        {"messages": [{"role": word("role"), "content": "hi"}]},
        {"messages": word("no messages")},
        {"messages": said, "temperature": word("temperature")},
        {"messages": said, "stop": [word("openai stop") * 50]},
    ):
        await private.http("POST", "/v1/chat/completions", json=body)
    await private.http(
        "POST",
        "/v1/chat/completions",
        content=f'{{"{word("broken json")}',
        headers={"content-type": "application/json"},
    )
    await private.http("POST", "/v1/chat/completions", content=word("form"), headers={"content-type": "text/plain"})
    await private.http("POST", "/api/classify", json={"text": f"I am {word('classified')}"})
    await private.http("POST", "/api/classify", json={"text": {"a": word("classified badly")}})
    session = f"/api/sessions/{word('path session')}"
    await private.http("PUT", session, json={})
    await private.http("PUT", session, json={"temperament": word("other temperament")})
    await private.http("PUT", session, json={word("field name"): 1})
    await private.http("POST", f"{session}/turns", json={"text": f"I am {word('page text')}"})
    await private.http("POST", f"{session}/turns", json={"text": 7, "persona": word("page persona")})
    await private.http("GET", f"{session}/turns", params={"page_token": word("page token")})
    await private.http("GET", session, params={"turn_id": word("query turn id"), "as_of": word("query time")})
    await private.http("POST", f"{session}/rewind", json={"turn_id": word("rewind turn id")})
    await private.http("GET", f"/{word('path')}", params={word("query name"): word("query value")})
    await private.http("GET", "/v1/models", headers={"authorization": f"Bearer {word('wrong key')}"})
    await private.http("GET", "/", headers={"host": f"{word('host')}.example"})
    await private.http("GET", f"{session}", headers={"origin": f"https://{word('origin')}.example"})
    async with open_channel(private.stack.settings.gateway.listen) as channel:
        for method in (word("method"), f"limbic.gateway.v1.GatewayService/{word('method of ours')}"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(f"/{method}", bytes, bytes)(b"", timeout=20.0, metadata=private.metadata)
            private.errors.append(repr(refused.value))


async def everything_shown(private: Private) -> AsyncIterator[tuple[str, bytes]]:
    """Yield what an operator sees: files of logs, feeds and whatever else, metrics, telemetry, and errors that clients were told."""
    addresses = [section.metrics for section in _sections(private) if section.metrics]
    for address in [*addresses, private.stack.settings.runtime.supervision_metrics]:
        async with httpx.AsyncClient(trust_env=False) as http:
            for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
                yield (
                    f"metrics at {address}",
                    (await http.get(f"http://{address}/metrics", headers={"accept": accept})).content,
                )
    yield "the gateway's metrics", (await private.http("GET", "/metrics")).content
    for number, error in enumerate(private.errors):
        yield f"error {number}: {error[:300]}", error.encode()
    for path in private.files():
        if path.is_file():
            yield str(path), path.read_bytes()


def _sections(private: Private) -> list[Any]:
    settings = private.stack.settings
    return [settings.state, settings.affect, settings.llm, settings.gateway]


TOLD_BACK = {"path session", "rewind turn id", "field name"}
"""What an error may say to whoever sent it: which of its sessions, turns or fields is meant. No words, and nothing of this is logged."""

WORDS_BELONG = ("journal.sqlite3", "journal.sqlite3-wal", "spool/")
"""Files, of the data directory, in which what was said is kept."""


async def test_words_ids_and_keys_are_nowhere_but_in_the_journal(private: Private, canaries: Canaries) -> None:
    await until_well(private)
    await through_every_input(private, canaries)
    canaries.words |= {"key": private.secret, "api key": private.api_key}

    leaks: dict[str, set[str]] = {}
    async for place, data in everything_shown(private):
        found = canaries.found_in(data)
        relative = place.removeprefix(f"{private.stack.supervisor.data_dir}/")
        if relative.startswith(WORDS_BELONG):
            # What was refused was not said, and no key was ever told to the engine.
            found &= {
                "key",
                "api key",
                "wrong key",
                "cookie",
                "metadata",
                "user agent",
                "text too long",
                "persona too long",
            }
        if place.startswith("error "):
            found -= TOLD_BACK
        if found:
            leaks[place] = found

    assert private.errors
    assert leaks == {}
    journal = b"".join(path.read_bytes() for path in private.files() if path.name.startswith("journal.sqlite3"))
    # The search can find: the words are where they belong.
    assert {"text", "message", "session id"} <= canaries.found_in(journal)


async def test_nor_are_they_while_a_part_is_away(private: Private, canaries: Canaries) -> None:
    for part in ("state-engine", "affect-head", "living-llm"):
        await until_well(private)
        with private.stack.held(part):
            await private.turn(
                gateway_pb2.TurnRequest(
                    text=f"I am {canaries(f'text without {part}')}",
                    session_id=canaries(f"session without {part}"),
                    options=_short(),
                ),
                timeout_s=5.0,
            )
        private.stack.kill(part)
        await private.turn(
            gateway_pb2.TurnRequest(
                text=f"I am {canaries(f'text after {part}')}", session_id="after", options=_short()
            ),
            20.0,
        )
    await until_well(private)

    leaks = {}
    async for place, data in everything_shown(private):
        if not place.removeprefix(f"{private.stack.supervisor.data_dir}/").startswith(WORDS_BELONG) and (
            found := canaries.found_in(data)
        ):
            leaks[place] = found
    assert leaks == {}


def test_every_file_and_folder_is_this_users_alone(private: Private) -> None:
    """Whatever the umask was where it was started."""
    found = list(private.files())
    names = {path.name for path in found}

    assert {
        "journal.sqlite3",
        "keys.sqlite3",
        "spool",
        "supervisor.sock",
        "affect_head_raw.jsonl",
        "gateway.log",
    } <= names
    assert [f"{path} {path.stat().st_mode & 0o7777:o}" for path in found if path.stat().st_mode & 0o077] == []
    assert (private.stack.folder / "keys").stat().st_mode & 0o777 == 0o600


async def test_where_nothing_is_to_be_kept_words_are_nowhere_at_all(canaries: Canaries) -> None:
    with running_stack(start=False) as stack:
        one = Private(stack)
        stack.configure(changes(stack.folder, state={"keep_text": False}))
        one.up()
        await until_well(one)
        text = canaries("text")
        await one.turn(gateway_pb2.TurnRequest(text=f"I am {text}", session_id="kept", options=_short()))
        body = {"messages": [{"role": "user", "content": f"I am {canaries('message')}"}], "max_tokens": 4}
        assert (await one.http("POST", "/v1/chat/completions", json=body)).status_code == 200
        stack.down()
        leaks = {
            str(path): found
            for path in one.files()
            if path.is_file() and (found := canaries.found_in(path.read_bytes()))
        }
    assert leaks == {}


def _short() -> gateway_pb2.TurnOptions:
    return gateway_pb2.TurnOptions(sampling=llm_pb2.Sampling(max_tokens=4))
