"""What a caller sees of a handler: codes, details, deadlines, and nothing raw."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.runtime.errors import failure_of
from limbic.runtime.interceptor import Gate
from tests.runtime.scripted_service import FULL_NAME, ScriptedService

if TYPE_CHECKING:
    Stub = affect_pb2_grpc.AffectHeadServiceAsyncStub


async def failing(stub: Stub, text: str, **kwargs: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Classify(affect_pb2.ClassifyRequest(text=text), **kwargs)
    return caught.value


def raw(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(f"/{FULL_NAME}/{method}", request_serializer=bytes, response_deserializer=bytes)


def handled(method: str, code: str) -> float:
    labels = {"grpc_service": FULL_NAME, "grpc_method": method, "grpc_code": code}
    return REGISTRY.get_sample_value("limbic_rpc_server_handling_seconds_count", labels) or 0.0


async def test_exception_text_stays_inside(stub: Stub, capfd: pytest.CaptureFixture[str]) -> None:
    error = await failing(stub, "raise")

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error)
    failure = failure_of(error)
    assert failure.reason == "INTERNAL_ERROR"
    assert failure.metadata["errorId"] in failure.message


async def test_exception_text_stays_inside_a_stream(stub: Stub) -> None:
    call = stub.ClassifyStream(iter([affect_pb2.ClassifyStreamRequest(text="raise")]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)


async def test_a_handler_cancelled_from_within_still_sends_a_status(stub: Stub) -> None:
    error = await failing(stub, "cancel", timeout=10)

    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_invalid_input_names_the_field(stub: Stub) -> None:
    error = await failing(stub, "invalid")

    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    violations = error_details_pb2.BadRequest()
    assert any(detail.Unpack(violations) for detail in status.details)
    assert [violation.field for violation in violations.field_violations] == ["text"]
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_limit_says_when_to_come_back(stub: Stub) -> None:
    failure = failure_of(await failing(stub, "full"))

    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.retry_after == 0.25
    assert failure.metadata == {"limit": "3"}


async def test_bytes_that_are_no_utf8_are_refused_with_the_fields_name(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(channel, "Classify")(b"\x0a\x02\xff\xfe")

    assert failure_of(caught.value).code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure_of(caught.value).metadata == {"field": "text"}


async def test_bytes_that_are_no_message_are_refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(channel, "Classify")(b"\xff\xff\xff")

    assert failure_of(caught.value).metadata == {"field": "request"}


async def test_a_call_without_deadline_gets_the_default(stub: Stub) -> None:
    response = await stub.Classify(affect_pb2.ClassifyRequest(text="x"))

    assert 6.0 < response.reading.valence <= 7.0


async def test_a_deadline_beyond_the_maximum_is_shortened(stub: Stub) -> None:
    response = await stub.Classify(affect_pb2.ClassifyRequest(text="x"), timeout=3600)

    assert 19.0 < response.reading.valence <= 20.0


async def test_a_caller_that_goes_away_cancels_the_handler(stub: Stub, service: ScriptedService) -> None:
    call = stub.Classify(affect_pb2.ClassifyRequest(text="hold"))
    task = asyncio.ensure_future(call)
    await service.held.wait()
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    await asyncio.wait_for(service.cancelled.wait(), 10)


async def test_calls_are_counted_by_method_and_code(stub: Stub) -> None:
    before = handled("Classify", "OK"), handled("Classify", "INVALID_ARGUMENT")
    await stub.Classify(affect_pb2.ClassifyRequest(text="x"))
    await failing(stub, "invalid")

    assert (handled("Classify", "OK"), handled("Classify", "INVALID_ARGUMENT")) == (before[0] + 1, before[1] + 1)


async def test_an_unknown_method_becomes_no_label(channel: grpc.aio.Channel) -> None:
    before = handled("other", "UNIMPLEMENTED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(channel, "NoSuchMethod")(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert handled("other", "UNIMPLEMENTED") == before + 1
    assert handled("NoSuchMethod", "UNIMPLEMENTED") == 0


async def test_health_answers_for_the_empty_and_the_full_name(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", FULL_NAME):
        response = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_a_closed_gate_says_that_the_server_is_loading() -> None:
    gate = Gate()
    with pytest.raises(Exception, match="loading"):
        gate.check()
    gate.open()
    gate.check()
    gate.drain()
    with pytest.raises(Exception, match="going down"):
        gate.check()
