"""The half of a turn that goes on when nobody listens any more: what the words made felt, and its place in the journal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway import trace as stages
from gateway.consent import Consent
from gateway.course import Course
from gateway.events import AffectKnown, AffectStatus, LateAffect
from gateway.opening import Opened, Opening
from gateway.ports import ReadingSeen
from gateway.reading import Answer, HeadCall
from gateway.recorder import Recorder, Told
from gateway.transcripts import Utterance
from gateway.words import Words
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2

GRACE_S = 0.05
"""How long after the window the turn still waits for its words to be recorded: of the 100 ms within which the first delta is promised
after the window, the other half is the living LLM's."""


@dataclass(frozen=True, slots=True)
class Felt:
    """What is known when the model is about to speak: the event to send, and the state to speak from."""

    event: AffectKnown
    state: state_pb2.State


class Feeling:
    """Runs as a background task; the turn's stream waits for its milestones and may leave at any time.

    Args:
        course: the turn and everything around it.
        started_at: moment of the monotonic clock at which the turn began.
        occurred_at_ns: when the words arrived, since the epoch.

    Attributes:
        opened: the turn's beginning, or the error that ends the turn.
        felt: the model may speak: the words are recorded, or are still being recorded and have been waited for long enough. Or the
            error that ends the turn.
        recorded: the recording of the words; there once `felt` is done.
        history: what was said before; there once `felt` is done.
        speak_at: moment of the monotonic clock at which the model speaks at the latest, with or without what the state engine owes.
        affect_wait_s: for how long the turn waited for nothing but its reading.
        latest: the last state that was seen.
    """

    def __init__(self, course: Course, started_at: float, occurred_at_ns: int) -> None:
        turn, ports, policy, memory, trace = course.turn, course.ports, course.policy, course.memory, course.trace
        self._turn = turn
        self._ports = ports
        self._policy = policy
        self._memory = memory
        self._background = course.background
        self._trace = trace
        self._started_at = started_at
        self._window_end = started_at + turn.affect_window_s
        self.speak_at = max(self._window_end, started_at + policy.state_deadline_s) + GRACE_S
        self._consent = Consent(turn, ports.llm, trace)
        recorder = Recorder(ports.state, ports.spool, policy.state_deadline_s, self._consent)
        self._opening = Opening(turn, ports, policy, memory, recorder, trace)
        self._head = HeadCall(turn, ports, policy, memory, trace, self._window_end)
        self._words = Words(turn, policy, memory, recorder, self._opening, occurred_at_ns)
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[Opened] = loop.create_future()
        self.felt: asyncio.Future[Felt] = loop.create_future()
        self.recorded: asyncio.Task[Told] | None = None
        self.history: asyncio.Task[list[Utterance]] | None = None
        self.affect_wait_s = 0.0
        self.latest: state_pb2.State | None = None

    async def run(self) -> LateAffect | None:
        """Open the turn, read and record the words. Returns what became of a reading that missed the window."""
        classify = asyncio.create_task(self._head.ask(self._words.known), name="classify")
        self._consent.ask()
        try:
            return await self._run(classify)
        except Exception as error:
            # Whoever waits for a milestone must learn of it, whatever it is.
            self._fail(error)
            raise
        finally:
            classify.cancel()
            self._consent.withdraw()
            self.opened.cancel()
            self.felt.cancel()

    async def _run(self, classify: asyncio.Task[Answer]) -> LateAffect | None:
        self._words.check()
        opened = await self._opening.open(self._words.parent_turn_id)
        await self._consent.given()
        self.latest = opened.state
        self.history = self._background.spawn(self._opening.history(opened), "history")
        self.opened.set_result(opened)
        waits_from = self._ports.timer.monotonic()
        in_time = await self._ports.timer.wait(classify, self._window_end)
        self.affect_wait_s = self._ports.timer.monotonic() - waits_from
        answer = classify.result() if in_time else None
        self._head.window_closed = True
        self.recorded = self._background.spawn(self._record_words(opened, answer), "record")
        felt = await self._felt_in_time(opened, answer, self.recorded)
        self.latest = felt.state
        self.felt.set_result(felt)
        if answer is not None:
            self._seen(felt.event.status, answer, 0.0)
        told = await self.recorded
        if told.state is not None:
            self.latest = told.state
        if answer is not None:
            return None
        late = await self._record_late(await classify)
        if late.state is not None:
            self.latest = late.state
        return late

    async def _felt_in_time(self, opened: Opened, answer: Answer | None, recording: asyncio.Task[Told]) -> Felt:
        if await self._ports.timer.wait(recording, self.speak_at):
            return self._felt(opened, answer, recording.result())
        self._trace.degrade("state", "slow", "the state engine was too slow for this turn, which it still learns of")
        return self._felt(opened, answer, Told(label="slow"))

    async def _record_words(self, opened: Opened, answer: Answer | None) -> Told:
        stage = self._trace.begin("record", self._policy.state_deadline_s)
        try:
            told = await self._words.record(opened, answer.reading if answer is not None else None)
            self._degrade_unless_taken(told)
            stage.end(stages.ERROR if told.label else stages.OK, "known already" if told.duplicate else told.label)
        finally:
            stage.end(stages.ERROR)
        if told.state is not None:
            self._memory.states.remember(told.state)
        if self._words.path is not None:
            self.history = self._background.spawn(_value(self._words.path), "history")
        return told

    def _felt(self, opened: Opened, answer: Answer | None, told: Told) -> Felt:
        state = told.state or opened.state
        if answer is None:
            return Felt(AffectKnown(gateway_pb2.AFFECT_STATUS_PENDING, None, None, ""), state)
        if answer.reading is None:
            return Felt(AffectKnown(answer.status, None, None, answer.reason), state)
        if told.duplicate:
            status = gateway_pb2.AFFECT_STATUS_ALREADY_FELT
            return Felt(AffectKnown(status, answer.reading, told.state, "these words had been felt before"), state)
        return Felt(AffectKnown(answer.status, answer.reading, told.state, ""), state)

    def _degrade_unless_taken(self, told: Told) -> None:
        if told.lost:
            self._trace.degrade("journal", told.label, f"a part of this turn could not be kept anywhere ({told.label})")
        elif told.state is None and not told.duplicate:
            self._trace.degrade("state", told.label, f"this turn waits on disk for the state engine ({told.label})")

    async def _record_late(self, answer: Answer) -> LateAffect:
        lateness_s = max(0.0, answer.at - self._window_end)
        status, state, reason = answer.status, None, answer.reason
        if answer.reading is not None:
            told = await self._words.add(answer.reading)
            self._degrade_unless_taken(told)
            state = told.state
            status = gateway_pb2.AFFECT_STATUS_LATE
            if told.duplicate:
                status, reason = gateway_pb2.AFFECT_STATUS_ALREADY_FELT, "these words had been felt before"
            elif told.lost:
                status, reason = gateway_pb2.AFFECT_STATUS_FAILED, f"the reading could not be recorded ({told.label})"
        if state is not None:
            self._memory.states.remember(state)
        self._seen(status, answer, lateness_s)
        return LateAffect(status, answer.reading, state, reason, lateness_s)

    def _seen(self, status: AffectStatus, answer: Answer, lateness_s: float) -> None:
        turn = self._turn
        self._ports.observer.reading_seen(
            ReadingSeen(
                session_id=turn.session_id,
                turn_id=turn.turn_id,
                occurred_at_ns=self._words.occurred_at_ns,
                status=status,
                reading=answer.reading,
                latency_s=answer.at - self._started_at,
                lateness_s=lateness_s,
                text=turn.text,
                context=self._head.context,
            )
        )

    def _fail(self, error: Exception) -> None:
        for milestone in (self.opened, self.felt):
            if not milestone.done():
                milestone.set_exception(error)
                # Nobody may be there to look; that is no reason for a warning.
                milestone.exception()


async def _value(path: list[Utterance]) -> list[Utterance]:
    return path
