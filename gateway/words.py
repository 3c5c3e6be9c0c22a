"""Puts what a person said into the journal, once, however often the same turn is asked for."""

from __future__ import annotations

from gateway.errors import TurnExistsError
from gateway.events import TurnInput
from gateway.excerpt import excerpt
from gateway.ids import reading_id
from gateway.opening import Memory, Opened, Opening, session_not_found, turn_not_found
from gateway.ports import BackendFailure, TurnPolicy
from gateway.recorder import Recorder, Told
from gateway.transcripts import Utterance
from limbic.affect.v1 import affect_pb2
from limbic.state.v1 import state_pb2


class Words:
    """The words of one turn.

    A repeated turn takes over the moment and the place of the first one: the same words were said when they were said first. What was
    said lately is known in memory; for the rest the engine refuses what differs from its journal, and the journal is asked.

    Args:
        occurred_at_ns: the moment at which this turn arrived.

    Attributes:
        known: the turn as it was said before, if that is in memory.
        parent_turn_id: the turn that it follows; None for the tip.
        occurred_at_ns: the moment at which the words were said.
        path: what was said before, if the journal had to be asked where the words stand.
    """

    def __init__(
        self,
        turn: TurnInput,
        policy: TurnPolicy,
        memory: Memory,
        recorder: Recorder,
        opening: Opening,
        occurred_at_ns: int,
    ) -> None:
        self._turn = turn
        self._policy = policy
        self._memory = memory
        self._recorder = recorder
        self._opening = opening
        self.known = memory.transcripts.get(turn.session_id, turn.turn_id)
        self.parent_turn_id = turn.parent_turn_id
        self.occurred_at_ns = occurred_at_ns
        self.path: list[Utterance] | None = None
        # The words in the form in which they were recorded first: ids made from content do not tell white space apart.
        self._text = turn.text
        if turn.placed is not None and turn.placed.said_at_ns is not None:
            self.occurred_at_ns = turn.placed.said_at_ns
        if self.known is not None:
            self.occurred_at_ns = self.known.occurred_at_ns
            if self.parent_turn_id is None:
                self.parent_turn_id = self.known.parent_turn_id

    def check(self) -> None:
        """Compare with what is in memory.

        Raises:
            TurnExistsError: the id was used for something else.
        """
        known = self.known
        if known is None:
            return
        if self._turn.placed is not None:
            self._text = known.text or self._text
        elif known.text != self._turn.text or known.role != state_pb2.ROLE_USER:
            raise _turn_exists()

    async def record(self, opened: Opened, reading: affect_pb2.AffectReading | None) -> Told:
        """Record the words, with what they made felt if that is known. `duplicate`: all of it had been recorded before.

        Raises:
            TurnExistsError: the id was used for something else.
            SessionNotFoundError, TurnNotFoundError: what the words belong to is gone.
        """
        turn = self._turn
        self.parent_turn_id = opened.parent_turn_id
        try:
            told = await self._tell(reading, opened)
        except BackendFailure as failure:
            if failure.code == "NOT_FOUND":
                raise (session_not_found() if failure.reason == "SESSION_NOT_FOUND" else turn_not_found()) from None
            told = Told(label=failure.label, lost=True)
        said = Utterance(turn.turn_id, self.parent_turn_id, state_pb2.ROLE_USER, self.occurred_at_ns, self._text)
        self._memory.transcripts.add(turn.session_id, said)
        return told

    async def add(self, reading: affect_pb2.AffectReading) -> Told:
        """Record the reading at the moment of the words, which are recorded already."""
        fact = state_pb2.AddStimulusRequest(
            session_id=self._turn.session_id, turn_id=self._turn.turn_id, stimulus=self._stimulus(reading)
        )
        try:
            return await self._recorder.tell(fact)
        except BackendFailure as failure:
            # The id follows from the turn's: what stands under it are the same words, as the head read them before.
            return Told(duplicate=True) if failure.code == "ALREADY_EXISTS" else Told(label=failure.label, lost=True)

    async def _tell(self, reading: affect_pb2.AffectReading | None, opened: Opened) -> Told:
        if self.parent_turn_id == self._turn.turn_id:
            # The tip is this very turn: it was said before and never answered.
            await self._take_over()
        try:
            return await self._recorder.tell(self._fact(reading), engine_answers=not opened.degraded)
        except BackendFailure as failure:
            if failure.code != "ALREADY_EXISTS":
                raise
            if failure.reason == "TURN_EXISTS":
                # Said before, by way of another gateway or of this one before it was restarted.
                await self._take_over()
        try:
            return await self._recorder.tell(self._fact(reading))
        except BackendFailure as failure:
            if failure.reason != "STIMULUS_EXISTS":
                raise _turn_exists() if failure.code == "ALREADY_EXISTS" else failure from None
        # The head reads the same words otherwise than it did then. The first reading stands.
        return await self._recorder.tell(self._fact(None))

    async def _take_over(self) -> None:
        """Take over place and moment of the journal's turn of this id, unless it is something else.

        Words that the journal does not keep cannot be compared; the engine does not do so either.
        """
        turn = self._turn
        try:
            path = await self._opening.path_to(turn.turn_id, self._policy.history_messages + 1)
        except BackendFailure:
            raise _turn_exists() from None
        said = path.pop() if path and path[-1].turn_id == turn.turn_id else None
        if said is None or said.role != state_pb2.ROLE_USER:
            raise _turn_exists()
        if turn.placed is not None:
            self._text = said.text or self._text
        elif said.text not in ("", turn.text):
            raise _turn_exists()
        if turn.parent_turn_id is not None and turn.parent_turn_id != said.parent_turn_id:
            raise _turn_exists()
        self.parent_turn_id, self.occurred_at_ns = said.parent_turn_id, said.occurred_at_ns
        self.path = excerpt(path, self._policy.history_messages)

    def _fact(self, reading: affect_pb2.AffectReading | None) -> state_pb2.RecordTurnRequest:
        turn = self._turn
        fact = state_pb2.RecordTurnRequest(
            session_id=turn.session_id,
            turn_id=turn.turn_id,
            parent_turn_id=self.parent_turn_id,
            role=state_pb2.ROLE_USER,
            text=self._text,
            stimuli=[self._stimulus(reading)] if reading is not None else [],
        )
        fact.occurred_at.FromNanoseconds(self.occurred_at_ns)
        return fact

    def _stimulus(self, reading: affect_pb2.AffectReading) -> state_pb2.Stimulus:
        stimulus = state_pb2.Stimulus(stimulus_id=reading_id(self._turn.turn_id), reading=reading)
        stimulus.occurred_at.FromNanoseconds(self.occurred_at_ns)
        return stimulus


def _turn_exists() -> TurnExistsError:
    return TurnExistsError("turn_id: this id was used before with other words; the first stand", field="turn_id")
