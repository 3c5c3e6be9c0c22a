"""`limbic monitor` against a real gateway service: panels, lines, JSON, and a gateway that goes away and comes back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from rich.console import Console

from limbic.affect.v1 import affect_pb2
from limbic.cli.monitor_screen import MonitorScreen, NewReadings
from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.runtime.server import RunningServer
from limbic.runtime.settings import ServerSettings
from limbic.state.v1 import state_pb2

ROOT = Path(__file__).resolve().parents[2]


def reading(turn_id: str = "t1", *, reason: str = "", text: str = "") -> gateway_pb2.TelemetryReading:
    found = affect_pb2.AffectReading(
        valence=-0.9,
        intimacy=0.25,
        tension=0.8,
        confidence=0.7,
        uncertainty=affect_pb2.AxisUncertainty(valence=0.1, intimacy=0.2, tension=0.3),
        emotions=[
            affect_pb2.Emotion(label="anger", probability=0.8, active=True),
            affect_pb2.Emotion(label="joy", probability=0.02, active=False),
        ],
        head=affect_pb2.HeadIdentity(id="test-head", quantization="Q4_0"),
        reasoning=reason,
    )
    one = gateway_pb2.TelemetryReading(turn_id=turn_id, status=gateway_pb2.AFFECT_STATUS_LATE, reading=found, text=text)
    one.occurred_at.FromSeconds(1_780_000_000)
    one.latency.FromMilliseconds(840)
    return one


def snapshot(*readings: gateway_pb2.TelemetryReading) -> gateway_pb2.TelemetrySnapshot:
    seen = gateway_pb2.TelemetrySnapshot(
        readings=readings,
        state=state_pb2.State(
            levels=[state_pb2.Level(name="cortisol", value=58, baseline=30, band=state_pb2.BAND_SURGING)],
            moods=[state_pb2.Mood(name="unease", intensity=0.4)],
        ),
        window=gateway_pb2.WindowStats(hits=3, late=1),
        backends=[gateway_pb2.BackendStatus(name="affect-head", serving=False)],
        turns_total=4,
    )
    seen.window.window.FromMilliseconds(600)
    return seen


def drawn(screen: MonitorScreen, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, record=True, file=open(os.devnull, "w"), force_terminal=True)  # noqa: PTH123, SIM115
    with console.file:
        console.print(screen)
    return console.export_text().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(200, 60), (100, 30), (60, 18), (40, 14)])
def test_two_sections_fit_the_window_whatever_its_size(width: int, height: int) -> None:
    screen = MonitorScreen("127.0.0.1:50051")
    many = [reading(f"t{number}", reason="“hate” makes it more tense.", text="I hate this") for number in range(20)]
    screen.take(snapshot(*many))

    lines = drawn(screen, width, height)

    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    text = "\n".join(lines)
    assert text.index("scores and emotions") < text.index("reasoning")
    assert "valence" in text


def test_scores_emotions_levels_and_reasons_are_shown() -> None:
    screen = MonitorScreen("127.0.0.1:50051")
    screen.take(snapshot(reading(reason="“hate” makes it more tense.", text="I \x1b[31mhate this")))

    text = "\n".join(drawn(screen, 140, 40))

    for part in (
        "-0.90",
        "± 0.10",
        "anger",
        "0.80",
        "cortisol 58 surging",
        "unease +0.40",
        "3 in time, 1 late",
        "away: affect-head",
    ):
        assert part in text
    assert "“hate” makes it more tense." in text[text.index("reasoning") :]
    assert "\x1b" not in text


def test_a_gateway_that_is_away_is_said_over_what_was_seen_last() -> None:
    screen = MonitorScreen("127.0.0.1:50051")
    screen.lose("No gateway answers.")
    before = "\n".join(drawn(screen, 100, 30))
    screen.take(snapshot(reading()))
    screen.lose("No gateway answers.")
    after = "\n".join(drawn(screen, 100, 30))
    screen.take(snapshot(reading()))

    assert "No gateway answers." in before
    assert "No gateway answers." in after
    assert "cortisol 58" in after
    assert "No gateway answers." not in "\n".join(drawn(screen, 100, 30))


def test_lines_tell_each_reading_once_and_its_reason_when_it_comes() -> None:
    readings = NewReadings()

    first = list(readings.lines(snapshot(reading("t1"))))
    second = list(readings.lines(snapshot(reading("t2"), reading("t1", reason="because"))))
    third = list(readings.lines(snapshot(reading("t2"), reading("t1", reason="because"))))

    assert [line.split("  ")[2] for line in first] == ["t1"]
    assert [line.split("  ", 1)[1] for line in second] == ["why: because", second[1].split("  ", 1)[1]]
    assert "t2" in second[1]
    assert third == []


class Telemetry(gateway_pb2_grpc.GatewayServiceServicer):
    """A gateway service that has telemetry and nothing else."""

    full_name = "limbic.gateway.v1.GatewayService"

    def __init__(self) -> None:
        self.snapshot = snapshot(reading("t1", reason="because"))
        self.changed = asyncio.Event()
        self.keys: list[str] = []

    def register(self, server: grpc.aio.Server) -> None:
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, server)

    async def start(self) -> None:
        pass

    def drain(self) -> None:
        self.changed.set()

    async def stop(self) -> None:
        pass

    async def GetTelemetrySnapshot(self, request: Any, context: Any) -> Any:
        self.keys += [str(value) for name, value in context.invocation_metadata() if name == "authorization"]
        return gateway_pb2.GetTelemetrySnapshotResponse(snapshot=self.snapshot)

    async def WatchTelemetry(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield gateway_pb2.WatchTelemetryResponse(snapshot=self.snapshot)
        await self.changed.wait()


class Gateway:
    """It behind a Unix socket, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.target = f"unix:{folder}/gateway"
        self.service = Telemetry()
        self._server: RunningServer | None = None

    async def start(self) -> None:
        self.service = Telemetry()
        self._server = RunningServer(self.service, ServerSettings(listen=self.target), drain_s=0.1, lame_duck_s=0.0)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop()


@pytest.fixture
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("m"))
    await gateway.start()
    yield gateway
    await gateway.stop()


async def monitor(gateway: Gateway, *options: str, **settings: str) -> asyncio.subprocess.Process:
    # Whoever runs the tests in the background may have them ignore Ctrl-C, and a program that starts ignoring it goes on doing so.
    return await asyncio.create_subprocess_exec(
        "env", "--default-signal=INT", sys.executable, "-m", "limbic.cli", "monitor", *options,
        env={**os.environ, "LIMBIC_GATEWAY__LISTEN": gateway.target, "PYTHONPATH": str(ROOT), **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_once_prints_what_there_is_as_lines_or_as_json(gateway: Gateway) -> None:
    lines, _ = await (await monitor(gateway, "--once")).communicate()
    as_json, _ = await (await monitor(gateway, "--once", "--json")).communicate()

    assert (
        lines.decode()
        .splitlines()[0]
        .endswith("valence -0.90, intimacy +0.25, tension +0.80, confidence 0.70; anger 0.80")
    )
    assert "why: because" in lines.decode()
    assert ParseDict(json.loads(as_json), gateway_pb2.TelemetrySnapshot()).turns_total == 4


async def test_a_key_goes_with_the_calls(gateway: Gateway, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("lmb_secret\n")
    key.chmod(0o600)

    process = await monitor(gateway, "--once", LIMBIC_RUNTIME__GATEWAY_KEY_FILE=str(key))
    await process.communicate()

    assert gateway.service.keys == ["Bearer lmb_secret"]


async def test_without_a_gateway_once_fails_and_says_so(gateway: Gateway) -> None:
    await gateway.stop()

    process = await monitor(gateway, "--once")
    out, err = await process.communicate()

    assert (process.returncode, out) == (1, b"")
    assert "No gateway" in err.decode()


async def test_it_goes_on_when_the_gateway_comes_back(gateway: Gateway) -> None:
    process = await monitor(gateway, "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(120.0):
        first = json.loads(await process.stdout.readline())
        await gateway.stop()
        said = await process.stderr.readline()
        await gateway.start()
        gateway.service.snapshot.turns_total = 5
        while json.loads(await process.stdout.readline())["turns_total"] != "5":
            pass
        process.send_signal(signal.SIGINT)
        status = await process.wait()

    assert first["turns_total"] == "4"
    assert said.strip()
    assert status == 0


async def test_a_reader_that_has_seen_enough_ends_it_without_a_complaint(gateway: Gateway) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f'"{sys.executable}" -m limbic.cli monitor --json --interval 0.2 | head -n 1',
        env={**os.environ, "LIMBIC_GATEWAY__LISTEN": gateway.target, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(120.0):
        await process.stdout.readline()
        gateway.service.changed.set()
        _, err = await process.communicate()

    assert err == b""
