"""A gateway that asks for keys: nothing is open but what is meant to be, and nobody sees another one's sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import httpx
import pytest
from fastapi import APIRouter, Request
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from gateway.access.access import Access
from gateway.access.interceptor import EXEMPT
from gateway.access.ring import KeyRing
from gateway.http import keys as door
from gateway.http.app import create_app
from gateway.service import GatewayService
from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.clock import SystemClock
from limbic.runtime.errors import failure_of
from limbic.runtime.keys import Key, Limits, Role, new_key, save_keys
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import RuntimeSettings
from limbic.state.v1 import state_pb2
from tests.gateway.conftest import House

BAD = "Bearer lmb_this-is-no-key"

SERVICES: list[ServiceDescriptor] = [
    service
    for file in (gateway_pb2, state_pb2, affect_pb2, llm_pb2, health_pb2, reflection_pb2, channelz_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
METHODS = sorted({f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods})


class KeyedHouse:
    """A gateway that asks for keys, with one of each kind."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.path = house.directory / "keys"
        self.secrets: dict[str, str] = {}
        self.keys: dict[str, Key] = {}

    def add(self, name: str, role: Role = Role.USER, limits: Limits | None = None) -> None:
        self.secrets[name], self.keys[name] = new_key(name, role, now=datetime.now(UTC), limits=limits or Limits())
        save_keys(self.path, self.keys.values())

    async def start(self, **changes: Any) -> None:
        await self.house.start(keys_file=self.path, **changes)

    def bearer(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secrets[name]}"}

    def http(self, name: str = "", **headers: str) -> httpx.AsyncClient:
        assert self.house.service is not None
        base = f"http://127.0.0.1:{self.house.service.http_port}"
        return httpx.AsyncClient(
            base_url=base, headers={**(self.bearer(name) if name else {}), **headers}, timeout=30.0
        )

    async def say(self, name: str, text: str = "I missed you", session: str = "bob") -> list[gateway_pb2.TurnResponse]:
        request = gateway_pb2.TurnRequest(text=text, session_id=session)
        metadata = tuple(self.bearer(name).items()) if name else ()
        return [event async for event in self.house.stub.Turn(request, timeout=30.0, metadata=metadata)]

    async def snapshot(self, name: str) -> gateway_pb2.TelemetrySnapshot:
        metadata = tuple(self.bearer(name).items())
        answer = await self.house.stub.GetTelemetrySnapshot(
            gateway_pb2.GetTelemetrySnapshotRequest(), metadata=metadata
        )
        assert isinstance(answer, gateway_pb2.GetTelemetrySnapshotResponse)
        return answer.snapshot

    def inner(self, name: str, session: str) -> str:
        return f"k.{self.keys[name].owner}.{session}"


@pytest.fixture
def keyed(parts: House) -> KeyedHouse:
    keyed = KeyedHouse(parts)
    keyed.add("ada")
    keyed.add("eve")
    keyed.add("op", Role.OPERATOR)
    return keyed


@pytest.fixture
async def asking(keyed: KeyedHouse) -> KeyedHouse:
    await keyed.start()
    return keyed


async def call(channel: grpc.aio.Channel, method: str, authorization: str = "", *, streams: bool = False) -> Any:
    """Call a method with an empty message, and return its failure, or None if it answered."""
    metadata = (("authorization", authorization),) if authorization else ()
    try:
        if streams:
            stream = channel.stream_stream(method, bytes, bytes)(iter([b""]), timeout=20.0, metadata=metadata)
            async for _ in stream:
                break
            stream.cancel()
        else:
            await channel.unary_unary(method, bytes, bytes)(b"", timeout=20.0, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    return None


async def refusal(channel: grpc.aio.Channel, method: str, authorization: str) -> Any:
    """Begin a stream without sending anything, and return its failure.

    A message that is sent while the refusal comes in makes grpc.aio's client say INTERNAL, now and then, in place of what the server said.
    """
    metadata = (("authorization", authorization),) if authorization else ()
    begin: Any = channel.stream_stream(method, bytes, bytes)
    stream = begin(timeout=20.0, metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    return failure_of(refused.value)


@asynccontextmanager
async def everything_served(keyed: KeyedHouse) -> AsyncIterator[grpc.aio.Channel]:
    """Serve all that a gateway can, channelz and reflection too."""
    house = keyed.house
    settings = house.settings.model_copy(update={"keys_file": keyed.path, "listen": f"unix:{house.directory}/all"})
    service = GatewayService(settings, RuntimeSettings(data_dir=house.directory / "all-var", logs_dir=house.directory))
    server = RunningServer(service, settings, drain_s=0.5, lame_duck_s=0, expose_channelz=True, guard=service.guard)
    await server.start()
    async with grpc.aio.insecure_channel(settings.listen) as channel:
        yield channel
    await server.stop()


async def test_every_method_of_every_service_asks_for_a_key(keyed: KeyedHouse) -> None:
    assert len(METHODS) > 30
    async with everything_served(keyed) as channel:
        for method in [*METHODS, "/limbic.gateway.v1.GatewayService/Nothing", "/no.such.Service/Method"]:
            for authorization, reason in (("", "KEY_REQUIRED"), (BAD, "KEY_UNKNOWN"), ("Basic YTpi", "KEY_REQUIRED")):
                if method in EXEMPT:
                    assert await call(channel, method, authorization, streams=True) is None, method
                    continue
                for failed in (
                    await call(channel, method, authorization),
                    await refusal(channel, method, authorization),
                ):
                    assert failed is not None, method
                    assert (failed.code, failed.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason), (method, failed)
                    assert failed.message


async def test_what_needs_no_key_is_health_and_nothing_else() -> None:
    assert {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"} == EXEMPT
    assert set(METHODS) > EXEMPT
    assert {"/", "/healthz", "/readyz"} == door.EXEMPT
    assert door.EXEMPT_BELOW == "/page/"


async def test_a_key_opens_what_there_is(keyed: KeyedHouse) -> None:
    authorization = keyed.bearer("ada")["authorization"]
    async with everything_served(keyed) as channel:
        assert await call(channel, "/limbic.gateway.v1.GatewayService/GetTelemetrySnapshot", authorization) is None
        nothing = await call(channel, "/no.such.Service/Method", authorization)
        assert nothing.code is grpc.StatusCode.UNIMPLEMENTED
        info = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        assert await call(channel, info, authorization, streams=True) is None


async def test_health_says_whether_it_lives_and_no_more(asking: KeyedHouse) -> None:
    stub: health_pb2_grpc.HealthAsyncStub = health_pb2_grpc.HealthStub(asking.house.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=20.0)
    assert answer == health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


def routes_of(app: Any) -> list[tuple[str, str]]:
    """Return every method and path that an application answers, with something in the place of each parameter."""
    found = []
    for route in app.routes:
        if (included := getattr(route, "original_router", None)) is not None:
            found += routes_of(included)
            continue
        path = route.path
        for parameter, value in (("{session_id}", "bob"), ("{name:path}", "limbic"), ("{path:path}", "app.css")):
            path = path.replace(parameter, value)
        assert "{" not in path, route.path
        found += [(method, path) for method in sorted(route.methods)]
    return found


async def test_every_route_asks_for_a_key(asking: KeyedHouse) -> None:
    assert asking.house.service is not None
    routes = routes_of(asking.house.service.app)
    assert len(routes) > 15
    assert {"/v1/chat/completions", "/api/classify", "/telemetry/stream", "/metrics", "/openapi.json"} <= {
        path for _, path in routes
    }
    routes += [
        ("GET", "/nowhere"),
        ("DELETE", "/metrics"),
        ("OPTIONS", "/metrics"),
        ("GET", "/page"),
        ("GET", "//metrics"),
        ("GET", "/page/../metrics"),
    ]
    async with asking.http() as http:
        for method, path in routes:
            for headers in ({}, {"authorization": BAD}, {"authorization": "Basic YTpi"}):
                answer = await http.request(method, path, headers=headers)
                if door.is_exempt(answer.request.url.path):
                    assert answer.status_code != 401, (method, path)
                    continue
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == 'Bearer realm="limbic"'
                if method != "HEAD":
                    assert answer.json()["error"]["message"]


async def test_two_headers_are_none(asking: KeyedHouse) -> None:
    good = asking.bearer("ada")["authorization"]
    async with asking.http() as http:
        answer = await http.get("/v1/models", headers=[("authorization", good), ("authorization", good)])
    assert answer.status_code == 401


async def test_refusals_are_told_as_each_api_tells_them(asking: KeyedHouse) -> None:
    async with asking.http() as http:
        openai = (await http.get("/v1/models", headers={"authorization": BAD})).json()["error"]
        ours = (await http.get("/telemetry/snapshot", headers={"authorization": BAD})).json()["error"]
    async with asking.http("ada") as http:
        metrics = await http.get("/metrics")

    assert (openai["type"], openai["code"]) == ("authentication_error", "invalid_api_key")
    assert (ours["status"], ours["reason"], ours["code"]) == ("UNAUTHENTICATED", "KEY_UNKNOWN", 401)
    assert "this-is-no-key" not in json.dumps([openai, ours])
    assert (metrics.status_code, metrics.json()["error"]["reason"]) == (403, "OPERATOR_ONLY")


async def test_operators_see_the_metrics_and_who_was_refused(asking: KeyedHouse) -> None:
    async with asking.http("op") as http:
        before = _refused((await http.get("/metrics")).text)
        await http.get("/metrics", headers={"authorization": BAD})
        after = _refused((await http.get("/metrics")).text)
    assert after == before + 1


def _refused(metrics: str) -> float:
    line = next(
        line for line in metrics.splitlines() if line.startswith('limbic_gateway_refused_total{reason="KEY_UNKNOWN"}')
    )
    return float(line.rpartition(" ")[2])


async def test_readiness_tells_strangers_yes_or_no(asking: KeyedHouse) -> None:
    await until_ready(asking)
    async with asking.http() as http:
        assert (await http.get("/healthz")).json() == {"status": "alive"}
        assert (await http.get("/readyz")).json() == {"ready": True}
    async with asking.http("ada") as http:
        assert set((await http.get("/readyz")).json()) == {"ready", "draining", "missing", "degraded", "parts"}


async def until_ready(asking: KeyedHouse) -> None:
    async with asyncio.timeout(20.0), asking.http() as http:
        while (await http.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - nothing signals it to this loop
            await asyncio.sleep(0.01)


async def test_two_keys_mean_two_sessions_by_one_name(asking: KeyedHouse) -> None:
    ada, eve = await asking.say("ada", "my name is Rosalind"), await asking.say("eve", "my name is Eve")

    for events in (ada, eve):
        assert events[0].state.state.session_id == "bob"
        assert events[-1].done.trace.session_id == "bob"
    assert set(asking.house.engine.tips) == {asking.inner("ada", "bob"), asking.inner("eve", "bob")}
    assert "Rosalind" not in str(asking.house.model.requests[-1])


async def test_over_http_a_key_finds_its_own_session_and_no_other(asking: KeyedHouse) -> None:
    async with asking.http("ada") as ada, asking.http("eve") as eve, asking.http("op") as op:
        made = await ada.put("/api/sessions/diary", json={})
        own = await ada.get("/api/sessions/diary")
        other = await eve.get("/api/sessions/diary")
        in_full = await eve.get(f"/api/sessions/{asking.inner('ada', 'diary')}")
        turns = await eve.get("/api/sessions/diary/turns")
        by_the_operator = await op.get(f"/api/sessions/{asking.inner('ada', 'diary')}")

    assert (made.status_code, own.status_code) == (200, 200)
    assert own.json()["state"]["session_id"] == "diary"
    for refused in (other, in_full, turns):
        assert (refused.status_code, refused.json()["error"]["reason"]) == (404, "SESSION_NOT_FOUND")
        assert asking.keys["eve"].owner not in refused.text
    assert by_the_operator.json()["state"]["session_id"] == asking.inner("ada", "diary")


async def test_one_keys_bob_is_not_anothers_over_openais_api(asking: KeyedHouse) -> None:
    body = {"model": "limbic", "messages": [{"role": "user", "content": "Hello"}]}
    seen = {}
    for name in ("ada", "eve"):
        async with asking.http(name) as http:
            for how, extra, headers in (
                ("user", {"user": "bob"}, {}),
                ("header", {}, {"x-limbic-session": "bob"}),
                ("nothing", {}, {}),
            ):
                answer = await http.post("/v1/chat/completions", json={**body, **extra}, headers=headers)
                assert answer.status_code == 200, answer.text
                assert not answer.headers["x-limbic-session"].startswith("k.")
                assert answer.headers["x-limbic-session"] == answer.json()["limbic"]["session_id"]
                seen[name, how] = answer.headers["x-limbic-session"]
    inside = set(asking.house.engine.tips)

    assert seen["ada", "header"] == seen["eve", "header"] == "bob"
    assert inside == {asking.inner(name, session) for (name, _), session in seen.items()}
    assert len(inside) == 6


async def test_a_replaced_key_keeps_its_conversations(asking: KeyedHouse) -> None:
    body = {"model": "limbic", "user": "bob", "messages": [{"role": "user", "content": "Hello"}]}
    async with asking.http("ada") as http:
        before = (await http.post("/v1/chat/completions", json=body)).headers["x-limbic-session"]
    old = asking.keys.pop("ada")
    asking.secrets["new"], asking.keys["new"] = new_key("new", Role.USER, now=datetime.now(UTC), owner=old.owner)
    save_keys(asking.path, asking.keys.values())
    await until_known(asking, "new")

    async with asking.http("new") as http:
        after = (await http.post("/v1/chat/completions", json=body)).headers["x-limbic-session"]
    async with asking.http("ada") as http:
        refused = await http.get("/v1/models")

    assert after == before
    assert refused.status_code == 401


async def until_known(asking: KeyedHouse, name: str) -> None:
    async with asyncio.timeout(20.0), asking.http(name) as http:
        while (await http.get("/v1/models")).status_code != 200:  # noqa: ASYNC110 - nothing signals it to this loop
            await asyncio.sleep(0.05)


async def test_telemetry_shows_each_key_its_own(asking: KeyedHouse) -> None:
    await asking.say("ada")
    await asking.say("eve", session="diary")

    ada, eve, op = [await asking.snapshot(name) for name in ("ada", "eve", "op")]
    async with asking.http("ada") as http:
        over_http = (await http.get("/telemetry/snapshot")).json()
        async with http.stream("GET", "/telemetry/stream") as stream:
            streamed = json.loads([line async for line in _lines(stream, 2)][1].removeprefix("data: "))

    assert (len(ada.readings), len(eve.readings), len(op.readings)) == (1, 1, 2)
    assert (ada.HasField("state"), eve.state.session_id) == (False, "diary")
    assert op.state.session_id == asking.inner("eve", "diary")
    assert len(over_http["readings"]) == len(streamed["readings"]) == 1
    assert ada.turns_total == 2


async def _lines(stream: httpx.Response, count: int) -> AsyncIterator[str]:
    async for line in stream.aiter_lines():
        yield line
        count -= 1
        if not count:
            return


async def test_a_turn_too_many_is_refused_with_a_delay(keyed: KeyedHouse) -> None:
    keyed.add("small", limits=Limits(turns_per_minute=3))
    await keyed.start()
    body = {"messages": [{"role": "user", "content": "Hello"}]}

    await keyed.say("small")
    async with keyed.http("small") as http:
        completed = await http.post("/v1/chat/completions", json=body)
        classified = await http.post("/api/classify", json={"text": "Hello"})
        refusals = [
            await http.post("/v1/chat/completions", json=body),
            await http.post("/api/sessions/bob/turns", json={"text": "Hello"}),
            await http.post("/api/classify", json={"text": "Hello"}),
        ]
        models = await http.get("/v1/models")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await keyed.say("small")

    assert (completed.status_code, classified.status_code, models.status_code) == (200, 200, 200)
    for answer in refusals:
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 20
    failure = failure_of(refused.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "KEY_RATE_EXCEEDED")
    assert failure.retry_after is not None
    assert 0 < failure.retry_after <= 20
    await keyed.say("ada")


async def test_a_request_too_many_is_refused_at_the_door(keyed: KeyedHouse) -> None:
    keyed.add("small", limits=Limits(requests_per_minute=2))
    await keyed.start()
    async with keyed.http("small") as http:
        answers = [await http.get("/v1/models") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_a_session_too_many_is_refused_however_it_is_made(keyed: KeyedHouse) -> None:
    keyed.add("small", limits=Limits(sessions=2))
    await keyed.start()
    await keyed.say("small", session="one")
    async with keyed.http("small") as http:
        assert (await http.put("/api/sessions/two", json={})).status_code == 200
        refused = await http.put("/api/sessions/three", json={})
        completed = await http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello"}]})
        again = await http.put("/api/sessions/two", json={})
    with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
        await keyed.say("small", session="three")
    await keyed.say("small", session="one")

    assert (refused.status_code, completed.status_code, again.status_code) == (429, 429, 200)
    assert refused.json()["error"]["reason"] == failure_of(over_grpc.value).reason == "KEY_SESSIONS_EXCEEDED"
    assert set(keyed.house.engine.tips) == {keyed.inner("small", "one"), keyed.inner("small", "two")}


async def test_sessions_are_counted_while_the_engine_is_away(keyed: KeyedHouse) -> None:
    keyed.add("small", limits=Limits(sessions=1))
    await keyed.start(state_deadline_ms=200)
    await keyed.house.engine_backend.stop()
    await keyed.say("small", session="one")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await keyed.say("small", session="two")
    assert failure_of(refused.value).reason == "KEY_SESSIONS_EXCEEDED"
    await keyed.house.engine_backend.start()


async def test_a_browser_may_ask_for_permission_without_a_key_and_is_told_of_refusals(asking: KeyedHouse) -> None:
    origin = {"origin": "http://localhost:8000"}
    asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with asking.http() as http:
        preflight = await http.options("/v1/chat/completions", headers=asked)
        refused = await http.get("/v1/models", headers=origin)
    assert preflight.status_code == 200
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == origin["origin"]


async def test_the_page_is_served_so_that_it_can_ask(asking: KeyedHouse) -> None:
    async with asking.http() as http:
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/page/app.css")).status_code == 200


async def test_a_face_without_a_door_stays_shut(keyed: KeyedHouse) -> None:
    """The interceptor is what lets calls in: a server that was started without it answers nobody."""
    house = keyed.house
    settings = house.settings.model_copy(update={"keys_file": keyed.path, "listen": f"unix:{house.directory}/bare"})
    service = GatewayService(settings, RuntimeSettings(data_dir=house.directory / "bare-var", logs_dir=house.directory))
    server = RunningServer(service, settings, drain_s=0.5, lame_duck_s=0)
    await server.start()
    async with grpc.aio.insecure_channel(settings.listen) as channel:
        for method in gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods:
            authorization = keyed.bearer("op")["authorization"]
            failed = await call(channel, f"/{service.full_name}/{method.name}", authorization, streams=True)
            assert failed is not None
            assert failed.code is grpc.StatusCode.UNAUTHENTICATED
    await server.stop()


async def test_a_web_socket_is_refused(keyed: KeyedHouse) -> None:
    ring = KeyRing(keyed.path, SystemClock())
    await ring.load()
    reached: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    shut = door.KeyDoor(app, Access(ring))
    await shut({"type": "websocket", "path": "/", "headers": []}, receive, send)

    assert (reached, sent) == ([], [{"type": "websocket.close", "code": 1008}])


async def test_what_comes_in_after_the_door_has_no_key(keyed: KeyedHouse) -> None:
    """The key ends at the door: nothing behind it could write it down."""
    ring = KeyRing(keyed.path, SystemClock())
    await ring.load()
    face = APIRouter()

    @face.get("/seen")
    async def seen(request: Request) -> dict[str, str]:
        return dict(request.headers)

    app = create_app([face], (), Access(ring))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        headers = (await http.get("/seen", headers=keyed.bearer("ada"))).json()

    assert headers["authorization"] == f"Bearer {keyed.keys['ada'].owner}"
    assert keyed.secrets["ada"] not in json.dumps(headers)
