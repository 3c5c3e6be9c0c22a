"""All laws at once: a real engine over a real journal, whatever is done to it, against a model that sums everything."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import tempfile
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from limbic.runtime.clock import NS_PER_S
from services.state_engine.causes import Cause, Event, Reading
from services.state_engine.commands import (
    AddStimulus,
    CreateSession,
    ForkSession,
    NewStimulus,
    PauseSession,
    RecordTurn,
    ResumeSession,
    RetractStimulus,
    RewindSession,
)
from services.state_engine.engine import Engine, EngineOptions
from services.state_engine.journal.facts import Role
from services.state_engine.journal.sqlite import SqliteJournal
from services.state_engine.library import TemperamentLibrary
from services.state_engine.session import State
from services.state_engine.temperament import Temperament
from tests.state_engine.parts import SetClock

_Result = TypeVar("_Result")

LIBRARY = TemperamentLibrary()
NEVER = 2**63

axes = st.floats(-1.0, 1.0)
causes = st.one_of(
    st.builds(Reading, axes, axes, axes, st.floats(0.0, 1.0)),
    st.builds(Event, st.sampled_from(("reward", "stress", "affection")), st.floats(0.0, 1.0)),
)
delays_ns = st.one_of(st.just(0), st.integers(0, 3_600 * NS_PER_S))


@dataclass
class Model:
    """A session as a list of what was said and felt, with no state anywhere."""

    temperament: Temperament
    parents: dict[str, str] = field(default_factory=dict)
    felt: dict[str, tuple[str, int, Cause]] = field(default_factory=dict)
    retracted: set[str] = field(default_factory=set)
    pauses: dict[str, tuple[int, int]] = field(default_factory=dict)
    rewinds: dict[str, str] = field(default_factory=dict)
    abandoned: set[str] = field(default_factory=set)
    tip: str = ""
    facts: int = 1

    def path(self, turn_id: str) -> list[str]:
        path = [turn_id]
        while turn_id:
            turn_id = self.parents[turn_id]
            path.append(turn_id)
        return path

    def move(self, turn_id: str) -> None:
        self.tip = turn_id
        self.abandoned -= set(self.path(turn_id))

    def rewind(self, turn_id: str) -> None:
        stays = set(self.path(turn_id))
        left = set(self.path(self.tip)) - stays
        self.abandoned |= {turn for turn in self.parents if left & set(self.path(turn))}
        self.move(turn_id)

    def running_s(self, start_ns: int, end_ns: int) -> float:
        edges = {start_ns, end_ns} | {edge for span in self.pauses.values() for edge in span}
        inside = sorted(edge for edge in edges if start_ns <= edge <= end_ns)
        running = [
            late - early
            for early, late in pairwise(inside)
            if not any(begin <= early and late <= end for begin, end in self.pauses.values())
        ]
        return sum(running) / NS_PER_S

    def values(self, turn_id: str, moment_ns: int) -> list[float]:
        law, readout = self.temperament.dynamics, self.temperament.readout
        path = set(self.path(turn_id))
        state = law.rest()
        for stimulus_id, (turn, occurred_ns, cause) in self.felt.items():
            if turn in path and stimulus_id not in self.retracted and occurred_ns <= moment_ns:
                impulse = self.temperament.impulse(cause)
                state = state + law.advance(impulse, self.running_s(occurred_ns, moment_ns))
        adapted = readout.adapted(state)
        return [level.value for level in readout.levels(adapted)] + [mood.intensity for mood in readout.moods(adapted)]

    def forked(self, turn_id: str) -> Model:
        path = set(self.path(turn_id))
        felt = {name: entry for name, entry in self.felt.items() if entry[0] in path}
        fork = replace(
            self,
            parents={turn: parent for turn, parent in self.parents.items() if turn in path},
            felt=felt,
            retracted=self.retracted & felt.keys(),
            pauses=dict(self.pauses),
            rewinds={},
            abandoned=set(),
            tip=turn_id,
        )
        ended = sum(end != NEVER for _, end in fork.pauses.values())
        fork.facts = 1 + len(path) - 1 + len(felt) + len(fork.retracted) + len(fork.pauses) + ended
        return fork


def seen(state: State) -> list[float]:
    return [level.value for level in state.levels] + [mood.intensity for mood in state.moods]


class Laws(RuleBasedStateMachine):
    """Sessions that are spoken to, late, twice, paused, forked, rewound, in one engine that forgets and is started again."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SetClock()
        self.models: dict[str, Model] = {}
        self.numbers = iter(range(10**6))
        self.done: list[tuple[str, RecordTurn | AddStimulus]] = []
        self._start()

    def _start(self) -> None:
        path = Path(self.folder.name) / "journal.sqlite3"
        self.journal = SqliteJournal(path, self.clock, capacity=1_000)
        # One session in memory: the others are rebuilt from the journal whenever they are used.
        options = EngineOptions("default", True, cached_sessions=1, facts_per_session=10_000, snapshot_every=3)
        self.engine = Engine(self.journal, LIBRARY, self.clock, options)
        self.run(self.journal.start())

    def run(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(call)

    def _stop(self) -> None:
        self.run(self.engine.stop())
        self.run(self.journal.stop())

    def teardown(self) -> None:
        self._stop()
        self.runner.close()
        self.folder.cleanup()

    def name(self, kind: str) -> str:
        return f"{kind}{next(self.numbers)}"

    def pick(self, data: st.DataObject) -> tuple[str, Model]:
        session_id = data.draw(st.sampled_from(sorted(self.models)))
        return session_id, self.models[session_id]

    @initialize(name=st.sampled_from(LIBRARY.names))
    def open(self, name: str) -> None:
        self.run(self.engine.opening.create(CreateSession("s", name, None)))
        self.models["s"] = Model(LIBRARY.named(name))

    @rule(seconds=st.one_of(st.integers(0, 600), st.integers(0, 10**6)))
    def time_passes(self, seconds: int) -> None:
        self.clock.pass_s(seconds)

    @rule(data=st.data(), drawn=st.lists(st.tuples(causes, delays_ns), max_size=3), delay_ns=delays_ns)
    def say(self, data: st.DataObject, drawn: list[tuple[Cause, int]], delay_ns: int) -> None:
        session_id, model = self.pick(data)
        parent = data.draw(st.sampled_from([model.tip, *model.parents, ""]))
        turn_id = self.name("t")
        stimuli = tuple(
            NewStimulus(f"stimuli[{number}]", self.name("f"), self.clock.now - delay, cause)
            for number, (cause, delay) in enumerate(drawn)
        )
        command = RecordTurn(
            session_id, turn_id, parent, Role.USER, self.clock.now - delay_ns, f"words {turn_id}", False, stimuli
        )
        _, duplicate = self.run(self.engine.recording.turn(command))
        assert not duplicate
        model.parents[turn_id] = parent
        model.move(turn_id)
        for stimulus in stimuli:
            model.felt[stimulus.stimulus_id] = (turn_id, stimulus.occurred_ns or 0, stimulus.cause)
        model.facts += 1 + len(stimuli)
        self.done.append((session_id, command))

    @rule(data=st.data(), drawn=st.lists(st.tuples(causes, delays_ns), min_size=1, max_size=4))
    def feel_late_and_twice_and_at_once(self, data: st.DataObject, drawn: list[tuple[Cause, int]]) -> None:
        session_id, model = self.pick(data)
        commands = []
        for cause, delay in drawn:
            turn_id = data.draw(st.sampled_from(["", *model.parents]))
            stimulus = NewStimulus("stimulus", self.name("f"), self.clock.now - delay, cause)
            # Without a turn it would be felt at the tip; the root is named by the model alone.
            command = AddStimulus(session_id, turn_id or None, stimulus)
            model.felt[stimulus.stimulus_id] = (turn_id or model.tip, stimulus.occurred_ns or 0, cause)
            model.facts += 1
            commands.append(command)
        arrivals = data.draw(st.permutations(commands * 2))

        async def all_at_once() -> list[tuple[State, bool]]:
            return await asyncio.gather(*(self.engine.recording.stimulus(command) for command in arrivals))

        assert sum(duplicate for _, duplicate in self.run(all_at_once())) == len(commands)
        self.done += [(session_id, command) for command in commands]

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        session_id, command = data.draw(st.sampled_from(self.done))
        recording = self.engine.recording
        call = recording.turn(command) if isinstance(command, RecordTurn) else recording.stimulus(command)
        state, duplicate = self.run(call)
        assert duplicate
        assert state.revision == self.models[session_id].facts

    @precondition(lambda self: any(model.felt for model in self.models.values()))
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        session_id, model = self.pick(data)
        if not model.felt:
            return
        stimulus_id = data.draw(st.sampled_from(sorted(model.felt)))
        known = stimulus_id in model.retracted
        _, duplicate = self.run(self.engine.recording.retraction(RetractStimulus(session_id, stimulus_id)))
        assert duplicate is known
        model.retracted.add(stimulus_id)
        model.facts += not known

    @rule(data=st.data(), delay_ns=delays_ns)
    def pause(self, data: st.DataObject, delay_ns: int) -> None:
        session_id, model = self.pick(data)
        pause_id = self.name("p")
        begin = self.clock.now - delay_ns
        self.run(self.engine.recording.pause(PauseSession(session_id, pause_id, begin)))
        model.pauses[pause_id] = (begin, NEVER)
        model.facts += 1

    @rule(data=st.data(), delay_ns=delays_ns)
    def resume(self, data: st.DataObject, delay_ns: int) -> None:
        session_id, model = self.pick(data)
        still = {pause_id: begin for pause_id, (begin, end) in model.pauses.items() if end == NEVER}
        end = max(self.clock.now - delay_ns, *still.values(), 0)
        self.run(self.engine.recording.resumption(ResumeSession(session_id, None, end)))
        for pause_id, begin in still.items():
            model.pauses[pause_id] = (begin, end)
        model.facts += len(still)

    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        session_id, model = self.pick(data)
        turn_id = data.draw(st.sampled_from(["", *model.parents]))
        rewind_id = self.name("r")
        for _ in range(2):
            state, left = self.run(self.engine.recording.rewind(RewindSession(session_id, turn_id, rewind_id)))
            if rewind_id not in model.rewinds:
                model.rewind(turn_id)
                model.rewinds[rewind_id] = turn_id
                model.facts += 1
            assert set(left) <= model.abandoned
            assert state.turn_id == model.tip

    @precondition(lambda self: len(self.models) < 4)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        session_id, model = self.pick(data)
        turn_id = data.draw(st.sampled_from([*model.parents, None]))
        new_id = self.name("fork")
        _, existed = self.run(self.engine.opening.fork(ForkSession(session_id, turn_id, new_id)))
        assert not existed
        self.models[new_id] = model.forked(model.tip if turn_id is None else turn_id)

    @rule()
    def restart(self) -> None:
        before = {session_id: self._bits(session_id) for session_id in self.models}
        self._stop()
        self._start()
        assert {session_id: self._bits(session_id) for session_id in self.models} == before

    @rule(change=st.sampled_from(("DELETE FROM snapshots", "UPDATE snapshots SET content = zeroblob(length(content))")))
    def snapshots_are_lost(self, change: str) -> None:
        """At any time, with sessions in memory and without."""
        with closing(sqlite3.connect(Path(self.folder.name) / "journal.sqlite3")) as connection, connection:
            connection.execute(change)

    def _bits(self, session_id: str) -> list[float]:
        return seen(self.run(self.engine.state(session_id, None, None)))

    @rule(data=st.data(), delay_ns=st.integers(0, 10**15))
    def the_past_is_the_sum_of_what_had_happened(self, data: st.DataObject, delay_ns: int) -> None:
        session_id, model = self.pick(data)
        turn_id = data.draw(st.sampled_from(["", *model.parents]))
        moment = self.clock.now - delay_ns
        state = self.run(self.engine.state(session_id, turn_id, moment))
        assert np.allclose(seen(state), model.values(turn_id, moment), rtol=0, atol=1e-9)

    @rule(data=st.data(), limit=st.integers(1, 5))
    def an_explanation_adds_up(self, data: st.DataObject, limit: int) -> None:
        session_id, model = self.pick(data)
        explained = self.run(self.engine.explain(session_id, None, None, limit))
        parts = [one.shares for one in explained.breakdown.largest] + [explained.breakdown.remainder]
        for index, mood in enumerate(explained.state.moods):
            assert abs(math.tanh(math.fsum(part.moods[index] for part in parts)) - mood.intensity) < 1e-9
        assert explained.state.turn_id == model.tip

    @invariant()
    def the_present_is_the_sum_of_what_has_happened(self) -> None:
        for session_id, model in self.models.items():
            state = self.run(self.engine.state(session_id, None, None))
            assert (state.turn_id, state.revision) == (model.tip, model.facts)
            assert np.allclose(seen(state), model.values(model.tip, state.as_of_ns), rtol=0, atol=1e-9)
            assert all(0.0 <= level.value <= 100.0 for level in state.levels)

    @invariant()
    def what_was_left_is_marked(self) -> None:
        for session_id, model in self.models.items():
            page = self.run(self.engine.turns(session_id, None, 1_000, ""))
            assert {said.turn.turn_id for said in page.turns if said.abandoned} == model.abandoned


Laws.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_laws = Laws.TestCase
