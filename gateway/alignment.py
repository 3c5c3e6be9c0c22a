"""Finds a history that a client sends in the tree of what is known, and says where the new words stand. Pure.

A client sends the whole conversation each time, or what fits: many leave out its oldest messages once it has grown. What it sends is read
from its end. The latest message that stands in the tree with everything above it as the client has it is the place where the conversation
goes on; what the client has beyond that is new to us. Three cases follow:

- Everything up to the root is there: the ordinary one.
- The client's first message is there too, but in the middle of the tree: the beginning was left out. That counts only if what is found is
  long enough that two conversations hardly share it (`_TRIMMED_MESSAGES`, `_TRIMMED_CHARS`).
- Something was changed on the way: a message was edited, a reply was trimmed, a line was deleted. From there on it is another branch.
  What follows unchanged was said before, at its own moment, and what it made felt goes with it: each of its turns has a twin on the old
  branch.

So the state at the new words is the sum over what the client's history holds, each message once and at the moment at which it was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from gateway.content import Said, content_id, digested, own_digest
from gateway.tree import Node, Tree
from limbic.runtime.clock import NS_PER_S
from limbic.state.v1 import state_pb2

_TRIMMED_MESSAGES, _TRIMMED_CHARS = 2, 40
"""What a conversation without its beginning must share with the tree. "hi" and "Hello!" stand in many conversations."""

_STEPS = 50_000
"""Turns that are looked at for one history at most: some milliseconds. Only a tree full of equal messages takes more."""

AGAIN_AFTER_NS = 6 * 3_600 * NS_PER_S
"""A conversation that begins with the same words as an earlier one is a new one if those lie as far back: a reply is swiped within hours,
and the same "good morning" comes the next day. It is then felt again."""


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A message of the history that is not in the tree, and its twin on the branch that the history has left, if it has one."""

    turn_id: str
    parent_turn_id: str
    said: Said
    twin: Node | None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where words stand.

    Attributes:
        new: what the tree lacks before them, oldest first.
        parent_turn_id: the turn that the words follow, which may be the last of `new`; empty at the root.
        turn_id: the words' own id; empty if there are no words.
        said_at_ns: the moment of these words, if they were said before on another branch.
        known: the words stand there already: they are asked for again.
        old_branch: a turn on the branch that the history has left; empty if no turn in `new` has a twin.
    """

    new: tuple[NewTurn, ...]
    parent_turn_id: str
    turn_id: str
    said_at_ns: int | None
    known: bool
    old_branch: str


_CANDIDATES = 8
"""Turns that are tried as the end of the branch that a history has left: the same words may stand on several."""


@dataclass(frozen=True, slots=True)
class _Found:
    """How far a history was found.

    Attributes:
        count: messages of its beginning that stand in the tree, ending at `turn_id`.
        left: turns with later messages of it, on branches that it has left.
    """

    count: int
    turn_id: str
    left: tuple[Node, ...]


def place(tree: Tree, session_id: str, history: Sequence[Said], words: Said | None, now_ns: int) -> Placement:
    """Return where words stand.

    Args:
        tree: what is known of the session.
        session_id: part of each id.
        history: what was said before the words, as the client has it, oldest first.
        words: what is said now; None if the character is only to go on.
        now_ns: nanoseconds since the epoch.
    """
    digests = [digested(session_id, said) for said in history]
    owns, lengths = [own for own, _ in digests], [length for _, length in digests]
    found = _find(tree, owns, lengths)
    end, twins = _old_branch(tree, found, owns, lengths)
    new: list[NewTurn] = []
    parent = found.turn_id
    for index, said in enumerate(history[found.count :], found.count):
        turn_id = content_id(parent, owns[index])
        new.append(NewTurn(turn_id, parent, said, twins.get(index)))
        parent = turn_id
    old_branch = end.turn_id if end is not None else ""
    if words is None:
        return Placement(tuple(new), parent, "", None, False, old_branch)
    own = own_digest(session_id, words)
    known = tree.child(parent, own)
    if known is None:
        said_at_ns = _said_at(tree, own, new, now_ns)
        return Placement(tuple(new), parent, content_id(parent, own), said_at_ns, False, old_branch)
    begins = all(said.role != state_pb2.ROLE_USER for said in history)
    if begins and now_ns - known.occurred_at_ns > AGAIN_AFTER_NS:
        return Placement(tuple(new), parent, content_id(parent, own, known.turn_id), None, False, old_branch)
    return Placement(tuple(new), parent, known.turn_id, None, True, old_branch)


def _said_at(tree: Tree, own: str, new: Sequence[NewTurn], now_ns: int) -> int | None:
    """Return when words were said that are asked for again behind a line that was changed."""
    if not new:
        return None
    if (before := new[-1].twin) is not None:
        twin = tree.child(before.turn_id, own)
        return twin.occurred_at_ns if twin is not None else None
    if not new[0].parent_turn_id:
        return None
    for node in tree.saying(own):
        # At the same place behind the same turn; after hours they are rather said again.
        above = next(islice(tree.upwards(node.turn_id), len(new) + 1, None), None)
        recent = now_ns - node.occurred_at_ns <= AGAIN_AFTER_NS
        if recent and above is not None and above.turn_id == new[0].parent_turn_id:
            return node.occurred_at_ns
    return None


def _find(tree: Tree, owns: Sequence[str], lengths: Sequence[int]) -> _Found:
    """Return the longest beginning of the history that stands in the tree."""
    steps = 0
    left: list[Node] = []
    for last in range(len(owns) - 1, -1, -1):
        cut_off: Node | None = None
        for node in reversed(tree.saying(owns[last])):
            run, above = _run(tree, node, owns, last)
            steps += run
            if run > last and above == "":
                return _Found(last + 1, node.turn_id, tuple(left))
            if run > last and above is not None and cut_off is None and _is_distinctive(lengths[: last + 1]):
                cut_off = node
            if len(left) < _CANDIDATES:
                left.append(node)
            if steps > _STEPS:
                break
        if cut_off is not None:
            return _Found(last + 1, cut_off.turn_id, tuple(left))
        if steps > _STEPS:
            break
    return _Found(0, "", tuple(left))


def _run(tree: Tree, node: Node, owns: Sequence[str], last: int) -> tuple[int, str | None]:
    """Return how many messages up to `last` stand above each other from a turn on, and the parent of the topmost."""
    run, above = 0, node.parent_turn_id
    for turn in tree.upwards(node.turn_id):
        if run > last or turn.own != owns[last - run]:
            break
        run, above = run + 1, turn.parent_turn_id
    return run, above


def _old_branch(
    tree: Tree, found: _Found, owns: Sequence[str], lengths: Sequence[int]
) -> tuple[Node | None, dict[int, Node]]:
    """Return the end of the branch that the history has left, and the twins on it of the messages that were not found, by index.

    It is the same conversation if it shares the found beginning, or else enough of what follows.
    """
    best: tuple[Node | None, dict[int, Node]] = None, {}
    for end in found.left:
        old: list[Node] = []
        for turn in tree.upwards(end.turn_id):
            if turn.turn_id == found.turn_id:
                break
            old.append(turn)
        else:
            if found.turn_id:
                continue
        twins = _twins(old, owns, found.count)
        is_same = bool(found.turn_id) or _is_distinctive([lengths[index] for index in twins])
        if is_same and len(twins) > len(best[1]):
            best = end, twins
    return best


def _twins(old: Sequence[Node], owns: Sequence[str], begin: int) -> dict[int, Node]:
    """Return the same messages on a branch, in the same order, the latest first. `old`: the branch, latest first."""
    twins: dict[int, Node] = {}
    position = 0
    for index in range(len(owns) - 1, begin - 1, -1):
        at = next((place for place in range(position, len(old)) if old[place].own == owns[index]), None)
        if at is not None:
            twins[index], position = old[at], at + 1
    return twins


def _is_distinctive(lengths: Sequence[int]) -> bool:
    return len(lengths) >= _TRIMMED_MESSAGES and sum(lengths) >= _TRIMMED_CHARS
