"""The suites against real servers: the default head, a real state engine and gateway; sound, and broken on purpose."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from limbic.affect.v1 import affect_pb2
from limbic.client import CallError
from limbic.probes.conversation import run_span
from limbic.probes.gates import load_gates
from limbic.probes.plan import Plan
from limbic.probes.result import Result
from limbic.probes.run import Scope
from limbic.probes.run_canary import run_canary
from limbic.probes.script import suite_text
from limbic.probes.spans import parse_pools, spans
from limbic.probes.suites import run_suite
from limbic.probes.system import System, Targets
from limbic.runtime.clock import SystemClock
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.probes.parts import Body, unseen, warm_bias

GATES = load_gates()


def plan(body: Body, models: Path) -> Plan:
    return Plan(
        targets=body.targets,
        temperament="",
        seed=1,
        gates=GATES,
        gates_text="",
        window_s=0.6,
        models=models,
        keep=False,
    )


async def validate(body: Body, models: Path) -> Result:
    return await run_suite("affect-validation", plan(body, models), unseen())


def failed(result: Result) -> set[str]:
    return {verdict.gate.measure for verdict in result.verdicts if not verdict.passed}


def copy_valence_into_intimacy(reading: affect_pb2.AffectReading) -> None:
    reading.intimacy = reading.valence


async def test_the_default_head_and_temperament_pass_and_say_who_they_are(short_directory: Path) -> None:
    async with Body(short_directory) as body:
        result = await validate(body, short_directory)

    assert failed(result) == set()
    assert {miss.address for miss in result.misses} <= {"head"}
    assert result.running.head
    assert len(result.running.head_sha256) == len(result.running.temperament_digest) == 64
    assert result.running.model == ""


async def test_a_warm_bias_in_the_temperament_is_caught_as_the_engines(short_directory: Path) -> None:
    async with Body(short_directory, temperament=warm_bias()) as body:
        result = await validate(body, short_directory)

    assert {"engine.turns", "engine.order"} & failed(result)
    engine = [miss for miss in result.misses if miss.address == "engine"]
    assert any(miss.where == "hostile-closeness" and "oxytocin" in miss.what for miss in engine)
    assert result.running.temperament == "broken"


async def test_intimacy_copied_from_valence_is_caught_as_the_heads(short_directory: Path) -> None:
    async with Body(short_directory, alter=copy_valence_into_intimacy) as body:
        result = await validate(body, short_directory)

    assert "head.coupling" in failed(result)
    assert not {one for one in failed(result) if one.startswith("engine")}
    assert {miss.address for miss in result.misses} == {"head"}


async def test_the_probes_sessions_are_gone_afterwards_unless_they_are_kept(short_directory: Path) -> None:
    async with Body(short_directory) as body, System(body.targets) as system:
        async with Scope(system, "", 1, keep=False).session("gone") as gone:
            pass
        async with Scope(system, "", 1, keep=True).session("kept") as kept:
            pass
        with pytest.raises(CallError, match="NOT_FOUND"):
            await system.late_readings(gone)
        assert await system.late_readings(kept) == {}


async def test_a_span_is_felt_at_the_moments_at_which_it_was_said(short_directory: Path) -> None:
    """A warm sentence eleven hours ago and everyday talk since: the words were sent within seconds, and the feeling has faded."""
    span = spans(parse_pools(suite_text("mid-span.toml")), 1, 20)[0]
    async with (
        Body(short_directory) as body,
        System(body.targets) as system,
        Scope(system, "", 1, keep=False).session("warm") as session_id,
    ):
        now_ns = SystemClock().now_ns()
        seen = await run_span(system, session_id, span, now_ns, lambda: None)
        turns = await turns_of(body.targets, session_id)

    said = [turn.occurred_at.ToNanoseconds() for turn in turns if turn.role == state_pb2.ROLE_USER]
    assert said[-1] - said[0] == pytest.approx(span.at_s[-1] * 1e9)
    assert said[-1] < now_ns
    assert seen.course.after[0]["oxytocin"] > 4.0
    assert abs(seen.course.before[-1]["oxytocin"]) < 0.3 * seen.course.after[0]["oxytocin"]
    assert seen.read_by_a_person.before[-1]["oxytocin"] < 0.1 * seen.read_by_a_person.after[0]["oxytocin"]


@pytest.mark.parametrize(
    ("reply", "figure"),
    [
        ("As an AI language model, I am here to assist you. How can I help you today?", "assistant"),
        ("I feel a warm glow in my chest, I am feeling very happy and my heart is racing.", "narrates"),
        ("Yes, that is how it is.", "repeats"),
    ],
)
async def test_a_model_that_is_no_character_is_caught_by_the_canary(
    short_directory: Path, reply: str, figure: str
) -> None:
    async with Body(short_directory, reply=reply) as body, System(body.targets) as system:
        found = await run_canary(system, Scope(system, "", 1, keep=False), short_directory, unseen())

    gate = next(one for one in GATES.by_suite["canary"] if one.measure == figure)
    assert not gate.passes(found.figures[figure])
    if figure == "narrates":
        # Naming a feeling is no evidence of having one.
        assert found.figures["follows.replies"] == 0.0


async def test_a_system_that_is_not_there_is_said_so(short_directory: Path) -> None:
    nowhere = f"unix:{short_directory}/nobody"
    targets = Targets(nowhere, nowhere, nowhere, nowhere)
    with pytest.raises(CallError) as caught:
        async with System(targets) as system:
            await system.open("a")

    assert caught.value.failure.code is grpc.StatusCode.UNAVAILABLE


async def turns_of(targets: Targets, session_id: str) -> list[state_pb2.Turn]:
    async with grpc.aio.insecure_channel(targets.state_engine) as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        answer = await stub.ListTurns(state_pb2.ListTurnsRequest(session_id=session_id, page_size=1_000))
        return list(answer.turns)
