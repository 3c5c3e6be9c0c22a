"""One turn, one trace: a real collector, the four supervised processes, and a model's server of our own at the end."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.channels import open_channel
from tests.end_to_end.stack import Stack, eventually, free_ports, running_stack

CANARY = "zanzibar-marmalade-417"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent, by the service that made them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.raw: list[bytes] = []

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans."""
        self.raw.append(request.SerializeToString())
        for of_resource in request.resource_spans:
            named = {attribute.key: attribute.value.string_value for attribute in of_resource.resource.attributes}
            for scope in of_resource.scope_spans:
                self.spans.extend((named["service.name"], span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


class Model(BaseHTTPRequestHandler):
    """Speaks the OpenAI protocol, and keeps what trace it was asked in."""

    traced: list[str]

    def do_GET(self) -> None:
        """List one model."""
        self._answer("application/json", json.dumps({"data": [{"id": "tiny"}]}))

    def do_POST(self) -> None:
        """Stream two words."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.traced.append(self.headers.get("traceparent", ""))
        chunks = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in ("Hello ", "there.")]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self._answer("text/event-stream", "".join(lines) + "data: [DONE]\n\n")

    def _answer(self, content_type: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def model() -> Iterator[tuple[str, list[str]]]:
    traced: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("TracedModel", (Model,), {"traced": traced}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", traced
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[str, Collector]]:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    server, kept = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(address)
    await server.start()
    yield f"http://{address}", kept
    await server.stop(0)


async def say(stack: Stack, text: str, *metadata: tuple[str, str]) -> list[gateway_pb2.TurnResponse]:
    async with open_channel(stack.settings.gateway.listen) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        call = stub.Turn(gateway_pb2.TurnRequest(text=text), timeout=60, metadata=metadata)
        return [response async for response in call]


async def test_a_turn_is_one_trace_from_its_caller_to_the_model_and_holds_no_words(
    collector: tuple[str, Collector], model: tuple[str, list[str]]
) -> None:
    (endpoint, kept), (url, traced) = collector, model
    with running_stack({"runtime": {"otlp_endpoint": endpoint}, "llm": {"upstream": {"url": url}}}) as stack:
        events = await say(stack, f"I love {CANARY}!", ("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"))
        assert events[-1].done.trace.trace_id == TRACE_ID

        def of_trace() -> dict[str, list[Span]]:
            found: dict[str, list[Span]] = {}
            for service, span in kept.spans:
                if span.trace_id.hex() == TRACE_ID:
                    found.setdefault(service, []).append(span)
            return found

        async def whole() -> bool:
            return set(of_trace()) == {"gateway", "state-engine", "affect-head", "living-llm"}

        await eventually("the spans of all four services", whole)
        spans = of_trace()

    gateway = {span.name: span for span in spans["gateway"]}
    turn = gateway["limbic.gateway.v1.GatewayService/Turn"]
    assert turn.parent_span_id.hex() == PARENT_ID
    stages = {span.name for span in spans["gateway"] if span.parent_span_id == turn.span_id}
    assert {"state", "affect", "record", "first_delta", "generate"} <= stages
    assert all(turn.start_time_unix_nano <= gateway[stage].start_time_unix_nano for stage in stages)
    for service in ("state-engine", "affect-head", "living-llm"):
        assert all(span.parent_span_id for span in spans[service])
    generate = next(span for span in spans["living-llm"] if span.name.endswith("/Generate"))
    assert generate.parent_span_id == turn.span_id
    assert any(span.name == "attempt" and span.parent_span_id == generate.span_id for span in spans["living-llm"])
    # The model's server was asked in the same trace.
    assert [header.split("-")[1] for header in traced] == [TRACE_ID]
    assert not any(CANARY.encode() in raw for raw in kept.raw)


async def test_without_an_endpoint_no_trace_is_passed_on(model: tuple[str, list[str]]) -> None:
    url, traced = model
    with running_stack({"llm": {"upstream": {"url": url}}}) as stack:
        events = await say(stack, "Hello!", ("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"))

    # It is the exemplars' id all the same.
    assert events[-1].done.trace.trace_id == TRACE_ID
    assert traced == [""]
