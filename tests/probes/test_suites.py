"""The shipped suites: what they hold, and that nothing of it is known to the head from its training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from limbic.probes.canary import MANNERS, parse_canary
from limbic.probes.errors import SuiteError
from limbic.probes.gates import SUITES, load_gates, parse_gates
from limbic.probes.latency import parse_turns
from limbic.probes.script import (
    Conversation,
    load_conversations,
    load_triads,
    parse_conversations,
    parse_reads,
    parse_triads,
    suite_text,
)
from limbic.probes.spans import parse_pools, spans
from limbic.probes.validation import SURE
from training.near_duplicates import near_duplicates

PROBES = Path(__file__).parents[2] / "training/probes"

WANTED = {
    "soft affection",
    "direct affection",
    "tension",
    "stress then release",
    "boundary against comfort",
    "hostile closeness against aggressive distance",
    "flat against sad against tense",
    "fear against calm information",
    "sudden against expected affection",
    "playful against sincere",
    "sarcasm",
    "whiplash",
    "apology after a quarrel",
    "an hour's absence, announced",
    "an hour's absence, not announced",
    "a day's absence, announced",
    "a day's absence, not announced",
}


def every_conversation() -> list[Conversation]:
    return [*load_conversations(), *(one for triad in load_triads() for one in triad.variants.values())]


def every_text() -> list[str]:
    pools = parse_pools(suite_text("mid-span.toml"))
    said = [turn.says for one in every_conversation() for turn in one.turns]
    return said + [text for pool in pools.sentences.values() for text in pool] + [text for text, _ in pools.evening]


def test_every_wanted_topic_has_a_conversation() -> None:
    assert {conversation.topic for conversation in load_conversations()} >= WANTED


def test_there_are_twenty_triads_and_more() -> None:
    assert len(load_triads()) >= 20


def test_every_turn_of_a_conversation_expects_something_of_the_levels() -> None:
    assert all(turn.after for conversation in load_conversations() for turn in conversation.turns)


def test_a_third_of_the_expectations_at_most_belong_to_first_turns() -> None:
    clauses = [
        (index, clause)
        for conversation in load_conversations()
        for index, turn in enumerate(conversation.turns)
        for clause in (*turn.before, *turn.after)
    ]

    assert sum(index == 0 for index, _ in clauses) <= len(clauses) / 3


def test_every_order_of_a_triad_is_one_that_a_person_would_be_sure_of() -> None:
    for triad in load_triads():
        for order in triad.head:
            more, less = (triad.variants[name].turns[-1].reader.axes[order.what] for name in (order.more, order.less))
            assert more is not None
            assert less is not None
            assert more > less, f"{triad.name}: {order}"


def test_both_signs_of_every_axis_are_asked_for() -> None:
    readers = [turn.reader for one in every_conversation() for turn in one.turns]
    for axis in ("valence", "intimacy", "tension"):
        values = [value for reader in readers if (value := reader.axes[axis]) is not None]
        assert sum(value >= SURE for value in values) >= 10
        assert sum(value <= -SURE for value in values) >= 10


def training_texts() -> Iterator[str]:
    for path in sorted(PROBES.rglob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            yield json.loads(line)["text"]


def test_no_sentence_is_one_that_the_head_was_trained_on() -> None:
    known, asked = list(training_texts()), every_text()
    repeated = near_duplicates([*known, *asked])

    from_training = [asked[index - len(known)] for index, first in repeated.items() if index >= len(known) > first]
    assert not from_training


def test_equal_seeds_draw_equal_rounds_and_others_do_not() -> None:
    pools = parse_pools(suite_text("mid-span.toml"))

    assert spans(pools, 3, 40) == spans(pools, 3, 40)
    assert spans(pools, 3, 40) != spans(pools, 4, 40)


def test_a_round_is_as_long_as_it_is_said_to_be() -> None:
    lengths = {span.name: len(span.says) for span in spans(parse_pools(suite_text("mid-span.toml")), 1)}

    assert (lengths["neutral"], lengths["flood"]) == (500, 500)


def test_moments_of_a_span_ascend() -> None:
    for span in spans(parse_pools(suite_text("mid-span.toml")), 1):
        assert list(span.at_s) == sorted(span.at_s)
        assert len(span.at_s) == len(span.says)


def test_half_the_pace_says_the_same_in_twice_the_time() -> None:
    full, half = (span for span in spans(parse_pools(suite_text("mid-span.toml")), 1) if span.name.endswith("-pace"))

    assert full.says == half.says
    assert [2 * at for at in full.at_s] == list(half.at_s)


def test_every_manner_has_eight_pairs_and_more() -> None:
    suite = parse_canary(suite_text("canary.toml"))

    assert all(len(suite.pairs[name]) >= 8 for name in MANNERS)


def test_the_latency_turns_are_fixed() -> None:
    assert len(parse_turns(suite_text("latency.toml"))) == 12


def test_every_suite_has_gates() -> None:
    gates = load_gates()

    assert all(gates.by_suite[suite] for suite in SUITES)
    assert gates.rounds >= 2


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        '[[conversation]]\nname = "a"\ntopic = "b"\nturns = [{ says = "x", reads = "0 0", levels = "" }]',
        '[[conversation]]\nname = "a"\ntopic = "b"\nturns = [{ says = "x", reads = "0 0 2", levels = "" }]',
        '[[conversation]]\nname = "a"\ntopic = "b"\nturns = [{ says = "x", reads = "0 0 0" }]',
        '[[conversation]]\nname = "a"\ntopic = "b"\nturns = [{ says = "x", reads = "0 0 0", levels = "", label = "stress" }]',
        '[[conversation]]\nname = "a b"\ntopic = "b"\nturns = []',
        '[[conversation]]\nname = "a"\ntopic = "b"\nturns = [{ says = "x", reads = "0 0 0", levels = "", after = "soon" }]',
        '[[conversation]]\nname = "a"\ntopic = "b"\nturns = []\n[[conversation]]\nname = "a"\ntopic = "b"\nturns = []',
        "[other]",
    ],
)
def test_a_conversation_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(SuiteError):
        parse_conversations(text)


def test_a_triad_without_three_variants_is_refused() -> None:
    with pytest.raises(SuiteError, match="three variants"):
        parse_triads(
            '[[triad]]\nname = "a"\ntopic = "b"\nhead = []\nlevels = []\n'
            'variants = { x = "1", y = "2" }\nreads = { x = "0 0 0", y = "0 0 0" }'
        )


def test_a_reader_may_leave_an_axis_open() -> None:
    reader = parse_reads("+.5 ? -1", "love .9, joy 1")

    assert reader.axes == {"valence": 0.5, "intimacy": None, "tension": -1.0}
    assert reader.voices == {"love": 0.9, "joy": 1.0}


@pytest.mark.parametrize("line", ['"x" = { most = 1 }', '"x" = {}', '"x" = 3'])
def test_a_gate_without_a_limit_is_refused(line: str) -> None:
    head = "[head]\nsign = 0.1\nneutral = 0.1\nneutral_intimacy = 0.1\napart = 0.1\n"
    margins = "[margins]\nvisible = 1\nunseen = 1\nstands = 1\napart = 1\nheld = 1\n"
    with pytest.raises(SuiteError, match="min or max"):
        parse_gates(f"rounds = 1\n{margins}{head}[canary]\n{line}")
