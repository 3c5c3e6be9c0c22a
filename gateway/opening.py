"""The beginning of a turn: the session, the state before the words, the turn that it follows, and what was said before."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway import trace as stages
from gateway.errors import SessionNotFoundError, TurnNotFoundError
from gateway.events import StageStatus, TurnInput
from gateway.excerpt import excerpt
from gateway.ports import BackendFailure, Ports, TurnPolicy
from gateway.recorder import Recorder
from gateway.states import LastStates, at_rest
from gateway.trace import Trace
from gateway.transcripts import Transcripts, Utterance, utterance_of
from limbic.runtime.errors import InvalidArgumentError, UnavailableError
from limbic.state.v1 import state_pb2

_PAGE_LIMIT = 1_000
"""Of ListTurns."""

_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What the gateway remembers between turns. A cache: the state engine has the truth."""

    states: LastStates
    transcripts: Transcripts

    def forget(self, session_id: str) -> None:
        """Forget a session."""
        self.states.forget(session_id)
        self.transcripts.forget(session_id)


@dataclass(frozen=True, slots=True)
class Opened:
    """A turn's beginning.

    Attributes:
        state: the state before the words were felt.
        degraded: the state engine did not answer, so the state is the last known one or the baseline.
        reason: why, in a sentence.
        parent_turn_id: the turn that this one follows; None if only the state engine knows.
    """

    state: state_pb2.State
    degraded: bool
    reason: str
    parent_turn_id: str | None


class Opening:
    """Finds out where a turn stands."""

    def __init__(
        self, turn: TurnInput, ports: Ports, policy: TurnPolicy, memory: Memory, recorder: Recorder, trace: Trace
    ) -> None:
        self._turn = turn
        self._ports = ports
        self._policy = policy
        self._memory = memory
        self._recorder = recorder
        self._trace = trace

    async def open(self, parent_turn_id: str | None) -> Opened:
        """Read the state at the parent (None: at the tip), or create the session if there is none.

        Raises:
            SessionNotFoundError: a parent is named and there is no such session.
            TurnNotFoundError: there is no such parent.
            InvalidArgumentError: the session would have to be created with a temperament that does not exist.
        """
        stage = self._trace.begin("state", self._policy.state_deadline_s)
        try:
            opened = await self._open(parent_turn_id)
            stage.end(stages.ERROR if opened.degraded else stages.OK, opened.reason)
            return opened
        finally:
            stage.end(stages.ERROR)

    async def _open(self, parent_turn_id: str | None) -> Opened:
        turn = self._turn
        if self._recorder.is_behind(turn.session_id):
            return await self._degraded(parent_turn_id, "waiting")
        if turn.session_is_new:
            return await self._create(parent_turn_id)
        before = turn.placed.before if turn.placed is not None else ()
        # What the engine does not know yet it cannot be asked about.
        request = state_pb2.GetStateRequest(
            session_id=turn.session_id, turn_id=parent_turn_id if parent_turn_id and not before else ""
        )
        try:
            state = await self._ports.state.get_state(request, self._policy.state_deadline_s)
        except BackendFailure as failure:
            if failure.code != "NOT_FOUND":
                return await self._degraded(parent_turn_id, failure.label)
            if failure.reason != "SESSION_NOT_FOUND":
                raise turn_not_found() from None
            if parent_turn_id and not before:
                raise session_not_found() from None
            return await self._create(parent_turn_id)
        if before:
            state = await self._tell_before() or state
        self._memory.states.remember(state)
        if parent_turn_id == "":
            # The engine reads at the tip or at a turn; at the root nothing has been felt yet.
            return Opened(at_rest(state), False, "", "")
        return Opened(state, False, "", state.turn_id if parent_turn_id is None else parent_turn_id)

    async def history(self, opened: Opened) -> list[Utterance]:
        """Return what was said before, oldest first, as far as it is known in time."""
        if self._turn.placed is not None:
            self._trace.begin("history").end(stages.OK, "as the client has it")
            return list(self._turn.placed.history)
        limit = min(self._policy.history_messages, _PAGE_LIMIT)
        stage = self._trace.begin("history", self._policy.state_deadline_s)
        session_id, parent_turn_id = self._turn.session_id, opened.parent_turn_id
        if parent_turn_id == "":
            stage.end(stages.SKIPPED, "the conversation begins here")
            return []
        if parent_turn_id is not None:
            known = self._memory.transcripts.path(session_id, parent_turn_id, limit)
            if known is not None:
                stage.end(stages.OK, "from memory")
                return excerpt(known, limit)
        if opened.degraded:
            stage.end(stages.ERROR, "the state engine does not answer")
            self._trace.degrade(
                "history", "unavailable", "not all that was said before is known while the state engine is away"
            )
            return excerpt(self._memory.transcripts.known_end(session_id, parent_turn_id or "", limit), limit)
        try:
            return excerpt(await self.path_to(parent_turn_id or "tip", limit), limit)
        except BackendFailure as failure:
            stage.end(_status_of(failure), str(failure))
            self._trace.degrade("history", failure.label, "what was said before could not be read from the journal")
            return []
        finally:
            stage.end(stages.OK, "from the journal")

    async def path_to(self, turn_id: str, limit: int) -> list[Utterance]:
        """Read the latest turns on the path to a turn from the journal, oldest first. Raises BackendFailure."""
        session_id = self._turn.session_id
        request = state_pb2.ListTurnsRequest(
            session_id=session_id, path_to_turn_id=turn_id, page_size=min(limit, _PAGE_LIMIT)
        )
        path: list[Utterance] = []
        for said in (await self._ports.state.list_turns(request, self._policy.state_deadline_s)).turns:
            # A session that keeps no text has it here only, and only lately.
            known = self._memory.transcripts.get(session_id, said.turn_id)
            read = utterance_of(said)
            if known is not None or read.text:
                self._memory.transcripts.add(session_id, read)
            # Only the journal knows when a line was recorded that was said before we saw it.
            path.append(read if known is None else replace(known, occurred_at_ns=read.occurred_at_ns))
        return path

    async def _create(self, parent_turn_id: str | None) -> Opened:
        turn = self._turn
        self._memory.forget(turn.session_id)
        fact = state_pb2.CreateSessionRequest(session_id=turn.session_id, temperament=turn.temperament)
        try:
            told = await self._recorder.tell(fact)
        except BackendFailure as failure:
            if failure.reason == "TEMPERAMENT_NOT_FOUND":
                raise InvalidArgumentError("options.temperament", "names no temperament that is known") from None
            return await self._degraded(parent_turn_id, failure.label)
        placed_at = (parent_turn_id or "") if turn.placed is not None else ""
        if told.state is None:
            return await self._degraded(placed_at, told.label, session_is_told=True)
        state = await self._tell_before() or told.state
        self._memory.states.remember(state)
        return Opened(state, False, "", placed_at)

    async def _tell_before(self, *, engine_answers: bool = True) -> state_pb2.State | None:
        """Tell what the engine lacks before this turn, and return the state after it."""
        turn = self._turn
        before = turn.placed.before if turn.placed is not None else ()
        try:
            state = await self._recorder.tell_turns(before, engine_answers=engine_answers)
        except BackendFailure as failure:
            if failure.code == "NOT_FOUND":
                raise session_not_found() from None
            raise UnavailableError("the earlier conversation could not be recorded", retry_after=_RETRY_S) from failure
        for fact in before:
            said_ns = fact.occurred_at.ToNanoseconds() if fact.HasField("occurred_at") else self._ports.timer.now_ns()
            said = Utterance(fact.turn_id, fact.parent_turn_id, fact.role, said_ns, fact.text)
            self._memory.transcripts.add(turn.session_id, said)
        return state

    async def _degraded(self, parent_turn_id: str | None, label: str, *, session_is_told: bool = False) -> Opened:
        """Go on without the engine. What it must learn before this turn's words is put on the disk in front of them."""
        turn, memory = self._turn, self._memory
        reason = f"the state engine did not answer ({label}); this is the last known state or the baseline"
        if label == "waiting":
            reason = "the state engine does not know all of this conversation yet; this is the last known state or the baseline"
        self._trace.degrade("state", label, reason)
        state = memory.states.get(turn.session_id)
        if (
            state is None
            and (not parent_turn_id or turn.placed is not None)
            and not session_is_told
            and not self._recorder.is_behind(turn.session_id)
        ):
            fact = state_pb2.CreateSessionRequest(session_id=turn.session_id, temperament=turn.temperament)
            await self._recorder.tell(fact, engine_answers=False)
        await self._tell_before(engine_answers=False)
        if parent_turn_id is None and memory.transcripts.get(turn.session_id, turn.turn_id) is None:
            last = memory.transcripts.last(turn.session_id)
            parent_turn_id = last.turn_id if last is not None else None
        return Opened(state or memory.states.baseline(turn.session_id), True, reason, parent_turn_id)


def session_not_found() -> SessionNotFoundError:
    """Return the error for a parent in a session that does not exist."""
    return SessionNotFoundError(
        "session_id: there is no such session, so it cannot hold the parent", field="session_id"
    )


def turn_not_found() -> TurnNotFoundError:
    """Return the error for a parent that does not exist."""
    return TurnNotFoundError("parent_turn_id: there is no such turn in this session", field="parent_turn_id")


def _status_of(failure: BackendFailure) -> StageStatus:
    return stages.TIMEOUT if failure.code == "DEADLINE_EXCEEDED" else stages.ERROR
