"""Control vectors: made from the real SmolLM2, written, read, refused, and what they do to its replies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from limbic.runtime.models import ModelFile, find_model
from services.living_llm.control_vectors import (
    AXES,
    ControlVector,
    ControlVectorError,
    Steering,
    load_steering,
    read_vector,
)
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.engine import Engine
from services.living_llm.expression import Band, Expression, Level, steering
from services.living_llm.expression_table import HORMONES, load_table
from services.living_llm.speech import Delta, Finished, Message, Role, Sampling, Speech
from services.living_llm.steer_build import Contrast, build, load_contrasts, steered_layers

MODEL = find_model("smollm2-135m-instruct")
SHIPPED = Path("services/living_llm/vectors/smollm2-135m-instruct")
GREEDY = Sampling(0.0, 1.0, 0.0, 0.0, 16)
LAYERS, WIDTH = 30, 576


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(MODEL.path, context_tokens=512, threads=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shipped() -> Steering:
    return load_steering(SHIPPED, model_sha256=MODEL.sha256, layers=LAYERS, width=WIDTH)


def vector(axis: str = "warmth", sha256: str = MODEL.sha256, layer: int = 3, width: int = WIDTH) -> ControlVector:
    return ControlVector(axis, sha256, "llama", 1, {layer: np.arange(width, dtype=np.float32)})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    vector("energy").write(tmp_path / "energy.gguf")

    read = read_vector(tmp_path / "energy.gguf")

    assert replace(read, directions={}) == replace(vector("energy"), directions={})
    np.testing.assert_array_equal(read.directions[3], vector().directions[3])


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    vector(sha256="0" * 64).write(tmp_path / "warmth.gguf")

    with pytest.raises(
        ControlVectorError, match=f"of the model 000000000000…, and not for warmth of {MODEL.sha256[:12]}"
    ):
        load_steering(tmp_path, model_sha256=MODEL.sha256, layers=LAYERS, width=WIDTH)


def test_an_axis_under_anothers_name_is_refused(tmp_path: Path) -> None:
    vector("energy").write(tmp_path / "warmth.gguf")

    with pytest.raises(ControlVectorError, match="made for energy"):
        load_steering(tmp_path, model_sha256=MODEL.sha256, layers=LAYERS, width=WIDTH)


def test_a_folder_without_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlVectorError, match=r"holds none of warmth\.gguf"):
        load_steering(tmp_path, model_sha256=MODEL.sha256, layers=LAYERS, width=WIDTH)


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"GGUF" + b"\xff" * 64, b"no model" * 100, MODEL.path.read_bytes()[:400]]
)
def test_what_is_no_control_vector_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "warmth.gguf").write_bytes(content)

    with pytest.raises(ControlVectorError, match="no control vector of ours"):
        read_vector(tmp_path / "warmth.gguf")


@pytest.mark.parametrize(("layer", "width"), [(0, WIDTH), (LAYERS, WIDTH), (3, WIDTH - 1)])
def test_a_vector_that_does_not_fit_is_refused(layer: int, width: int) -> None:
    with pytest.raises(ControlVectorError, match=f"direction.{layer} is bad"):
        Steering({"warmth": vector(layer=layer, width=width)}, layers=LAYERS, width=WIDTH)


def test_a_vector_that_holds_what_is_no_number_is_refused() -> None:
    bad = replace(vector(), directions={3: np.full(WIDTH, np.nan, np.float32)})

    with pytest.raises(ControlVectorError, match=r"direction\.3 is bad"):
        Steering({"warmth": bad}, layers=LAYERS, width=WIDTH)


@given(first=st.floats(-4, 4, width=32), second=st.floats(-4, 4, width=32))
def test_mixing_is_linear_and_nothing_is_none(shipped: Steering, first: float, second: float) -> None:
    mixed = shipped.mix({"warmth": first, "tension": second, "unknown": 1.0})

    parts = [part for part in (shipped.mix({"warmth": first}), shipped.mix({"tension": second})) if part is not None]
    assert (mixed is None) == (not parts)
    if mixed is not None:
        assert mixed.shape == (LAYERS - 1, WIDTH)
        np.testing.assert_allclose(mixed, sum(parts), atol=1e-3)


def levels(**distances: float) -> Expression:
    return Expression(tuple(Level(name, 50.0 + points, 50.0, Band.STEADY) for name, points in distances.items()))


@pytest.mark.parametrize("name", HORMONES)
def test_each_hormone_moves_each_vector_one_way_and_never_out_of_bounds(name: str) -> None:
    table = load_table()
    for axis in AXES:
        parameter = getattr(table.steering, axis)
        effect = getattr(parameter.effects, name)
        strengths = [dict(steering(table, levels(**{name: points}))).get(axis, 0.0) for points in range(-50, 51, 10)]

        assert strengths == sorted(strengths, reverse=effect < 0)
        assert parameter.low <= min(strengths) <= max(strengths) <= parameter.high
        assert len(set(strengths)) == 1 if effect == 0 else len(set(strengths)) > 1


def test_at_rest_nothing_is_steered() -> None:
    assert steering(load_table(), levels(**dict.fromkeys(HORMONES, 0.0))) == ()


def continued(engine: Engine, prompt: list[int], with_vector: NDArray[np.float32] | None) -> tuple[int, list[int]]:
    return engine.evaluate(prompt, with_vector), list(itertools.islice(engine.sample(GREEDY), 8))


def test_steering_acts_from_the_prompts_last_token_on_and_leaves_nothing_behind(
    engine: Engine, shipped: Steering
) -> None:
    prompt = engine.vocabulary.tokens("Friend: I went to the shop this morning.\nAda:", control=False)
    _, plain = continued(engine, prompt, None)
    known, steered = continued(engine, prompt, shipped.mix({"tension": 3.0}))
    known_after = list(engine.known)
    _, steered_again = continued(engine, prompt, shipped.mix({"tension": 3.0}))
    known_plain, plain_again = continued(engine, prompt, None)

    # The prompt's beginning is computed once for all of them.
    # Unsteered the last two are evaluated together, steered the last one by itself.
    assert (known, known_plain) == (len(prompt) - 1, len(prompt) - 2)
    assert known_after == prompt[:-1]
    assert steered == steered_again != plain
    assert plain_again == plain


def test_steering_of_another_shape_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="shape"):
        engine.evaluate([1, 2, 3], np.zeros((LAYERS, WIDTH), np.float32))


def test_what_is_built_points_from_the_low_to_the_high(tmp_path: Path) -> None:
    contrasts = {"warmth": load_contrasts()["warmth"][:4]}
    seen: list[str] = []
    built = build(MODEL, contrasts, threads=1, prompt_format="transcript", on_pair=seen.append)[0]
    built.write(tmp_path / "warmth.gguf")
    loaded = load_steering(tmp_path, model_sha256=MODEL.sha256, layers=LAYERS, width=WIDTH)

    assert seen == ["warmth"] * 4
    assert sorted(built.directions) == list(steered_layers(LAYERS)) == list(range(8, 21))
    assert loaded.axes == ("warmth",)
    # The same contrasts the other way round are the same direction the other way round.
    turned = [Contrast(pair.said, pair.low, pair.high) for pair in contrasts["warmth"]]
    opposite = build(MODEL, {"warmth": turned}, threads=1, prompt_format="transcript", on_pair=seen.append)[0]
    for layer, direction in built.directions.items():
        assert np.linalg.norm(opposite.directions[layer] + direction) < 0.01 * np.linalg.norm(direction)
    # Four contrasts know the direction already that all of them together give.
    for layer, direction in read_vector(SHIPPED / "warmth.gguf").directions.items():
        cosine = (
            direction @ built.directions[layer] / np.linalg.norm(direction) / np.linalg.norm(built.directions[layer])
        )
        assert cosine > 0.5


def test_the_contrasts_are_many_and_differ() -> None:
    for pairs in load_contrasts().values():
        assert len(pairs) >= 20
        assert len({pair.said for pair in pairs}) == len(pairs)
        assert all(pair.high != pair.low for pair in pairs)


async def test_levels_steer_a_reply_through_the_upstream_and_the_next_turn_forgets_it() -> None:
    upstream = EmbeddedUpstream(MODEL, context_tokens=1024, threads=1, queue=1, steering_dir=SHIPPED)
    await upstream.start()
    try:
        texts: dict[float, list[str]] = {}
        for strength in (0.0, 3.0, 0.0):
            acting = (("tension", strength),) if strength else ()
            messages = (Message(Role.USER, "I went to the shop this morning."),)
            events = [
                event async for event in upstream.generate(Speech("s", "You are Ada.", messages, "", GREEDY, acting))
            ]
            text = "".join(event.text for event in events if isinstance(event, Delta))
            finished = events[-1]
            assert isinstance(finished, Finished)
            texts.setdefault(strength, []).append(text)
    finally:
        await upstream.stop()

    assert texts[0.0][0] == texts[0.0][1] != texts[3.0][0]


async def test_a_service_with_vectors_of_another_model_does_not_start(tmp_path: Path) -> None:
    vector(sha256="0" * 64).write(tmp_path / "warmth.gguf")
    file = ModelFile(MODEL.name, MODEL.path, MODEL.sha256)
    upstream = EmbeddedUpstream(file, context_tokens=256, threads=1, queue=1, steering_dir=tmp_path)
    try:
        with pytest.raises(ControlVectorError):
            await upstream.start()
    finally:
        await upstream.stop()
