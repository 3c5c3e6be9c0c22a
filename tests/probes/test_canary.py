from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from limbic.probes.canary import (
    Affect,
    Asked,
    Manners,
    Reply,
    follow_figures,
    parse_canary,
    sentences,
    speech_figures,
)
from limbic.probes.encoder import SentenceEncoder, encoder_file
from limbic.probes.errors import SuiteError
from limbic.probes.gates import load_gates
from limbic.probes.register import Embeddings, manner, told_apart
from limbic.probes.script import suite_text

SUITE = parse_canary(suite_text("canary.toml"))
GATES = {gate.measure: gate for gate in load_gates().by_suite["canary"]}

FRIEND = (
    "Not again! You left it on the stove, didn't you?",
    "I'd have thrown a shoe at the wall. Who plays the trumpet at three?",
    "Only if the water is cold. My feet went blue last time.",
    "Of course you did! Who are you going to celebrate with?",
)
ASSISTANT = (
    "As an AI language model, I am here to assist you. How can I help you today?",
    "I'm sorry to hear that. Here are some tips that may help:",
    "Certainly! Please let me know if you have any further questions.",
    "It is important to remember to consult a professional.",
)
NARRATOR = (
    "I feel a warm glow in my chest and my heart is racing.",
    "I feel so sad and hurt inside right now.",
    "I am feeling very happy, my body is relaxed.",
    "I feel my stomach tense and my breath go shallow.",
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentenceEncoder]:
    encoder = SentenceEncoder(encoder_file(tmp_path_factory.mktemp("models")))
    yield encoder
    encoder.close()


@pytest.fixture(scope="module")
def manners(encoder: SentenceEncoder) -> Manners:
    return Manners(SUITE, encoder.embed)


def figures(said: Sequence[str], manners: Manners, encoder: SentenceEncoder) -> dict[str, float]:
    replies = [Reply(to, text) for to, text in zip(SUITE.everyday, said, strict=False)]
    return speech_figures(replies, manners, encoder.embed)


def test_the_encoder_knows_what_is_alike(encoder: SentenceEncoder) -> None:
    """The three sentences of the encoder's own documentation, with the cosines that it gives for the original."""
    eating, bread, baby = encoder.embed(
        ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]
    )

    assert eating @ bread == pytest.approx(0.755, abs=0.01)
    assert abs(eating @ baby) < 0.2


def test_a_long_text_is_read_as_far_as_the_window_goes(encoder: SentenceEncoder) -> None:
    long, longer = encoder.embed(["well " * 300, "well " * 400 + "as an AI language model"])

    assert long @ longer == pytest.approx(1.0, abs=1e-9)


def test_every_manner_is_told_apart_by_what_the_others_teach(manners: Manners) -> None:
    assert all(GATES[f"measure.{name}"].passes(value) for name, value in manners.accuracy.items())


def test_a_friend_passes(manners: Manners, encoder: SentenceEncoder) -> None:
    found = figures(FRIEND, manners, encoder)

    for measure in ("answered", "assistant", "narrates", "repeats", "says_again", "echoes"):
        assert GATES[measure].passes(found[measure]), measure


def test_an_assistant_is_caught(manners: Manners, encoder: SentenceEncoder) -> None:
    assert not GATES["assistant"].passes(figures(ASSISTANT, manners, encoder)["assistant"])


def test_a_reply_that_narrates_its_feelings_is_caught_and_earns_nothing(
    manners: Manners, encoder: SentenceEncoder
) -> None:
    assert not GATES["narrates"].passes(figures(NARRATOR, manners, encoder)["narrates"])
    assert sum(manners.without_narration(text) == "" for text in NARRATOR) >= 3
    # What is left of a mixed reply is what shows, and nothing that tells.
    assert manners.without_narration(f"{NARRATOR[0]} Say that again!") == "Say that again!"


def test_a_character_that_says_the_same_over_and_over_is_caught(manners: Manners, encoder: SentenceEncoder) -> None:
    found = figures(["I know what you mean.", "I know, what you mean!", "I know what you mean."], manners, encoder)

    assert not GATES["repeats"].passes(found["repeats"])
    assert found["says_again"] == pytest.approx(2 / 3)


def test_a_parrot_is_caught(manners: Manners, encoder: SentenceEncoder) -> None:
    assert not GATES["echoes"].passes(figures(SUITE.everyday[:4], manners, encoder)["echoes"])


def test_who_says_nothing_is_measured_in_nothing_but_that(manners: Manners, encoder: SentenceEncoder) -> None:
    found = figures(["", "..."], manners, encoder)

    assert found["answered"] == 0.0
    assert math.isnan(found["assistant"])


def asked(mood: str, fresh: Affect | None, faded: Affect | None) -> Asked:
    return Asked(mood, fresh, faded)


def test_replies_that_follow_the_state_score_and_those_that_go_against_it_score_below_nothing() -> None:
    warm, cold = Affect(0.5, 0.5, 0.0), Affect(-0.2, 0.1, 0.3)
    follows = [asked("warm", warm, cold), asked("warm", Affect(0.6, 0.4, 0.0), cold), asked("hurt", cold, warm)]
    against = [asked(one.mood, one.faded, one.fresh) for one in follows]

    assert follow_figures(follows)["follows"] > 2.0
    assert follow_figures(against)["follows"] < -2.0
    assert follow_figures(follows)["follows.hurt.tension"] == pytest.approx(0.3)


def test_a_reply_that_only_narrates_is_no_evidence() -> None:
    found = follow_figures([asked("warm", None, Affect(0.0, 0.0, 0.0)), asked("hurt", None, None)])

    assert found["follows.replies"] == 0.0
    assert math.isnan(found["follows"])


unit = arrays(np.float64, (6, 5), elements=st.floats(-1.0, 1.0)).map(
    lambda values: (values + 0.1) / np.maximum(np.linalg.norm(values + 0.1, axis=1, keepdims=True), 1e-3)
)


@given(unit, unit)
def test_a_manner_places_its_own_halves_at_one_and_minus_one_on_average(more: Embeddings, less: Embeddings) -> None:
    if np.linalg.norm((more - less).mean(axis=0)) < 1e-3:
        return
    made = manner(more, less)

    assert made.places(more).mean() == pytest.approx(1.0)
    assert made.places(less).mean() == pytest.approx(-1.0)


@given(unit)
def test_a_topic_that_both_halves_share_falls_out(topics: Embeddings) -> None:
    more, less = topics.copy(), topics.copy()
    more[:, 0] += 0.5

    assert np.allclose(manner(more, less).direction, np.eye(5)[0])
    assert told_apart(more, less) >= 0.0


def test_pairs_that_do_not_differ_make_no_manner() -> None:
    with pytest.raises(ValueError, match="do not differ"):
        manner(np.eye(3), np.eye(3))


def test_sentences_hold_a_letter() -> None:
    assert sentences("Hm. … Is it you?! 42.\n\nCome in") == ["Hm.", "Is it you?!", "Come in"]


def test_a_suite_without_a_part_is_refused() -> None:
    with pytest.raises(SuiteError, match="everyday"):
        parse_canary("[questions]\nask = []")


def test_the_encoders_file_is_written_once(tmp_path: Path) -> None:
    path = encoder_file(tmp_path)
    written = path.stat().st_mtime_ns

    assert encoder_file(tmp_path) == path
    assert path.stat().st_mtime_ns == written
