"""Several conversations with one embedded model: none of them pushes the others out."""

from __future__ import annotations

from collections.abc import Iterator

import llama_cpp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from limbic.runtime.models import find_model
from services.living_llm.engine import Engine, EngineState, GenerationAbortedError, common_prefix
from services.living_llm.sessions import Sessions, StateStore

MODEL = find_model("smollm2-135m-instruct")
MIB = 1024 * 1024


def state(tokens: list[int], size: int, adapter: str = "") -> EngineState:
    return EngineState(tuple(tokens), adapter, np.zeros(size, np.uint8))


KEEP = st.tuples(
    st.sampled_from("abcdef"), st.lists(st.integers(0, 2), max_size=6), st.integers(0, 120), st.sampled_from(["", "x"])
)


@given(steps=st.lists(KEEP, max_size=30), limit=st.integers(0, 300), prompt=st.lists(st.integers(0, 2), max_size=6))
def test_the_bound_holds_and_the_best_is_found(
    steps: list[tuple[str, list[int], int, str]], limit: int, prompt: list[int]
) -> None:
    store = StateStore(limit)
    model: dict[str, EngineState] = {}
    for session_id, tokens, size, adapter in steps:
        store.keep(session_id, kept := state(tokens, size, adapter))
        model.pop(session_id, None)
        if size <= limit:
            model[session_id] = kept
            while sum(each.size for each in model.values()) > limit:
                del model[next(iter(model))]

        assert store.bytes == sum(each.size for each in model.values()) <= limit

    _, known = store.best("x", prompt)
    expected = [common_prefix(each.tokens, prompt) for each in model.values() if each.adapter == "x"]
    assert known == max(expected, default=0)


def test_what_was_used_goes_last() -> None:
    store = StateStore(100)
    store.keep("a", state([1, 1], 50))
    store.keep("b", state([2, 2], 50))
    store.best("", [1, 1, 1])

    evicted = store.keep("c", state([3, 3], 50))

    assert evicted == 1
    assert [store.best("", [number])[1] for number in (1, 2, 3)] == [1, 0, 1]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(MODEL.path, context_tokens=1024, threads=1)
    yield made
    made.close()


PERSONA = (
    "This is a chat between two good friends, Friend and Ada. They write short, plain messages about their days.\n"
)
FIRST = {
    "a": "Friend: I went to the market, and I bought bread, cheese and a basket of ripe plums.\nAda:",
    "b": "Friend: The train was late again, so I read half of my book at the station.\nAda:",
}
MORE = " That sounds nice.\nFriend: It was. What shall we do tomorrow?\nAda:"


def turn(engine: Engine, sessions: Sessions, session_id: str, text: str) -> int:
    """Bring the context to the end of a text and return how many tokens had to be computed for it."""
    prompt = engine.vocabulary.tokens(text, control=False)
    sessions.enter(engine, session_id, "", prompt)
    return len(prompt) - engine.evaluate(prompt)


def logits(engine: Engine) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    pointer = llama_cpp.llama_get_logits_ith(engine._context, -1)
    return np.ctypeslib.as_array(pointer, (engine.vocabulary.size,)).copy()


def restored() -> float:
    return REGISTRY.get_sample_value("limbic_llm_session_switches_total", {"outcome": "restored"}) or 0.0


def test_interleaved_conversations_compute_only_what_is_new(engine: Engine) -> None:
    sessions = Sessions(64 * MIB)
    new = len(engine.vocabulary.tokens(MORE, control=False))
    before = restored()

    for session_id, text in FIRST.items():
        turn(engine, sessions, session_id, PERSONA + text)
    second = {
        session_id: turn(engine, sessions, session_id, PERSONA + text + MORE) for session_id, text in FIRST.items()
    }
    after_restoring = logits(engine)

    assert max(second.values()) <= new + 1
    assert restored() == before + 2
    assert (REGISTRY.get_sample_value("limbic_llm_session_state_bytes") or 0.0) > 0
    fresh = Engine(MODEL.path, context_tokens=1024, threads=1)
    try:
        fresh.evaluate(fresh.vocabulary.tokens(PERSONA + FIRST["b"] + MORE, control=False))
        # Not the same bits: the same tokens were computed in other batches.
        assert np.abs(logits(fresh) - after_restoring).max() < 0.05 * np.abs(after_restoring).max()
    finally:
        fresh.close()


def test_without_room_they_are_computed_again(engine: Engine) -> None:
    sessions = Sessions(0)
    for session_id, text in FIRST.items():
        turn(engine, sessions, session_id, PERSONA + text)

    computed = turn(engine, sessions, "a", PERSONA + FIRST["a"] + MORE)

    assert computed > len(engine.vocabulary.tokens(FIRST["a"] + MORE, control=False)) - 4


def test_a_fork_finds_what_the_conversation_it_came_from_has_computed(engine: Engine) -> None:
    sessions = Sessions(64 * MIB)
    turn(engine, sessions, "a", PERSONA + FIRST["a"])
    turn(engine, sessions, "other", "Something else entirely. " * 20)

    computed = turn(engine, sessions, "fork of a", PERSONA + FIRST["a"] + MORE)

    assert computed <= len(engine.vocabulary.tokens(MORE, control=False)) + 1


def test_a_state_survives_an_abort_in_between(engine: Engine) -> None:
    sessions = Sessions(64 * MIB)
    turn(engine, sessions, "a", PERSONA + FIRST["a"])
    engine.abort.set()
    with pytest.raises(GenerationAbortedError):
        turn(engine, sessions, "b", PERSONA + FIRST["b"])
    engine.abort.clear()

    computed = turn(engine, sessions, "a", PERSONA + FIRST["a"] + MORE)

    assert computed <= len(engine.vocabulary.tokens(MORE, control=False)) + 1
