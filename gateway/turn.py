"""One turn, as pure logic: no transport, no database, no clock of its own.

What stands around each call, outermost first. The order is what it means; each piece knows nothing of its neighbours:

1. admission          refuses at once when as many turns run as may, before anything is computed or recorded for one more
2. deadline budget    refuses a turn that has no time left; each call below gets what is left, never more than its own cap
3. session place      turns of one session run one after the other: who finds it taken waits for a bounded time in a short queue, or is
                      refused at once. Asides, in which nobody says anything, need no place
4. placing            a conversation that a client sends as a whole is found in the tree, and with that the turn gets its ids. It reads
                      only; what the journal lacks is told by the turn, once it is known to be taken
5. background         what must be finished though the client goes away (recording, the late reading) leaves the stream here
6. order              facts of a session that wait on disk go before later ones (recorder): a reply never precedes its words
7. health             a backend known to be away is not waited for (clients): a turn pays for an outage once, not at each call
8. attempt            one call with one timeout. Nothing here tries again: a second try at the head would miss the window, the state
                      engine's is the spool's, and the language model's is the living LLM's, which knows what may be repeated and has
                      the circuit breaker in front of each upstream
9. observation        each stage is measured where it ends, so that a refused, late or cancelled one counts as well

The course: the state before the words is read while the head already reads the words; when the window closes (or the reading is
there) the words are recorded and the model speaks from the state that then holds. A reading that comes later is recorded at the
moment of the words, also while a later turn of the session runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace

from gateway.admission import Admission
from gateway.aside import state_aside
from gateway.background import Background
from gateway.course import Course
from gateway.errors import GenerationCutError, SessionBusyError, SessionNotFoundError, TurnNotFoundError
from gateway.events import StateKnown, TurnDone, TurnEvent, TurnInput
from gateway.feeling import Feeling
from gateway.merge import with_late_item
from gateway.opening import Memory
from gateway.placing import Placer
from gateway.ports import Ports, TurnPolicy, TurnSummary
from gateway.reply import Reply
from gateway.session_places import SessionPlaces
from gateway.trace import ERROR, Trace
from gateway.transcripts import Utterance
from limbic.runtime.errors import DeadlineError, LimbicError
from limbic.state.v1 import state_pb2


@dataclass(slots=True)
class _Progress:
    """How far a turn has come. Moments of the monotonic clock."""

    arrived_at: float
    began_at: float
    feeling: Feeling | None = None
    reply: Reply | None = None
    state: state_pb2.State | None = None


class Turns:
    """Runs turns.

    Args:
        ports: everything that a turn touches.
        policy: how turns behave.
        memory: what is remembered between turns.
        admission: how many may run at once.
        places: lets the turns of one session run one after the other.
        placer: finds out where the turns of clients stand that know nothing of turns.
        background: holds what goes on after a turn.
    """

    def __init__(
        self,
        ports: Ports,
        policy: TurnPolicy,
        memory: Memory,
        admission: Admission,
        places: SessionPlaces,
        placer: Placer,
        background: Background,
    ) -> None:
        self._ports = ports
        self._policy = policy
        self._memory = memory
        self._admission = admission
        self._places = places
        self._placer = placer
        self._background = background

    async def run(self, turn: TurnInput) -> AsyncGenerator[TurnEvent, None]:
        """Yield the turn's events: StateKnown, AffectKnown, DeltaText…, LateAffect if it comes in time, TurnDone.

        In an aside nothing is felt, so that AffectKnown and LateAffect are missing. Closing the generator stops the model at once; what was
        said and felt is recorded all the same.

        Raises:
            LimbicError: the turn was refused, or no reply could be made, or it broke off.
        """
        if self._admission.is_full:
            self._ports.observer.turn_shed()
        with self._admission.permit():
            self._ports.observer.turn_began()
            async with aclosing(self._admitted(turn)) as events:
                async for event in events:
                    yield event

    async def _admitted(self, turn: TurnInput) -> AsyncGenerator[TurnEvent, None]:
        ports, observer = self._ports, self._ports.observer
        arrived_at = ports.timer.monotonic()
        trace = Trace(
            ports.timer,
            arrived_at,
            turn.trace_id,
            turn.turn_id,
            turn.session_id,
            observer.stage_ended,
            observer.part_degraded,
        )
        progress = _Progress(arrived_at, arrived_at)
        outcome, reason = "cancelled", ""
        try:
            async with aclosing(self._placed(turn, progress, trace)) as events:
                async for event in events:
                    if isinstance(event, TurnDone):
                        outcome = "degraded" if trace.degraded else "ok"
                    yield event
        except LimbicError as error:
            reason = error.reason
            outcome = _outcome(error, progress.reply)
            if isinstance(error, SessionBusyError):
                observer.turn_shed()
            raise
        except Exception:
            outcome, reason = "failed", "INTERNAL_ERROR"
            raise
        finally:
            if outcome == "cancelled":
                trace.cancel_open(("admission", "place", "first_delta", "generate"))
            observer.turn_ended(self._summary(progress, trace, outcome, reason))

    async def _placed(self, turn: TurnInput, progress: _Progress, trace: Trace) -> AsyncGenerator[TurnEvent, None]:
        """Wait for the session's place, find the turn's, and take its course."""
        timer = self._ports.timer
        occurred_at_ns = timer.now_ns() if turn.said_at_ns is None else turn.said_at_ns
        ends_at = turn.deadline_at - self._policy.answer_reserve_s
        waiting, dialogue = trace.begin("admission"), turn.dialogue
        async with AsyncExitStack() as held:
            try:
                if ends_at <= progress.arrived_at:
                    raise DeadlineError("the deadline leaves no time for a turn")
                if dialogue is not None:
                    turn = replace(turn, session_id=await self._placer.session_of(turn))
                if dialogue is None or dialogue.words is not None:
                    await held.enter_async_context(self._places.place(turn.session_id, ends_at))
                waiting.end()
            except LimbicError as error:
                waiting.end(ERROR, error.reason)
                raise
            progress.began_at = timer.monotonic()
            if dialogue is not None:
                turn = await self._placer.place(turn, dialogue, trace)
                trace.place(turn.session_id, turn.turn_id)
            course = Course(turn, self._ports, self._policy, self._memory, self._background, trace)
            progress.reply = Reply(course)
            if turn.is_aside:
                feels = dialogue is not None and dialogue.feels
                events = self._aside(course, progress, progress.reply, feels=feels)
            else:
                progress.feeling = Feeling(course, progress.began_at, occurred_at_ns)
                events = self._course(course, progress.feeling, progress.reply)
            try:
                async with aclosing(events):
                    async for event in events:
                        yield event
            except (SessionNotFoundError, TurnNotFoundError):
                # A placed turn names only what is there, or was remembered to be there: it has been deleted.
                if turn.placed is not None:
                    self._memory.forget(turn.session_id)
                raise

    async def _course(self, course: Course, feeling: Feeling, reply: Reply) -> AsyncGenerator[TurnEvent, None]:
        turn, trace = course.turn, course.trace
        late = self._background.spawn(feeling.run(), "feeling")
        opened = await asyncio.shield(feeling.opened)
        yield StateKnown(turn.turn_id, opened.state, opened.degraded, opened.reason)
        felt = await asyncio.shield(feeling.felt)
        yield felt.event
        history = await self._history(feeling, trace)
        async with aclosing(with_late_item(reply.speak(felt.state, history, feeling.recorded), late)) as events:
            async for event in events:
                yield event
        yield TurnDone(trace.record(), reply.done.finish_reason, reply.done.usage, reply.turn_id)

    async def _aside(
        self, course: Course, progress: _Progress, reply: Reply, *, feels: bool
    ) -> AsyncGenerator[TurnEvent, None]:
        """Let the model speak without anything being said to it: nothing is felt, and nothing is recorded."""
        turn, trace = course.turn, course.trace
        known = await state_aside(course, feels=feels)
        progress.state = known.state
        yield known
        history = turn.placed.history if turn.placed is not None else ()
        async with aclosing(reply.speak(known.state, history, None)) as deltas:
            async for delta in deltas:
                yield delta
        yield TurnDone(trace.record(), reply.done.finish_reason, reply.done.usage, "")

    async def _history(self, feeling: Feeling, trace: Trace) -> list[Utterance]:
        if feeling.history is None:
            return []
        if await self._ports.timer.wait(feeling.history, feeling.speak_at):
            return feeling.history.result()
        trace.degrade("history", "slow", "what was said before did not come from the journal in time")
        return []

    def _summary(self, progress: _Progress, trace: Trace, outcome: str, reason: str) -> TurnSummary:
        feeling, reply = progress.feeling, progress.reply
        first_delta_s = overhead_s = None
        if reply is not None and reply.first_delta_at is not None and reply.asked_at is not None:
            first_delta_s = reply.first_delta_at - progress.arrived_at
            waited_s = feeling.affect_wait_s if feeling is not None else 0.0
            overhead_s = reply.asked_at - progress.began_at - waited_s
        return TurnSummary(
            trace=trace.record(),
            outcome=outcome,
            reason=reason,
            total_s=self._ports.timer.monotonic() - progress.arrived_at,
            first_delta_s=first_delta_s,
            overhead_s=overhead_s,
            state=feeling.latest if feeling is not None else progress.state,
        )


def _outcome(error: LimbicError, reply: Reply | None) -> str:
    if isinstance(error, GenerationCutError) and reply is not None and reply.first_delta_at is not None:
        return "cut"
    return "failed" if reply is not None and reply.asked_at is not None else "refused"
