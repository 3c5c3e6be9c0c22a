"""What can be recorded of a session: decide what is new, write it down, and only then feel it.

Everything here runs on the event loop, and between looking at a session and handing facts to the journal there is no await.
"""

from __future__ import annotations

from collections.abc import Sequence

from limbic.runtime.clock import Clock
from limbic.runtime.errors import InvalidArgumentError
from services.state_engine import metrics
from services.state_engine.again import again_after_conflict
from services.state_engine.causes import Event
from services.state_engine.commands import (
    AddStimulus,
    NewStimulus,
    PauseSession,
    RecordTurn,
    ResumeSession,
    RetractStimulus,
    RewindSession,
)
from services.state_engine.errors import (
    PauseExistsError,
    PauseNotFoundError,
    RewindExistsError,
    StimulusNotFoundError,
    TurnNotFoundError,
)
from services.state_engine.folding import Folding
from services.state_engine.journal.facts import Fact, PauseFact, ResumptionFact, RetractionFact, RewindFact
from services.state_engine.session import (
    CLOCK_KEY,
    Session,
    State,
    retraction_key,
    rewind_key,
    stimulus_key,
    turn_key,
)
from services.state_engine.writes import Writes

_REPEATED_TURNS = metrics.DUPLICATES.labels("RecordTurn")
_REPEATED_STIMULI = metrics.DUPLICATES.labels("AddStimulus")
_REPEATED_RETRACTIONS = metrics.DUPLICATES.labels("RetractStimulus")
_REPEATED_REWINDS = metrics.DUPLICATES.labels("Rewind")
_REPEATED_PAUSES = metrics.DUPLICATES.labels("Pause")
_REPEATED_RESUMPTIONS = metrics.DUPLICATES.labels("Resume")


class Recording:
    """Records facts of sessions. Every method raises, besides what it says, what `Writes.commit` does where nothing was recorded.

    Args:
        writes: the way into the journal.
        folding: the way to a state.
        clock: the present.
    """

    def __init__(self, writes: Writes, folding: Folding, clock: Clock) -> None:
        self._writes = writes
        self._folding = folding
        self._clock = clock

    @again_after_conflict
    async def turn(self, command: RecordTurn) -> tuple[State, bool]:
        """Record a turn and what it made felt; return the state at it and whether all of that had been recorded before.

        Raises:
            SessionNotFoundError, TurnNotFoundError: the session or the parent is not there.
            TurnExistsError, StimulusExistsError: an id was used before for something else.
            InvalidArgumentError: an event that the temperament does not name.
        """
        new: dict[str, RecordTurn | NewStimulus] = {turn_key(command.turn_id): command}
        new.update((stimulus_key(stimulus.stimulus_id), stimulus) for stimulus in command.stimuli)
        session, repeated = await self._writes.judge(command.session_id, new, command.turn_id, command.parent_turn_id)
        now_ns = self._clock.now_ns()
        keep_text = session.fact.keep_text
        facts: list[Fact] = []
        said_ns = session.said_ns(command.turn_id)
        if said_ns is None:
            turn = command.fact(session.tip.turn_id, now_ns, keep_text=keep_text)
            if turn.parent_turn_id not in session.timeline:
                raise TurnNotFoundError("parent_turn_id", turn.parent_turn_id)
            said_ns = turn.occurred_ns
            facts.append(turn)
        for stimulus in command.stimuli:
            if stimulus_key(stimulus.stimulus_id) not in repeated:
                _check_event(session, stimulus)
                facts.append(stimulus.fact(command.turn_id, said_ns, now_ns, keep_text=keep_text))
        if facts:
            await self._writes.commit(session, facts)
        else:
            _REPEATED_TURNS.inc()
        return await self._folding.now(session, command.turn_id), not facts

    @again_after_conflict
    async def turns(self, session_id: str, commands: Sequence[RecordTurn]) -> tuple[State, int]:
        """Record turns of a session in one step, each behind its parent; return the state at the last and how many were new.

        Raises:
            SessionNotFoundError, TurnNotFoundError: the session or a parent is not there.
            TurnExistsError, StimulusExistsError: an id was used before for something else.
            InvalidArgumentError: an event that the temperament does not name.
        """
        new: dict[str, RecordTurn | NewStimulus] = {turn_key(command.turn_id): command for command in commands}
        for command in commands:
            new.update((stimulus_key(stimulus.stimulus_id), stimulus) for stimulus in command.stimuli)
        session, repeated = await self._writes.judge(session_id, new, None, commands[0].parent_turn_id)
        now_ns, keep_text = self._clock.now_ns(), session.fact.keep_text
        facts: list[Fact] = []
        recorded: set[str] = set()
        for command in commands:
            said_ns = session.said_ns(command.turn_id)
            if said_ns is None:
                turn = command.fact("", now_ns, keep_text=keep_text)
                if turn.parent_turn_id not in session.timeline and turn.parent_turn_id not in recorded:
                    raise TurnNotFoundError("parent_turn_id", turn.parent_turn_id)
                recorded.add(turn.turn_id)
                said_ns = turn.occurred_ns
                facts.append(turn)
            for stimulus in command.stimuli:
                if stimulus_key(stimulus.stimulus_id) not in repeated:
                    _check_event(session, stimulus)
                    facts.append(stimulus.fact(command.turn_id, said_ns, now_ns, keep_text=keep_text))
        if facts:
            await self._writes.commit(session, facts)
        else:
            _REPEATED_TURNS.inc()
        return await self._folding.now(session, commands[-1].turn_id), len(recorded)

    @again_after_conflict
    async def stimulus(self, command: AddStimulus) -> tuple[State, bool]:
        """Add a stimulus to a turn; return the state at the tip and whether it had been recorded before.

        Raises:
            SessionNotFoundError, TurnNotFoundError: the session or the turn is not there.
            StimulusExistsError: the id was used before for something else.
            InvalidArgumentError: an event that the temperament does not name.
        """
        stimulus = command.stimulus
        new: dict[str, RecordTurn | NewStimulus] = {stimulus_key(stimulus.stimulus_id): stimulus}
        session, repeated = await self._writes.judge(command.session_id, new, command.turn_id, command.turn_id)
        if repeated:
            _REPEATED_STIMULI.inc()
        else:
            turn_id = _turn_or_tip(session, command.turn_id)
            _check_event(session, stimulus)
            now_ns, said_ns = self._clock.now_ns(), session.said_ns(turn_id)
            fact = stimulus.fact(turn_id, said_ns, now_ns, keep_text=session.fact.keep_text)
            await self._writes.commit(session, [fact])
        return await self._folding.at_tip(session), bool(repeated)

    @again_after_conflict
    async def retraction(self, command: RetractStimulus) -> tuple[State, bool]:
        """Take a stimulus back; return the state at the tip and whether it had been taken back before.

        Raises:
            SessionNotFoundError, StimulusNotFoundError: the session or the stimulus is not there.
        """
        stimulus, retraction = stimulus_key(command.stimulus_id), retraction_key(command.stimulus_id)
        session = await self._writes.settled(command.session_id, (stimulus, retraction))
        if not session.holds(stimulus):
            raise StimulusNotFoundError(command.stimulus_id)
        repeated = session.holds(retraction)
        if repeated:
            _REPEATED_RETRACTIONS.inc()
        else:
            await self._writes.commit(session, [RetractionFact(command.stimulus_id, self._clock.now_ns())])
        return await self._folding.at_tip(session), repeated

    @again_after_conflict
    async def rewind(self, command: RewindSession) -> tuple[State, list[str]]:
        """Move the tip to a turn; return the state there and the turns that this left behind, in the order of their recording.

        Raises:
            SessionNotFoundError, TurnNotFoundError: the session or the turn is not there.
            RewindExistsError: the id was used before for another turn.
        """
        keys = (rewind_key(command.rewind_id), turn_key(command.turn_id))
        session = await self._writes.settled(command.session_id, keys)
        _turn_or_tip(session, command.turn_id)
        before = session.tip.rewound(command.rewind_id)
        if before is None:
            fact = RewindFact(command.rewind_id, command.turn_id, self._clock.now_ns())
            await self._writes.commit(session, [fact])
        elif before.turn_id != command.turn_id:
            raise RewindExistsError(command.rewind_id)
        else:
            _REPEATED_REWINDS.inc()
        return await self._folding.now(session, command.turn_id), session.tip.left_by(command.rewind_id)

    @again_after_conflict
    async def pause(self, command: PauseSession) -> State:
        """Stop a session's clock, and return the state at the tip.

        Raises:
            SessionNotFoundError: there is none.
            PauseExistsError: the id was used before for a pause from another moment on.
        """
        session = await self._writes.settled(command.session_id, (CLOCK_KEY,))
        began_ns = session.pauses.began_ns(command.pause_id)
        if began_ns is None:
            now_ns = self._clock.now_ns()
            from_ns = now_ns if command.from_ns is None else command.from_ns
            await self._writes.commit(session, [PauseFact(command.pause_id, from_ns, now_ns)])
        elif command.from_ns not in (None, began_ns):
            raise PauseExistsError(command.pause_id, "began")
        else:
            _REPEATED_PAUSES.inc()
        return await self._folding.at_tip(session)

    @again_after_conflict
    async def resumption(self, command: ResumeSession) -> State:
        """End a pause, or every one that is open, and return the state at the tip.

        Raises:
            SessionNotFoundError, PauseNotFoundError: the session or the pause is not there.
            PauseExistsError: the pause has ended at another moment.
            InvalidArgumentError: the end lies before the pause.
        """
        session = await self._writes.settled(command.session_id, (CLOCK_KEY,))
        ending = self._ending(session, command)
        now_ns = self._clock.now_ns()
        facts: list[Fact] = []
        for pause_id, began_ns in ending.items():
            # A pause may begin a moment ahead of our clock, where its host's clock is ahead.
            from_ns = max(now_ns, began_ns) if command.from_ns is None else command.from_ns
            if from_ns < began_ns:
                raise InvalidArgumentError("from", f"lies before pause {pause_id}, which it ends")
            facts.append(ResumptionFact(pause_id, from_ns, now_ns))
        if facts:
            await self._writes.commit(session, facts)
        else:
            _REPEATED_RESUMPTIONS.inc()
        return await self._folding.at_tip(session)

    def _ending(self, session: Session, command: ResumeSession) -> dict[str, int]:
        pauses = session.pauses
        if command.pause_id is None:
            return pauses.open
        began_ns, ended_ns = pauses.began_ns(command.pause_id), pauses.ended_ns(command.pause_id)
        if began_ns is None:
            raise PauseNotFoundError(command.pause_id)
        if ended_ns is None:
            return {command.pause_id: began_ns}
        if command.from_ns not in (None, ended_ns):
            raise PauseExistsError(command.pause_id, "ended")
        return {}


def _turn_or_tip(session: Session, turn_id: str | None) -> str:
    turn = session.tip.turn_id if turn_id is None else turn_id
    if turn not in session.timeline:
        raise TurnNotFoundError("turn_id", turn)
    return turn


def _check_event(session: Session, stimulus: NewStimulus) -> None:
    cause = stimulus.cause
    known = session.temperament.appraisal.events
    if isinstance(cause, Event) and cause.name not in known:
        raise InvalidArgumentError(
            f"{stimulus.field}.event.name", f"is no event of temperament {session.fact.temperament}: {', '.join(known)}"
        )
