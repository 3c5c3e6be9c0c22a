"""What is known of a conversation's tree, so that a history that a client sends can be found in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """One turn without its words.

    Attributes:
        parent_turn_id: empty at the root, None where only the engine knows it.
        own: the hash of the message by itself; None where neither words nor a hash of them are known.
    """

    turn_id: str
    parent_turn_id: str | None
    own: str | None
    occurred_at_ns: int


class Tree:
    """The turns of one session, by id and by what was said."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._by_own: dict[str, list[Node]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, node: Node) -> None:
        """Take in a turn. The first of an id stands; a parent that was not known then is filled in."""
        known = self._nodes.get(node.turn_id)
        if known is not None and (known.parent_turn_id is not None or node.parent_turn_id is None):
            return
        self._nodes[node.turn_id] = node
        if node.own is not None:
            same = self._by_own.setdefault(node.own, [])
            if known is not None:
                same[:] = [one for one in same if one.turn_id != node.turn_id]
            same.append(node)

    def get(self, turn_id: str) -> Node | None:
        """Return a turn."""
        return self._nodes.get(turn_id)

    def saying(self, own: str) -> Sequence[Node]:
        """Return the turns with the same message, in the order in which they were taken in."""
        return self._by_own.get(own, ())

    def child(self, parent_turn_id: str, own: str) -> Node | None:
        """Return the latest turn with this message that follows a turn, if there is one."""
        return next((node for node in reversed(self.saying(own)) if node.parent_turn_id == parent_turn_id), None)

    def upwards(self, turn_id: str | None) -> Iterator[Node]:
        """Yield a turn and those before it, latest first, as far as they are known."""
        while turn_id:
            node = self._nodes.get(turn_id)
            if node is None:
                return
            yield node
            turn_id = node.parent_turn_id
