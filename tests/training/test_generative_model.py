"""The trained graph is the served graph: trees of questions, converted checkpoints, merged adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from limbic.runtime.llama import AbortFlag
from services.affect_head.generative.head import GenerativeHead
from tests.affect_head.tiny_language_model import head_fields, vocabulary, write_language_model
from tests.training.tiny_qwen3 import write_tiny_qwen3
from training.adapter import load_adapter, save_adapter
from training.errors import ModelError
from training.generative.adapter import adapter_from_training
from training.generative.batches import TreeTable, tokenized
from training.generative.convert import convert_folder
from training.generative.network import (
    DigitNetwork,
    as_arrays,
    digit_loss,
    load_language_model,
    soft_targets,
)
from training.generative.recipe import WORDS, GenerativeRecipe
from training.generative.tensors import gguf_tensor_name, in_llama_order
from training.gguf_file import Field, GgufModel, read_gguf, write_gguf
from training.merge import merge
from training.rows import Row

RECIPE = replace(GenerativeRecipe(), bfloat16=False, lora_rank=4, lora_alpha=8)
TEXTS = ("i love you", "the other day", "no", "they gathered there, and then they went home again")
ROWS = [Row(key=f"{n:016x}", text=text, source="probes", provenance=()) for n, text in enumerate(TEXTS)]


def table_of(path: Path) -> TreeTable:
    return tokenized(path, ROWS, WORDS, 64)


def network_of(path: Path, levels: tuple[int, ...]) -> DigitNetwork:
    torch.manual_seed(5)
    network = DigitNetwork(load_language_model(path, bfloat16=False), RECIPE, levels)
    # PEFT starts B at zero, so that a fresh adapter changes nothing.
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_B" in name:
                value.normal_(0, 0.05)
    network.eval()
    return network


def served_digits(path: Path) -> np.ndarray:
    head = GenerativeHead(path, sha256="", threads=1)
    reader = head.open_reader()
    digits = np.stack([reader.digits(text, AbortFlag()) for text in TEXTS])
    reader.close()
    head.close()
    return digits


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("base") / f"{request.param}.gguf", request.param)


def test_a_branch_of_a_tree_sees_its_trunk_and_nothing_else(base: Path) -> None:
    table = table_of(base)
    network = network_of(base, table.prompt.levels)
    model = network.adapted

    with torch.inference_mode():
        trees = network(table.batch(np.arange(len(ROWS)))).numpy()
        for row, message in enumerate(table.messages):
            for axis, question in enumerate(table.prompt.questions):
                ids = [*table.prompt.opening, *message, *question]
                alone = model(input_ids=torch.tensor([ids])).logits[0, -1, list(table.prompt.levels)].numpy()
                assert trees[row, axis] == pytest.approx(alone, abs=2e-4)


def test_a_merged_adapter_answers_in_llama_cpp_as_it_did_in_pytorch(base: Path, tmp_path: Path) -> None:
    table = table_of(base)
    network = network_of(base, table.prompt.levels)
    with torch.inference_mode():
        trained = network(table.batch(np.arange(len(ROWS)))).numpy()
    config = network.adapted.get_base_model().config
    model = read_gguf(base)
    adapter = adapter_from_training(
        as_arrays(network.trained_state()),
        2.0,
        model.architecture,
        config.num_attention_heads,
        config.num_key_value_heads,
    )
    save_adapter(tmp_path / "adapter.safetensors", adapter)

    merged = merge(model.tensors, load_adapter(tmp_path / "adapter.safetensors", head_tensors=()))

    fields = {key: _field(value) for key, value in head_fields().items() if not key.startswith("affect.generative")}
    fields |= {
        "affect.generative.opening": Field.text(WORDS.opening),
        "affect.generative.closing": Field.text(WORDS.closing),
        "affect.generative.questions": _field(list(WORDS.questions)),
        "affect.generative.levels": _field(list(WORDS.levels)),
        "affect.generative.reason_tokens": Field.u32(0),
    }
    write_gguf(tmp_path / "merged.gguf", GgufModel(model.architecture, model.fields | fields, merged), "F32")
    # The adapter is float16 in its file, keys and values in llama.cpp's memory.
    assert served_digits(tmp_path / "merged.gguf") == pytest.approx(trained, abs=0.03)
    with pytest.raises(ModelError):
        load_adapter(tmp_path / "adapter.safetensors")


def _field(value: object) -> Field:
    from gguf import GGUFValueType

    if isinstance(value, list):
        return Field.array(value, GGUFValueType.STRING if isinstance(value[0], str) else GGUFValueType.FLOAT32)
    if isinstance(value, str):
        return Field.text(value)
    return Field.f32(value) if isinstance(value, float) else Field.u32(int(str(value)))


@pytest.mark.parametrize("tied", [True, False])
def test_a_converted_checkpoint_answers_in_llama_cpp_as_in_pytorch(tmp_path: Path, tied: bool) -> None:
    model = write_tiny_qwen3(tmp_path, tied=tied)
    converted = convert_folder(tmp_path)
    fields = {key: _field(value) for key, value in head_fields().items()}
    write_gguf(tmp_path / "model.gguf", GgufModel("qwen3", converted.fields | fields, converted.tensors), "F32")

    digits = served_digits(tmp_path / "model.gguf")

    tokens = vocabulary()
    levels = [tokens.index(str(level)) for level in range(1, 10)]
    # Without "th" and "he" every byte is a token.
    ids = [tokens.index(tokens[byte]) for byte in b"How?\nno\npleasant:"]
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, -1, levels].numpy()
    assert ("output.weight" in converted.tensors) is not tied
    assert digits[TEXTS.index("no"), 0] == pytest.approx(expected, abs=5e-3)


def test_llamas_queries_are_reordered_for_llama_cpp(tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary()), hidden_size=256, intermediate_size=512, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True,
            rms_norm_eps=1e-6, initializer_range=0.08,
        )
    ).eval()  # fmt: skip
    tensors = {}
    for name, value in model.state_dict().items():
        if name != "lm_head.weight":
            array = value.numpy()
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                array = in_llama_order(array, 4 if "q_proj" in name else 2).astype(np.float32)
            tensors[gguf_tensor_name(name)] = array
    other = read_gguf(write_language_model(tmp_path / "other.gguf", "llama", head_fields()))
    write_gguf(tmp_path / "model.gguf", GgufModel("llama", other.fields, tensors), "F32")

    digits = served_digits(tmp_path / "model.gguf")

    tokens = vocabulary()
    ids = [tokens.index(tokens[byte]) for byte in b"How?\nno\ntense:"]
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, -1].numpy()
    expected = logits[[tokens.index(str(level)) for level in range(1, 10)]]
    assert digits[TEXTS.index("no"), 2] == pytest.approx(expected, abs=5e-3)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=4), st.integers(2, 12))
def test_a_soft_target_has_the_label_as_its_mean_and_two_digits_at_most(labels: list[float], levels: int) -> None:
    targets = soft_targets(torch.tensor(labels, dtype=torch.float64), levels).numpy()

    assert targets.sum(-1) == pytest.approx(1)
    assert targets @ np.linspace(-1, 1, levels) == pytest.approx(labels, abs=1e-9)
    assert ((targets > 1e-12).sum(-1) <= 2).all()


def test_the_loss_learns_only_from_axes_that_a_row_carries() -> None:
    logits = torch.zeros(2, 3, 9, requires_grad=True)
    axes = torch.tensor([[0.5, float("nan"), float("nan")], [float("nan"), float("nan"), -1.0]])

    loss = digit_loss(logits, axes)
    loss.backward()

    assert loss.item() == pytest.approx(np.log(9))
    touched = (logits.grad.abs().sum(-1) > 0).tolist()
    assert touched == [[True, False, False], [False, False, True]]


def test_a_folder_with_an_adapter_only_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")

    with pytest.raises(ModelError, match=r"holds an adapter only .*merge it with PEFT's `merge_and_unload`"):
        convert_folder(tmp_path)


def test_a_folder_of_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bloom"}')

    with pytest.raises(ModelError, match="is of type 'bloom'; only qwen3 folders can be converted"):
        convert_folder(tmp_path)


def test_a_tensor_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ModelError, match="rotary_emb"):
        gguf_tensor_name("model.layers.0.self_attn.rotary_emb.inv_freq")
    with pytest.raises(ModelError, match="embed_tokens"):
        adapter_from_training({"base.model.embed_tokens.lora_A.weight": np.zeros((1, 1))}, 2.0, "qwen3", 4, 2)
