"""The second half of a turn: the model speaks, and what it said is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from gateway import trace as stages
from gateway.content import reply_content_id
from gateway.course import Course
from gateway.errors import UpstreamTimeoutError, cut_error, reply_error
from gateway.events import DeltaText
from gateway.ids import reply_id
from gateway.ports import BackendFailure
from gateway.recorder import Recorder, Told
from gateway.transcripts import Utterance
from limbic.llm.v1 import llm_pb2
from limbic.runtime.errors import LimbicError
from limbic.state.v1 import state_pb2

MAX_RECORDED_CHARS = 65_536
"""What RecordTurn takes; of a longer reply the beginning is kept, marked as cut."""


class Reply:
    """One attempt at a reply.

    Args:
        course: the turn and everything around it.

    Attributes:
        first_delta_at: moment of the monotonic clock at which the first delta came, or None.
        asked_at: moment at which the model was asked, or None.
        done: how it ended; unset fields where it did not.
    """

    def __init__(self, course: Course) -> None:
        ports, policy = course.ports, course.policy
        self._turn = course.turn
        self._ports = ports
        self._policy = policy
        self._memory = course.memory
        self._background = course.background
        self._trace = course.trace
        self._recorder = Recorder(ports.state, ports.spool, policy.state_deadline_s)
        self._texts: list[str] = []
        self._kept = False
        self._words: asyncio.Task[Told] | None = None
        self.asked_at: float | None = None
        self.first_delta_at: float | None = None
        self.done = llm_pb2.Done()

    @property
    def turn_id(self) -> str:
        """The reply's own id in the conversation's tree; empty while nothing was said.

        Where ids follow from what was said, this one is not final before the reply has ended.
        """
        turn = self._turn
        if not self._texts or turn.is_aside:
            return ""
        if turn.placed is not None:
            return reply_content_id(turn.session_id, turn.turn_id, "".join(self._texts))
        return reply_id(turn.turn_id, turn.attempt_id)

    async def speak(
        self, state: state_pb2.State, history: Sequence[Utterance], words: asyncio.Task[Told] | None
    ) -> AsyncGenerator[DeltaText, None]:
        """Yield the reply as it comes, and keep it in the journal when it has ended, whichever way.

        Args:
            state: what the character feels.
            history: what was said before the words.
            words: the recording of the words, which goes before the reply's.

        Raises:
            LimbicError: no reply could be made, or (GenerationCutError) it broke off.
        """
        self._words = words
        try:
            async with aclosing(self._generate(state, history)) as deltas:
                async for delta in deltas:
                    yield delta
            await asyncio.shield(self._keep(cut=False))
        except LimbicError:
            await asyncio.shield(self._keep(cut=True))
            raise
        finally:
            # The client went away: nobody waits for this any more.
            if not self._kept:
                self._keep(cut=True)

    async def _generate(self, state: state_pb2.State, history: Sequence[Utterance]) -> AsyncGenerator[DeltaText, None]:
        timer = self._ports.timer
        budget_s = self._turn.deadline_at - timer.monotonic() - self._policy.answer_reserve_s
        if budget_s <= 0:
            raise UpstreamTimeoutError("the deadline left no time for the language model")
        self.asked_at = timer.monotonic()
        first, whole = self._trace.begin("first_delta", budget_s), self._trace.begin("generate", budget_s)
        try:
            async with aclosing(self._ports.llm.generate(self._request(state, history), budget_s)) as answers:
                async for answer in answers:
                    match answer.WhichOneof("event"):
                        case "started":
                            self._trace.started = answer.started
                            self._say_who_speaks(answer.started)
                        case "delta":
                            if self.first_delta_at is None:
                                self.first_delta_at = timer.monotonic()
                                first.end()
                            self._texts.append(answer.delta.text)
                            yield DeltaText(answer.delta.text)
                        case "done":
                            self.done = answer.done
                            self._trace.attempts = tuple(answer.done.attempts)
            first.end(stages.SKIPPED, "the model said nothing")
            whole.end()
        except BackendFailure as failure:
            status = stages.TIMEOUT if failure.code == "DEADLINE_EXCEEDED" else stages.ERROR
            first.end(status, str(failure))
            whole.end(status, str(failure))
            raise (cut_error(failure, self.turn_id) if self._texts else reply_error(failure)) from failure

    def _say_who_speaks(self, started: llm_pb2.Started) -> None:
        if started.HasField("fallback"):
            why = f"{started.fallback.instead_of}: {started.fallback.detail}"
            self._trace.degrade("model", "fallback", f"the model spoke through the fallback {started.upstream} ({why})")

    def _request(self, state: state_pb2.State, history: Sequence[Utterance]) -> llm_pb2.GenerateRequest:
        turn = self._turn
        messages = [llm_pb2.Message(role=said.role, text=said.text) for said in history if said.text]
        messages.append(llm_pb2.Message(role=state_pb2.ROLE_USER, text=turn.text))
        expression = llm_pb2.Expression(levels=state.levels, moods=state.moods, style=turn.style)
        return llm_pb2.GenerateRequest(
            session_id=turn.session_id,
            persona=turn.persona,
            messages=messages,
            expression=expression,
            sampling=turn.sampling,
        )

    def _keep(self, *, cut: bool) -> asyncio.Task[None]:
        self._kept = True
        return self._background.spawn(self._record("".join(self._texts), cut), "record_reply")

    async def _record(self, text: str, cut: bool) -> None:
        stage = self._trace.begin("record_reply", self._recorder.timeout_s)
        turn, turn_id, now_ns = self._turn, self.turn_id, self._ports.timer.now_ns()
        if not turn_id:
            stage.end(stages.SKIPPED, "what was said is no part of the conversation" if text else "nothing was said")
            return
        if self._words is not None:
            await asyncio.wait({self._words})
            if self._words.cancelled() or self._words.exception() is not None:
                stage.end(stages.ERROR, "the words could not be recorded")
                return
        fact = state_pb2.RecordTurnRequest(
            session_id=turn.session_id,
            turn_id=turn_id,
            parent_turn_id=turn.turn_id,
            role=state_pb2.ROLE_ASSISTANT,
            text=text[:MAX_RECORDED_CHARS],
            cut=cut or len(text) > MAX_RECORDED_CHARS,
        )
        fact.occurred_at.FromNanoseconds(now_ns)
        said = Utterance(turn_id, turn.turn_id, state_pb2.ROLE_ASSISTANT, now_ns, fact.text)
        self._memory.transcripts.add(turn.session_id, said)
        try:
            told = await self._recorder.tell(fact)
        except BackendFailure as failure:
            if failure.reason == "TURN_EXISTS" and turn.placed is not None:
                stage.end(stages.OK, "said before")
                return
            stage.end(stages.ERROR, str(failure))
            self._trace.degrade("journal", failure.label, f"the reply could not be recorded ({failure.label})")
            return
        if told.state is not None:
            self._memory.states.remember(told.state)
            stage.end()
            return
        stage.end(stages.ERROR, told.label)
        where = "could not be kept anywhere" if told.lost else "waits on disk for the state engine"
        self._trace.degrade("journal" if told.lost else "state", told.label, f"the reply {where} ({told.label})")
