"""Where a history stands in the tree: the cases by which front ends change what they send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.alignment import AGAIN_AFTER_NS, Placement, place
from gateway.content import Said, content_id, own_digest
from gateway.tree import Node, Tree
from limbic.state.v1 import state_pb2

SESSION = "ada"
NOW_NS = 1_800_000_000_000_000_000
USER, ASSISTANT = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT

TALK = [
    "Good evening, how was your day?",
    "Quiet. I thought of you more than once.",
    "I have to tell you something, and I am a little afraid.",
    "Take your time. I am listening.",
    "I was offered work in another city.",
    "Oh. And you want to go?",
]


def dialogue(*texts: str, begins: state_pb2.Role.ValueType = USER) -> list[Said]:
    roles = (USER, ASSISTANT) if begins == USER else (ASSISTANT, USER)
    return [Said(roles[index % 2], text) for index, text in enumerate(texts)]


def grown(tree: Tree, said: list[Said], *, parent: str = "", at_ns: int = NOW_NS) -> list[str]:
    """Add a conversation to a tree and return its ids."""
    made = []
    for index, one in enumerate(said):
        own = own_digest(SESSION, one)
        parent_of_next = content_id(parent, own)
        tree.add(Node(parent_of_next, parent, own, at_ns + index))
        made.append(parent := parent_of_next)
    return made


def placed(tree: Tree, said: list[Said]) -> Placement:
    return place(tree, SESSION, said[:-1], said[-1], NOW_NS)


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    grown(tree, dialogue(*TALK))
    return tree


@pytest.fixture
def ids() -> list[str]:
    return grown(Tree(), dialogue(*TALK))


def test_new_words_follow_the_history_that_is_known(tree: Tree, ids: list[str]) -> None:
    placement = placed(tree, dialogue(*TALK, "Yes. But not without you."))

    assert (placement.new, placement.parent_turn_id, placement.known) == ((), ids[-1], False)
    assert placement.turn_id == content_id(ids[-1], own_digest(SESSION, Said(USER, "Yes. But not without you.")))


def test_words_that_stand_there_are_asked_for_again(tree: Tree, ids: list[str]) -> None:
    placement = placed(tree, dialogue(*TALK[:5]))

    assert (placement.turn_id, placement.parent_turn_id, placement.known) == (ids[4], ids[3], True)


def test_the_first_conversation_begins_at_the_root() -> None:
    placement = placed(Tree(), dialogue(TALK[0]))

    assert (placement.new, placement.parent_turn_id, placement.known) == ((), "", False)


def test_white_space_that_a_front_end_trims_changes_nothing(tree: Tree, ids: list[str]) -> None:
    altered = dialogue(*TALK[:5])
    altered[1] = Said(ASSISTANT, f"  {TALK[1].replace(' ', chr(10), 1)}\n\n")

    assert placed(tree, altered).turn_id == ids[4]


def test_an_edited_message_begins_a_branch(tree: Tree, ids: list[str]) -> None:
    placement = placed(tree, dialogue(*TALK[:4], "I was offered work in this city."))

    assert (placement.new, placement.parent_turn_id, placement.known) == ((), ids[3], False)
    assert placement.turn_id not in ids


def test_a_reply_that_the_front_end_has_otherwise_is_a_sibling_of_ours(tree: Tree, ids: list[str]) -> None:
    placement = placed(tree, dialogue(*TALK[:3], "Ada: Take your time.", "Thank you."))

    (sibling,) = placement.new
    assert (sibling.parent_turn_id, sibling.said.text, sibling.twin) == (ids[2], "Ada: Take your time.", None)
    assert placement.parent_turn_id == sibling.turn_id


def test_what_follows_an_edited_line_unchanged_was_said_when_it_was_said(tree: Tree, ids: list[str]) -> None:
    altered = [*dialogue(*TALK), Said(USER, "Yes.")]
    altered[1] = Said(ASSISTANT, "Loud. I had no moment to think.")

    placement = placed(tree, altered)

    assert [new.said.text for new in placement.new] == [altered[1].text, *TALK[2:]]
    assert [new.twin.turn_id if new.twin else None for new in placement.new] == [None, *ids[2:]]
    assert placement.old_branch == ids[-1]
    assert placement.said_at_ns is None


def test_words_asked_for_again_behind_an_edited_line_keep_their_moment(tree: Tree, ids: list[str]) -> None:
    altered = dialogue(*TALK[:5])
    altered[1] = Said(ASSISTANT, "Loud. I had no moment to think.")

    placement = placed(tree, altered)

    assert (placement.known, placement.said_at_ns) == (False, NOW_NS + 4)


def test_a_deleted_pair_of_lines_takes_nothing_from_the_others(tree: Tree, ids: list[str]) -> None:
    placement = placed(tree, [*dialogue(*TALK[:2], *TALK[4:]), Said(USER, "Yes.")])

    assert [new.twin.turn_id for new in placement.new if new.twin is not None] == ids[4:]
    assert placement.new[0].parent_turn_id == ids[1]


@pytest.mark.parametrize("dropped", [1, 2, 3])
def test_a_history_without_its_beginning_is_found(tree: Tree, ids: list[str], dropped: int) -> None:
    placement = placed(tree, [*dialogue(*TALK)[dropped:], Said(USER, "Yes.")])

    assert (placement.new, placement.parent_turn_id) == ((), ids[-1])


def test_a_history_without_its_beginning_and_with_another_last_reply_is_found(tree: Tree, ids: list[str]) -> None:
    said = [*dialogue(*TALK)[1:5], Said(ASSISTANT, "Oh"), Said(USER, "Yes.")]

    placement = placed(tree, said)

    assert [new.parent_turn_id for new in placement.new] == [ids[4]]


def test_a_short_exchange_in_the_middle_is_no_beginning_that_was_left_out() -> None:
    tree = Tree()
    known = grown(tree, dialogue("hi", "Hello!", "ok", "Fine.", "hi", "Hello!"))

    placement = placed(tree, dialogue("ok", "Fine.", "bye"))

    assert [new.said.text for new in placement.new] == ["ok", "Fine."]
    assert placement.new[0].parent_turn_id == ""
    assert placed(tree, dialogue("hi", "Hello!", "ok")).turn_id == known[2]


def test_a_chat_that_was_never_seen_is_taken_in_as_a_whole_and_in_order() -> None:
    said = dialogue("Hi, I am Mira.", *TALK, begins=ASSISTANT)

    placement = placed(Tree(), said)

    assert [new.said for new in placement.new] == said[:-1]
    parents = ["", *(new.turn_id for new in placement.new)]
    assert [*(new.parent_turn_id for new in placement.new), placement.parent_turn_id] == parents
    assert all(new.twin is None for new in placement.new)


def test_another_conversation_lends_no_twins() -> None:
    tree = Tree()
    grown(tree, dialogue("hello", "hi!", "ok", "fine"))

    placement = placed(tree, dialogue("good morning", "fine", "ok", "fine", "so?"))

    assert {new.twin for new in placement.new} == {None}


def test_the_same_first_words_on_another_day_are_a_new_conversation() -> None:
    tree = Tree()
    (earlier,) = grown(tree, dialogue("good morning"), at_ns=NOW_NS - AGAIN_AFTER_NS - 1)

    placement = placed(tree, dialogue("good morning"))
    tree.add(Node(placement.turn_id, "", own_digest(SESSION, Said(USER, "good morning")), NOW_NS))
    reply = grown(tree, dialogue("Did you sleep well?", begins=ASSISTANT), parent=placement.turn_id)

    assert (placement.known, placement.turn_id != earlier) == (False, True)
    assert placed(tree, dialogue("good morning")).turn_id == placement.turn_id
    follows = placed(tree, dialogue("good morning", "Did you sleep well?", "Very."))
    assert follows.parent_turn_id == reply[0]


def test_within_hours_the_same_first_words_are_asked_for_again() -> None:
    tree = Tree()
    (earlier,) = grown(tree, dialogue("good morning"), at_ns=NOW_NS - AGAIN_AFTER_NS)

    assert placed(tree, dialogue("good morning")).turn_id == earlier


def test_later_words_are_asked_for_again_at_any_time() -> None:
    tree = Tree()
    known = grown(tree, dialogue(*TALK), at_ns=NOW_NS - 100 * AGAIN_AFTER_NS)

    assert placed(tree, dialogue(*TALK[:5])).turn_id == known[4]


def test_without_words_the_history_is_placed_alone(tree: Tree, ids: list[str]) -> None:
    placement = place(tree, SESSION, dialogue(*TALK), None, NOW_NS)

    assert (placement.turn_id, placement.parent_turn_id, placement.new) == ("", ids[-1], ())


class CountingTree(Tree):
    """Counts the turns that are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = 0

    def upwards(self, turn_id: str | None) -> Iterator[Node]:
        for node in super().upwards(turn_id):
            self.looked_at += 1
            yield node


def test_a_tree_full_of_equal_messages_is_not_searched_without_end() -> None:
    tree = CountingTree()
    same = dialogue(*["the same words, over and over"] * 600)
    grown(tree, same)
    history = [Said(USER, "something else"), *same[:510]]

    placement = place(tree, SESSION, history, Said(USER, "end"), NOW_NS)

    assert tree.looked_at < 60_000
    assert len(placement.new) in (0, len(history))
