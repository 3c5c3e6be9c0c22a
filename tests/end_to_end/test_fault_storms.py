"""Faults under load: a gateway told to end with fifty turns in flight, a head killed again and again, broken files."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from limbic.client import LimbicClient
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.models import find_model
from limbic.runtime.settings import Settings
from limbic.state.v1 import state_pb2
from limbic.supervision.supervisor import ROOT
from tests.end_to_end.calls import Calls
from tests.end_to_end.stack import Stack, eventually, running_stack

IN_FLIGHT = 50


class Held(BaseHTTPRequestHandler):
    """A model that speaks once it is released, and counts who waits."""

    release: threading.Event
    waiting: list[int]

    def do_GET(self) -> None:
        """List one model."""
        self._answer("application/json", '{"data": [{"id": "held"}]}')

    def do_POST(self) -> None:
        """Wait, and say one word."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.waiting.append(1)
        self.release.wait()
        words = '{"choices":[{"index":0,"delta":{"content":"Here."},"finish_reason":null}]}'
        stop = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
        self._answer("text/event-stream", f"data: {words}\n\ndata: {stop}\n\ndata: [DONE]\n\n")

    def _answer(self, content_type: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = IN_FLIGHT


@pytest.fixture
def model() -> Iterator[tuple[str, threading.Event, list[int]]]:
    release, waiting = threading.Event(), list[int]()
    handler = type("HeldModel", (Held,), {"release": release, "waiting": waiting})
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", release, waiting
    release.set()
    server.shutdown()
    thread.join()
    server.server_close()


async def test_fifty_turns_in_flight_are_answered_by_a_gateway_that_is_told_to_end(
    model: tuple[str, threading.Event, list[int]],
) -> None:
    url, release, waiting = model
    changes: dict[str, dict[str, object]] = {"llm": {"upstream": {"url": url}}, "runtime": {"drain_s": 60.0}}
    with running_stack(changes) as stack:
        settings = stack.settings
        async with LimbicClient(settings.gateway.listen, settings.state.listen) as client:

            async def turn(number: int) -> gateway_pb2.Done:
                async with client.turn("Are you there?", session_id=f"s{number}") as responses:
                    return [response.done async for response in responses][-1]

            async def all_wait() -> bool:
                return len(waiting) == IN_FLIGHT

            async def draining() -> bool:
                return '"draining"' in stack.supervisor.log_of("gateway").read_text("utf-8")

            turns = [asyncio.create_task(turn(number)) for number in range(IN_FLIGHT)]
            await eventually("all turns to wait for the model", all_wait, timeout_s=120)
            os.kill(stack.pid("gateway"), signal.SIGTERM)
            await eventually("the gateway to drain", draining)
            release.set()
            ended = await asyncio.gather(*turns)

    assert len(ended) == IN_FLIGHT
    assert all(done.reply_turn_id and not done.trace.degraded for done in ended)


async def test_a_head_that_is_killed_again_and_again_costs_only_feelings(
    stack: Stack, client: LimbicClient, calls: Calls
) -> None:
    await calls.until_well()
    killed: set[int] = set()
    stop = asyncio.Event()

    async def kill_often() -> None:
        while not stop.is_set():
            pid = stack.pid("affect-head")
            if pid and pid not in killed:
                killed.add(stack.kill("affect-head"))
            await asyncio.sleep(0.05)

    storm = asyncio.create_task(kill_often())
    while len(killed) < 5:
        async with client.turn("Does it hurt?", session_id="storm") as turn:
            responses = [response async for response in turn]
        assert any(response.HasField("delta") for response in responses)
        assert responses[-1].HasField("done")
    stop.set()
    await storm

    # supervisord waits longer after each failure, and has not given it up.
    await calls.until_well()
    async with client.turn("All is well again.", session_id="storm") as turn:
        (affect,) = [response.affect async for response in turn if response.HasField("affect")]
    assert affect.status == gateway_pb2.AFFECT_STATUS_IN_WINDOW
    said = [turn for turn in await client.turns("storm") if turn.role == state_pb2.ROLE_USER]
    assert all(len(turn.stimuli) <= 1 for turn in said)
    assert len({turn.turn_id for turn in said}) == len(said)


def damaged(source: Path, target: Path, how: str) -> Path:
    shutil.copyfile(source, target)
    size = target.stat().st_size
    with target.open("r+b") as file:
        if how == "one bit":
            file.seek(size // 2)
            byte = file.read(1)[0]
            file.seek(size // 2)
            file.write(bytes([byte ^ 1]))
        elif how == "half":
            file.truncate(size // 2)
        else:
            file.write(b"not a model at all" * 8)
    return target


@pytest.mark.parametrize("how", ["one bit", "half", "its beginning"])
@pytest.mark.parametrize("hash_known", [True, False], ids=["hash", "no-hash"])
def test_a_head_whose_file_is_damaged_does_not_start_and_says_why(
    tmp_path: Path, how: str, *, hash_known: bool
) -> None:
    if how == "one bit" and not hash_known:
        pytest.skip("one bit among the weights is a file like any other; that is what the hash is for")
    whole = find_model(Settings().affect.model, "")
    broken = damaged(whole.path, tmp_path / "broken.gguf", how)
    environment = {**os.environ, "LIMBIC_AFFECT__MODEL": str(broken), "LIMBIC_AFFECT__METRICS": ""}
    environment["LIMBIC_AFFECT__LISTEN"] = f"unix:{tmp_path}/head"
    if hash_known:
        environment["LIMBIC_AFFECT__MODEL_SHA256"] = whole.verify()

    ended = subprocess.run(
        [sys.executable, "-m", "services.affect_head"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert ended.returncode == 1
    last = ended.stdout.strip().splitlines()[-1]
    assert "cannot serve" in last
    assert "broken.gguf" in last
    assert "Traceback" not in ended.stdout + ended.stderr
