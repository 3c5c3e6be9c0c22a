from __future__ import annotations

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.living_llm.expression import (
    Band,
    Expression,
    Level,
    Mood,
    Wishes,
    sampling,
    state_words,
    wordless_moods,
)
from services.living_llm.expression_table import HORMONES, ExpressionTableError, load_table, parse_table

TABLE = load_table()
SOURCE = resources.files("services.living_llm").joinpath("expression.toml").read_text("utf-8")
PARAMETERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens")
BASELINE = 50.0


def felt(**values: float) -> Expression:
    return Expression(levels=tuple(Level(name, value, BASELINE, Band.STEADY) for name, value in values.items()))


def levels() -> st.SearchStrategy[Expression]:
    number = st.floats(0.0, 100.0)
    level = st.tuples(number, number, st.sampled_from(Band))
    return st.builds(
        lambda drawn, moods, style: Expression(
            tuple(Level(name, *one) for name, one in zip(HORMONES, drawn, strict=False)),
            tuple(Mood(name, intensity) for name, intensity in moods.items()),
            style,
        ),
        st.lists(level, max_size=5),
        st.dictionaries(st.sampled_from([*TABLE.moods, "unheard-of"]), st.floats(-1.0, 1.0)),
        st.sampled_from([*TABLE.styles, ""]),
    )


@given(expression=levels())
def test_sampling_stays_inside_its_bounds_and_below_the_styles_ceiling(expression: Expression) -> None:
    chosen = sampling(TABLE, expression, Wishes())

    for name in PARAMETERS:
        row = getattr(TABLE.sampling, name)
        assert row.low <= getattr(chosen, name) <= row.high
    assert chosen.max_tokens <= TABLE.styles[expression.style or TABLE.default_style].max_tokens


@given(expression=levels(), hormone=st.sampled_from(HORMONES), up=st.floats(0.0, 100.0))
def test_each_effect_has_one_sign_wherever_the_other_levels_stand(
    expression: Expression, hormone: str, up: float
) -> None:
    others = tuple(level for level in expression.levels if level.name != hormone)
    low = Expression((*others, Level(hormone, 0.0, BASELINE, Band.STEADY)), style="detailed")
    high = Expression((*others, Level(hormone, up, BASELINE, Band.STEADY)), style="detailed")
    before, after = sampling(TABLE, low, Wishes()), sampling(TABLE, high, Wishes())

    for name in PARAMETERS:
        effect = getattr(getattr(TABLE.sampling, name).effects, hormone)
        moved = getattr(after, name) - getattr(before, name)
        assert moved * effect >= 0.0
        assert effect != 0.0 or moved == 0.0


@given(expression=levels())
def test_the_words_hold_no_number_no_hormone_and_no_delimiter(expression: Expression) -> None:
    words = state_words(TABLE, expression)

    assert re.search(r"[0-9()\[\]⟦⟧\n]", words) is None
    assert not any(hormone in words.lower() for hormone in HORMONES)
    assert len(words) < 400


def test_at_rest_nothing_is_said_and_every_parameter_is_its_base() -> None:
    rest = Expression(
        levels=tuple(Level(name, 37.0, 37.0, Band.STEADY) for name in HORMONES),
        moods=tuple(Mood(name, 0.1) for name in TABLE.moods),
    )

    chosen = sampling(TABLE, rest, Wishes())

    assert state_words(TABLE, rest) == ""
    assert [getattr(chosen, name) for name in PARAMETERS] == [getattr(TABLE.sampling, name).base for name in PARAMETERS]


def test_effects_are_linear_in_the_distance_from_the_hormones_own_baseline() -> None:
    effect = TABLE.sampling.temperature.effects.cortisol
    base = TABLE.sampling.temperature.base

    for baseline in (20.0, 50.0):
        half = Level("cortisol", baseline + TABLE.full_distance / 2, baseline, Band.SURGING)
        chosen = sampling(TABLE, Expression(levels=(half,)), Wishes())
        assert chosen.temperature == pytest.approx(base + effect / 2)


def test_the_strongest_feelings_are_said_first_and_no_more_than_the_table_allows() -> None:
    expression = Expression(
        levels=(
            Level("dopamine", 57.0, 50.0, Band.RISING),
            Level("cortisol", 55.0, 30.0, Band.SURGING),
            Level("oxytocin", 25.0, 40.0, Band.CRASHING),
        ),
        moods=(Mood("unease", -0.7), Mood("drive", 0.26)),
    )

    words = state_words(TABLE, expression)

    assert words == "Be tense, short and on your guard; deeply calm; distant and closed."
    assert TABLE.most_words == 3


def test_the_style_adds_its_words_and_caps_the_length_without_lifting_it() -> None:
    tender = felt(oxytocin=100.0, dopamine=100.0)
    tense = felt(cortisol=100.0)

    assert state_words(TABLE, Expression(style="brief")) == TABLE.styles["brief"].words
    brief = sampling(TABLE, Expression(tender.levels, style="brief"), Wishes())
    assert brief.max_tokens == TABLE.styles["brief"].max_tokens
    short = sampling(TABLE, Expression(tense.levels, style="detailed"), Wishes())
    assert short.max_tokens < TABLE.sampling.max_tokens.base


def test_the_callers_wishes_win() -> None:
    wishes = Wishes(0.0, 1.0, 2.0, -2.0, 8000, ("END",), 7)

    chosen = sampling(TABLE, Expression(felt(cortisol=100.0).levels, style="brief"), wishes)

    assert (chosen.temperature, chosen.top_p, chosen.frequency_penalty, chosen.presence_penalty) == (
        0.0,
        1.0,
        2.0,
        -2.0,
    )
    assert (chosen.max_tokens, chosen.stop, chosen.seed) == (8000, ("END",), 7)


def test_moods_without_words_are_named_when_they_would_show() -> None:
    expression = Expression(moods=(Mood("longing", 0.9), Mood("awe", 0.1), Mood("unease", 0.9)))

    assert wordless_moods(TABLE, expression) == ["longing"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("most_words = 3", "most_words = 3\nsecret = 1"), "secret: Extra inputs are not permitted"),
        (("full_distance = 25.0", ""), "full_distance: Field required"),
        (("full_distance = 25.0", "full_distance = inf"), "full_distance: Input should be"),
        (("full_distance = 25.0", "full_distance = 0"), "full_distance: Input should be greater than 0"),
        (('fading = "relaxed"', ""), "words.cortisol.fading: Field required"),
        (('fading = "relaxed"', 'fading = ""'), "words.cortisol.fading: String should have at least 1 character"),
        (('fading = "relaxed"', 'fading = "relaxed (a lot)"'), "words.cortisol.fading: Value error, must be one line"),
        (('fading = "relaxed"', 'fading = "at 3 of 10"'), "words.cortisol.fading: Value error, must not hold a number"),
        (
            ('fading = "relaxed"', 'fading = "low Cortisol"'),
            "words.cortisol.fading: Value error, must not name a hormone",
        ),
        (("base = 0.7", "base = 1.7"), "sampling.temperature: Value error, must satisfy low <= base <= high"),
        (("high = 1.1", "high = 2.1"), "sampling: Value error, temperature: low and high must lie in"),
        (("cortisol = -0.15, serotonin", "adrenaline = -0.15, serotonin"), "sampling.temperature.effects.adrenaline"),
        (('default_style = "concise"', 'default_style = "epic"'), "default_style: no style is called 'epic'"),
        (("max_tokens = 80", "max_tokens = 0"), "styles.brief.max_tokens: Input should be greater than or equal to 1"),
        (("[styles.brief]", "[styles.brief"), "expression.toml: Expected"),
    ],
)
def test_a_bad_table_is_refused_with_key_and_reason(change: tuple[str, str], told: str) -> None:
    before, after = change
    assert before in SOURCE

    with pytest.raises(ExpressionTableError) as caught:
        parse_table(SOURCE.replace(before, after, 1))

    assert told in str(caught.value)
