"""Places a conversation that a client sends as a whole: which session it is, where its words stand, what the journal lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from gateway import trace as stages
from gateway.alignment import NewTurn, Placement, place
from gateway.background import Background
from gateway.content import pair_digests
from gateway.events import Dialogue, Placed, TurnInput
from gateway.ids import derived, reading_id
from gateway.opening import Memory
from gateway.ports import BackendFailure, DirectoryPort, Ports, SpoolPort, StatePort, TurnPolicy
from gateway.trace import Trace
from gateway.transcripts import Utterance, utterance_of
from limbic.state.v1 import state_pb2

MAX_PLACED = 512
"""Messages of a history that are looked for in the tree, the latest; what is older counts as left out by the client."""

_MAX_RECORDED_CHARS, _MAX_STIMULI = 65_536, 64
"""What RecordTurn takes."""

_PAGE, _MAX_PAGES = 250, 8
"""Turns that are read of a session that is not in memory: pages of long messages that fit into one answer, and not without end."""

_FIND_PAIRS, _NOTE_PAIRS = 12, 8


@dataclass(frozen=True, slots=True)
class _Journal:
    """What the journal said of a session. `missing`: it has no such session."""

    missing: bool
    label: str


class Placer:
    """Makes of a turn with a dialogue one that says where it stands.

    Args:
        ports: the state engine is asked for what memory does not hold, and the spool whether the engine is behind.
        policy: how long a call may take.
        memory: what is known already.
        directory: finds conversations of which the beginning is missing.
        background: notes there what was said, when nobody waits.
    """

    def __init__(
        self, ports: Ports, policy: TurnPolicy, memory: Memory, directory: DirectoryPort, background: Background
    ) -> None:
        self._state: StatePort = ports.state
        self._spool: SpoolPort = ports.spool
        self._now_ns = ports.timer.now_ns
        self._timeout_s = policy.state_deadline_s
        self._memory = memory
        self._directory = directory
        self._background = background

    async def session_of(self, turn: TurnInput) -> str:
        """Return the session of a turn: the one that is named, or where most of what is left of the conversation was said."""
        dialogue = turn.dialogue
        if dialogue is None or dialogue.is_named:
            return turn.session_id
        found = await self._directory.find(_pairs(dialogue, _FIND_PAIRS))
        return found or turn.session_id

    async def place(self, turn: TurnInput, dialogue: Dialogue, trace: Trace) -> TurnInput:
        """Return the turn with its ids, and with what the state engine must be told before it. Writes nothing."""
        stage = trace.begin("place", self._timeout_s)
        try:
            placed, detail = await self._place(turn, dialogue, trace)
            stage.end(stages.OK, detail)
            return placed
        finally:
            stage.end(stages.ERROR)

    async def _place(self, turn: TurnInput, dialogue: Dialogue, trace: Trace) -> tuple[TurnInput, str]:
        session_id, transcripts = turn.session_id, self._memory.transcripts
        history = dialogue.history[-MAX_PLACED:]
        placement = self._placement(session_id, dialogue)
        begins = all(said.role != state_pb2.ROLE_USER for said in history)
        is_new = False
        if (placement.new or begins) and not transcripts.is_whole(session_id) and not self._spool.holds(session_id):
            journal = await self._read(session_id)
            is_new = journal.missing
            if journal.label:
                trace.degrade("history", journal.label, "the journal could not be asked for the earlier conversation")
            placement = self._placement(session_id, dialogue)
        felt = await self._felt(session_id, placement, trace)
        if not dialogue.is_named:
            self._background.spawn(self._directory.note(session_id, _pairs(dialogue, _NOTE_PAIRS)), "directory")
        placed = Placed(
            history=tuple(Utterance("", None, said.role, 0, said.text) for said in dialogue.history),
            before=tuple(_fact(session_id, new, felt) for new in placement.new),
            said_at_ns=placement.said_at_ns,
        )
        parent_turn_id = placement.parent_turn_id
        if dialogue.words is None and placement.new:
            # An aside records nothing: it speaks from where the journal ends.
            placed, parent_turn_id = replace(placed, before=()), placement.new[0].parent_turn_id
        detail = f"{len(placement.new)} new before it" if placement.new else "said before" if placement.known else ""
        return (
            replace(
                turn,
                session_is_new=is_new,
                turn_id=placement.turn_id,
                parent_turn_id=parent_turn_id,
                dialogue=None,
                placed=placed,
            ),
            detail,
        )

    def _placement(self, session_id: str, dialogue: Dialogue) -> Placement:
        tree = self._memory.transcripts.tree(session_id)
        return place(tree, session_id, dialogue.history[-MAX_PLACED:], dialogue.words, self._now_ns())

    async def _read(self, session_id: str) -> _Journal:
        """Take the latest turns of a session into memory."""
        transcripts, token = self._memory.transcripts, ""
        pages: list[list[Utterance]] = []
        for _ in range(_MAX_PAGES):
            request = state_pb2.ListTurnsRequest(session_id=session_id, page_size=_PAGE, page_token=token)
            try:
                page = await self._state.list_turns(request, self._timeout_s)
            except BackendFailure as failure:
                if failure.reason != "SESSION_NOT_FOUND":
                    return _Journal(False, failure.label)
                # It was deleted, if we know anything of it.
                transcripts.forget(session_id)
                self._memory.states.forget(session_id)
                return _Journal(True, "")
            pages.append([utterance_of(said) for said in page.turns])
            token = page.next_page_token
            if not token:
                break
        for utterances in reversed(pages):
            for utterance in utterances:
                transcripts.add(session_id, utterance)
        transcripts.mark_whole(session_id)
        return _Journal(False, "")

    async def _felt(self, session_id: str, placement: Placement, trace: Trace) -> dict[str, list[state_pb2.Stimulus]]:
        """Return what was felt on the branch that the history has left, by turn."""
        if not placement.old_branch:
            return {}
        request = state_pb2.ListTurnsRequest(
            session_id=session_id, path_to_turn_id=placement.old_branch, page_size=MAX_PLACED
        )
        try:
            path = await self._state.list_turns(request, self._timeout_s)
        except BackendFailure as failure:
            trace.degrade(
                "journal", failure.label, f"what earlier words made felt could not be carried over ({failure.label})"
            )
            return {}
        return {turn.turn_id: list(turn.stimuli) for turn in path.turns}


def _pairs(dialogue: Dialogue, count: int) -> list[bytes]:
    said = [*dialogue.history[-count - 1 :], *([dialogue.words] if dialogue.words is not None else [])]
    return pair_digests(dialogue.caller, said)[-count:]


def _fact(session_id: str, new: NewTurn, felt: dict[str, list[state_pb2.Stimulus]]) -> state_pb2.RecordTurnRequest:
    """Return what the engine is told of a message that it does not know.

    Nobody knows when it was said, and it is not felt: a whole imported chat would be felt in one moment. Unless it was said before on
    another branch; then that is when it was said, and what it made felt goes with it.
    """
    fact = state_pb2.RecordTurnRequest(
        session_id=session_id,
        turn_id=new.turn_id,
        parent_turn_id=new.parent_turn_id,
        role=new.said.role,
        text=new.said.text[:_MAX_RECORDED_CHARS],
    )
    if new.twin is not None:
        fact.occurred_at.FromNanoseconds(new.twin.occurred_at_ns)
        fact.stimuli.extend(islice(_carried(new, felt.get(new.twin.turn_id, ())), _MAX_STIMULI))
    return fact


def _carried(new: NewTurn, stimuli: Iterable[state_pb2.Stimulus]) -> Iterable[state_pb2.Stimulus]:
    own_reading = reading_id(new.twin.turn_id) if new.twin is not None else ""
    for number, stimulus in enumerate(stimuli):
        carried = state_pb2.Stimulus()
        carried.CopyFrom(stimulus)
        is_reading = stimulus.stimulus_id == own_reading
        carried.stimulus_id = reading_id(new.turn_id) if is_reading else derived(new.turn_id, f"carried-{number}")
        yield carried
