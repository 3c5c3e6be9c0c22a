"""One turn, as pure logic: no transport, no database, no clock of its own.

What stands around each call, outermost first. The order is what it means; each piece knows nothing of its neighbours:

1. admission          refuses at once when as many turns run as may, before anything is computed or recorded for one more
2. deadline budget    refuses a turn that has no time left; each call below gets what is left, never more than its own cap
3. background         what must be finished though the client goes away (recording, the late reading) leaves the stream here
4. order              facts of a session that wait on disk go before later ones (recorder): a reply never precedes its words
5. health             a backend known to be away is not waited for (clients): a turn pays for an outage once, not at each call
6. attempt            one call with one timeout. Nothing here tries again: a second try at the head would miss the window, the state
                      engine's is the spool's, and the language model's is the living LLM's, which knows what may be repeated
7. observation        each stage is measured where it ends, so that a refused, late or cancelled one counts as well

The course: the state before the words is read while the head already reads the words; when the window closes (or the reading is
there) the words are recorded and the model speaks from the state that then holds. A reading that comes later is recorded at the
moment of the words. Two turns of one session may run at the same time: they are then siblings or follow each other, as their
parents say, and each feels what stood on its own path when it was recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.admission import Admission
from gateway.background import Background
from gateway.errors import GenerationCutError
from gateway.events import StateKnown, TurnDone, TurnEvent, TurnInput
from gateway.feeling import Feeling
from gateway.merge import with_late_item
from gateway.opening import Memory
from gateway.ports import Ports, TurnPolicy, TurnSummary
from gateway.reply import Reply
from gateway.trace import Trace
from gateway.transcripts import Utterance
from limbic.runtime.errors import DeadlineError, LimbicError


class Turns:
    """Runs turns.

    Args:
        ports: everything that a turn touches.
        policy: how turns behave.
        memory: what is remembered between turns.
        admission: how many may run at once.
        background: holds what goes on after a turn.
    """

    def __init__(
        self, ports: Ports, policy: TurnPolicy, memory: Memory, admission: Admission, background: Background
    ) -> None:
        self._ports = ports
        self._policy = policy
        self._memory = memory
        self._admission = admission
        self._background = background

    async def run(self, turn: TurnInput) -> AsyncGenerator[TurnEvent, None]:
        """Yield the turn's events: StateKnown, AffectKnown, DeltaText…, LateAffect if it comes in time, TurnDone.

        Closing the generator stops the model at once; what was said and felt is recorded all the same.

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
        ports = self._ports
        started_at, occurred_at_ns = ports.timer.monotonic(), ports.timer.now_ns()
        observer = ports.observer
        trace = Trace(
            ports.timer,
            started_at,
            turn.trace_id,
            turn.turn_id,
            turn.session_id,
            observer.stage_ended,
            observer.part_degraded,
        )
        trace.begin("admission").end()
        feeling = Feeling(turn, ports, self._policy, self._memory, self._background, trace, started_at, occurred_at_ns)
        reply = Reply(turn, ports, self._policy, self._memory, self._background, trace)
        outcome, reason = "cancelled", ""
        try:
            if turn.deadline_at - started_at <= self._policy.answer_reserve_s:
                raise DeadlineError("the deadline leaves no time for a turn")
            async with aclosing(self._course(turn, feeling, reply, trace)) as events:
                async for event in events:
                    if isinstance(event, TurnDone):
                        outcome = "degraded" if trace.degraded else "ok"
                    yield event
        except LimbicError as error:
            reason = error.reason
            outcome = _outcome(error, reply)
            raise
        except Exception:
            outcome, reason = "failed", "INTERNAL_ERROR"
            raise
        finally:
            if outcome == "cancelled":
                trace.cancel_open(("first_delta", "generate"))
            observer.turn_ended(self._summary(feeling, reply, trace, started_at, outcome, reason))

    async def _course(
        self, turn: TurnInput, feeling: Feeling, reply: Reply, trace: Trace
    ) -> AsyncGenerator[TurnEvent, None]:
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

    async def _history(self, feeling: Feeling, trace: Trace) -> list[Utterance]:
        if feeling.history is None:
            return []
        if await self._ports.timer.wait(feeling.history, feeling.speak_at):
            return feeling.history.result()
        trace.degrade("history", "slow", "what was said before did not come from the journal in time")
        return []

    def _summary(
        self, feeling: Feeling, reply: Reply, trace: Trace, started_at: float, outcome: str, reason: str
    ) -> TurnSummary:
        first_delta_s = overhead_s = None
        if reply.first_delta_at is not None and reply.asked_at is not None:
            first_delta_s = reply.first_delta_at - started_at
            overhead_s = reply.asked_at - started_at - feeling.affect_wait_s
        return TurnSummary(
            trace=trace.record(),
            outcome=outcome,
            reason=reason,
            total_s=self._ports.timer.monotonic() - started_at,
            first_delta_s=first_delta_s,
            overhead_s=overhead_s,
            state=feeling.latest,
        )


def _outcome(error: LimbicError, reply: Reply) -> str:
    if isinstance(error, GenerationCutError) and reply.turn_id:
        return "cut"
    return "failed" if reply.asked_at is not None else "refused"
