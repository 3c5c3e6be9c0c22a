"""What was said lately, in memory, so that a turn seldom has to ask the journal for its history.

A cache and never the truth: turns do not change once they are recorded, so what stands here is right, but it may be incomplete.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from gateway.content import Said, own_digest, own_of
from gateway.tree import Node, Tree
from limbic.state.v1 import state_pb2

MAX_CHARS = 8_000_000
"""Text that is kept over all sessions: some thousand long conversations in a few tens of megabytes."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing said, a node of the conversation's tree. `parent_turn_id` is None where only the engine knows it."""

    turn_id: str
    parent_turn_id: str | None
    role: state_pb2.Role.ValueType
    occurred_at_ns: int
    text: str = field(repr=False)

    @property
    def weight(self) -> int:
        """What it counts towards the limit, in characters; an empty one has a price, too."""
        return len(self.text) + 64


def utterance_of(turn: state_pb2.Turn) -> Utterance:
    """Return a turn of the journal."""
    return Utterance(turn.turn_id, turn.parent_turn_id, turn.role, turn.occurred_at.ToNanoseconds(), turn.text)


class Transcripts:
    """The latest utterances of the latest sessions.

    Args:
        max_chars: text to keep over all sessions. Beyond it the session that was used longest ago goes, and of the last session
            the oldest words.
    """

    def __init__(self, max_chars: int = MAX_CHARS) -> None:
        self._max_chars = max_chars
        self._chars = 0
        self._sessions: OrderedDict[str, dict[str, Utterance]] = OrderedDict()
        self._trees: dict[str, Tree] = {}
        self._whole: set[str] = set()

    def add(self, session_id: str, utterance: Utterance) -> None:
        """Remember something said. The first of an id stands, but moves to the end: it is where the conversation is now.

        A parent that was not known then is filled in.
        """
        session = self._sessions.setdefault(session_id, {})
        self._sessions.move_to_end(session_id)
        known = session.pop(utterance.turn_id, None)
        if known is not None and known.parent_turn_id is None:
            known = replace(known, parent_turn_id=utterance.parent_turn_id)
        session[utterance.turn_id] = known or utterance
        tree = self._trees.get(session_id)
        if tree is not None:
            tree.add(_node(session_id, session[utterance.turn_id]))
        if known is None:
            self._chars += utterance.weight
            self._shrink()

    def get(self, session_id: str, turn_id: str) -> Utterance | None:
        """Return what is known of a turn."""
        return self._sessions.get(session_id, {}).get(turn_id)

    def last(self, session_id: str) -> Utterance | None:
        """Return what was said last in a session, as far as we saw it."""
        session = self._sessions.get(session_id)
        return next(reversed(session.values())) if session else None

    def tree(self, session_id: str) -> Tree:
        """Return what is known of a session's tree. It grows with what is added later."""
        tree = self._trees.get(session_id)
        if tree is None:
            tree = Tree()
            for utterance in self._sessions.get(session_id, {}).values():
                tree.add(_node(session_id, utterance))
            if tree:
                self._trees[session_id] = tree
        return tree

    def is_whole(self, session_id: str) -> bool:
        """Tell whether everything that the journal held when it was asked is here."""
        return session_id in self._whole

    def mark_whole(self, session_id: str) -> None:
        """Note that it is, until something of it is forgotten. Of a session of which nothing is here that is not remembered."""
        if session_id in self._sessions:
            self._whole.add(session_id)

    def path(self, session_id: str, turn_id: str, limit: int) -> list[Utterance] | None:
        """Return the latest `limit` utterances on the path from the root to a turn, oldest first.

        Returns None if one of them is not known here. The empty turn id is the root, whose path is empty.
        """
        path, whole = self._walk(session_id, turn_id, limit)
        return path if whole else None

    def known_end(self, session_id: str, turn_id: str, limit: int) -> list[Utterance]:
        """Return as much of the end of that path as is known here."""
        return self._walk(session_id, turn_id, limit)[0]

    def _walk(self, session_id: str, turn_id: str, limit: int) -> tuple[list[Utterance], bool]:
        session = self._sessions.get(session_id, {})
        path: list[Utterance] = []
        current: str | None = turn_id
        while current != "" and len(path) < limit:
            utterance = session.get(current) if current is not None else None
            if utterance is None:
                return path[::-1], False
            path.append(utterance)
            current = utterance.parent_turn_id
        return path[::-1], True

    def forget(self, session_id: str) -> None:
        """Forget a session."""
        self._trees.pop(session_id, None)
        self._whole.discard(session_id)
        for utterance in self._sessions.pop(session_id, {}).values():
            self._chars -= utterance.weight

    def _shrink(self) -> None:
        while self._chars > self._max_chars and len(self._sessions) > 1:
            self.forget(next(iter(self._sessions)))
        for session_id, session in self._sessions.items():
            while self._chars > self._max_chars and len(session) > 1:
                self._chars -= session.pop(next(iter(session))).weight
                self._trees.pop(session_id, None)
                self._whole.discard(session_id)


def _node(session_id: str, utterance: Utterance) -> Node:
    own = own_of(utterance.turn_id)
    if own is None and utterance.text:
        own = own_digest(session_id, Said(utterance.role, utterance.text))
    return Node(utterance.turn_id, utterance.parent_turn_id, own, utterance.occurred_at_ns)
