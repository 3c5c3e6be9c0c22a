"""The templates that are shipped for models without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from limbic.runtime.models import find_model
from services.living_llm.engine import Engine
from services.living_llm.formats import PromptFormatError, WrittenPrompt, choose_format
from services.living_llm.speech import Message, Role, Sampling, Speech
from services.living_llm.templates import STOPS, TEMPLATES

MODEL = find_model("smollm2-135m-instruct")
MESSAGES = (Message(Role.USER, "Hi"), Message(Role.ASSISTANT, "Hey."), Message(Role.USER, "So?"))
EXPECTED = {
    "gemma": "{bos}<start_of_turn>user\n{system}\n\nHi<end_of_turn>\n<start_of_turn>model\nHey.<end_of_turn>\n"
    "<start_of_turn>user\nSo?\n\n⟦Be warm.⟧<end_of_turn>\n<start_of_turn>model\n",
    "llama-3": "{bos}<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHey.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "So?\n\n⟦Be warm.⟧<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "{bos}[INST] {system}\n\nHi [/INST] Hey.{eos}[INST] So?\n\n⟦Be warm.⟧ [/INST]",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(MODEL.path, context_tokens=64, threads=1)
    yield made
    made.close()


def written(engine: Engine, wanted: str, template: str | None = None) -> WrittenPrompt:
    speech = Speech("", "You are Ada.", MESSAGES, "Be warm.", Sampling(0.0, 1.0, 0.0, 0.0, 1))
    return choose_format(wanted, template, engine.vocabulary).write(speech, MESSAGES)


def test_chatml_is_what_a_model_that_brings_it_along_writes(engine: Engine) -> None:
    assert written(engine, "chatml").text == written(engine, "chat-template", engine.chat_template).text


@pytest.mark.parametrize("name", EXPECTED)
def test_a_template_writes_what_its_models_were_trained_on(engine: Engine, name: str) -> None:
    system = written(engine, "chatml").text.partition("system\n")[2].partition("<|im_end|>")[0]
    assert system.startswith("You are Ada.")

    prompt = written(engine, name)

    vocabulary = engine.vocabulary
    expected = EXPECTED[name].format(bos=vocabulary.bos_text, eos=vocabulary.eos_text, system=system)
    assert prompt.text == expected
    assert prompt.stops == STOPS[name]


def test_a_model_without_a_template_is_told_which_ones_there_are(engine: Engine) -> None:
    with pytest.raises(PromptFormatError, match=f"trained on: {', '.join(TEMPLATES)}"):
        written(engine, "chat-template")
