"""LoRA adapters by persona, on the real SmolLM2 with a small adapter made here."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from limbic.runtime.llama import LlamaError
from limbic.runtime.models import ModelFile, ModelFileError, find_model
from limbic.runtime.settings import LlmSettings, PersonaAdapter
from services.living_llm.adapters import Adapter, adapter_of
from services.living_llm.assembly import make_upstreams
from services.living_llm.embedded import EmbeddedUpstream
from services.living_llm.engine import Engine
from services.living_llm.speech import Delta, Finished, Message, Role, Sampling, Speech

MODEL = find_model("smollm2-135m-instruct")
GREEDY = Sampling(0.0, 1.0, 0.0, 0.0, 12)
LAYERS, WIDTH, FORWARD, RANK = 30, 576, 1536, 4


def write_adapter(path: Path, architecture: str = "llama", seed: int = 0) -> ModelFile:
    """Write a LoRA adapter of random matrices, large enough to change what is said."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0 * RANK)
    random = np.random.default_rng(seed)
    for layer in range(LAYERS):
        down = random.normal(0.0, 0.02, (RANK, FORWARD)).astype(np.float32)
        up = random.normal(0.0, 0.05, (WIDTH, RANK)).astype(np.float32)
        writer.add_tensor(f"blk.{layer}.ffn_down.weight.lora_a", down)
        writer.add_tensor(f"blk.{layer}.ffn_down.weight.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return ModelFile(path.name, path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def adapter_file(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "lora.gguf")


@pytest.fixture
def engine(adapter_file: ModelFile) -> Iterator[Engine]:
    made = Engine(MODEL.path, context_tokens=256, threads=1)
    made.add_adapter("pirate", adapter_file.path, 1.0)
    yield made
    made.close()


def continued(engine: Engine) -> tuple[int, list[int]]:
    prompt = engine.vocabulary.tokens("The old lighthouse stood at the end of the pier", control=False)
    return engine.evaluate(prompt), list(itertools.islice(engine.sample(GREEDY), 24))


def test_an_adapter_changes_what_is_said_and_without_it_all_is_as_before(engine: Engine) -> None:
    _, plain = continued(engine)
    engine.use_adapter("pirate")
    known, adapted = continued(engine)
    known_again, adapted_again = continued(engine)
    engine.use_adapter("")
    known_plain, plain_again = continued(engine)

    # What was computed under one is not taken for the other's.
    assert known == known_plain == 0
    assert known_again > 0
    assert adapted == adapted_again != plain
    assert plain_again == plain


def test_a_state_of_another_adapter_is_refused(engine: Engine) -> None:
    continued(engine)
    state = engine.state()
    engine.use_adapter("pirate")

    with pytest.raises(ValueError, match="adapter"):
        engine.restore(state)


def test_an_adapter_of_another_architecture_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(LlamaError, match="could not load the adapter"):
        engine.add_adapter("other", write_adapter(tmp_path / "other.gguf", "gemma3").path, 1.0)


def test_the_first_that_fits_a_persona_counts() -> None:
    file = ModelFile("f", Path("f"), "")
    adapters = [Adapter("one", "You are Ada", file, 1.0), Adapter("two", "You are", file, 1.0)]

    assert adapter_of("You are Ada, a friend.", adapters) == "one"
    assert adapter_of("You are Ben.", adapters) == "two"
    assert adapter_of("A cat speaks.", adapters) == ""


async def reply(upstream: EmbeddedUpstream, persona: str, session_id: str, *texts: str) -> tuple[str, Finished]:
    messages = tuple(Message(list(Role)[number % 2], text) for number, text in enumerate(texts))
    events = [event async for event in upstream.generate(Speech(session_id, persona, messages, "", GREEDY))]
    finished = events[-1]
    assert isinstance(finished, Finished)
    return "".join(event.text for event in events if isinstance(event, Delta)), finished


async def test_two_characters_share_a_model_and_neither_loses_what_it_knows(adapter_file: ModelFile) -> None:
    settings = LlmSettings(
        context_tokens=1024,
        adapters=(PersonaAdapter(persona="You are Grim", file=adapter_file.path, sha256=adapter_file.sha256),),
    )
    (upstream,) = make_upstreams(settings)
    assert isinstance(upstream, EmbeddedUpstream)
    await upstream.start()
    try:
        said = {}
        for persona in ("You are Ada, a friend.", "You are Grim, a friend."):
            said[persona], _ = await reply(upstream, persona, persona[8:12], "Hello! How was your day?")
        for persona, first in said.items():
            texts = ("Hello! How was your day?", first, "And what are you doing now?")
            _, finished = await reply(upstream, persona, persona[8:12], *texts)
            assert finished.usage.prompt_tokens - finished.usage.cached_tokens < 40
    finally:
        await upstream.stop()


async def test_an_adapter_that_was_changed_is_not_loaded(tmp_path: Path) -> None:
    file = write_adapter(tmp_path / "lora.gguf")
    file.path.write_bytes(file.path.read_bytes()[:-1] + b"\xff")
    adapter = PersonaAdapter(persona="You", file=file.path, sha256=file.sha256)
    (upstream,) = make_upstreams(LlmSettings(context_tokens=256, adapters=(adapter,)))
    try:
        with pytest.raises(ModelFileError, match="expected"):
            await upstream.start()
    finally:
        await upstream.stop()
