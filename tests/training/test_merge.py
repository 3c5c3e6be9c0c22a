from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.adapter import Adapter, adapter_from_training, load_adapter, save_adapter
from training.errors import ModelError
from training.merge import gguf_tensor_name, load_base, merge

LAYER = "blk.0.attn_q"


def _adapter(a: np.ndarray, b: np.ndarray, scale: float = 2.0) -> Adapter:
    return Adapter({LAYER: (a, b)}, {"cls.bias": np.ones(3, dtype=np.float32)}, scale)


def _random(rank: int = 32, width: int = 96) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Draw a layer with factors whose sizes differ so widely that an ordinary float32 sum would lose digits."""
    random = np.random.default_rng(1)
    spread = 10.0 ** random.uniform(-6, 0, (rank, 1))
    a = (random.uniform(-1, 1, (rank, width)) * spread).astype(np.float16)
    b = random.uniform(-1, 1, (width, rank)).astype(np.float16)
    return {f"{LAYER}.weight": random.normal(size=(width, width)).astype(np.float32)}, a, b


def test_the_merge_is_the_same_in_every_order_of_summation() -> None:
    base, a, b = _random()
    merged = merge(base, _adapter(a, b))[f"{LAYER}.weight"]

    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(a))
        total = np.zeros(base[f"{LAYER}.weight"].shape)
        for place in order:
            total = total + np.outer(b[:, place].astype(float), a[place].astype(float))
        by_hand = (base[f"{LAYER}.weight"].astype(float) + 2.0 * total).astype(np.float32)
        assert (by_hand == merged).all()


def test_what_the_adapter_does_not_name_stays_and_the_head_is_added() -> None:
    base, a, b = _random()
    base["blk.0.attn_k.weight"] = np.ones((2, 2), dtype=np.float32)

    merged = merge(base, _adapter(a, b))

    assert (merged["blk.0.attn_k.weight"] == 1).all()
    assert merged["cls.bias"].tolist() == [1, 1, 1]
    assert {value.dtype for value in merged.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: _adapter(a, b, scale=1.5), "no power of two"),
        (lambda a, b: _adapter(a.astype(np.float32), b), "not float16"),
        (lambda a, b: _adapter(a * 0 + 8, b * 0 + 1), "too large"),
        (lambda a, b: _adapter(a * np.float16("nan"), b), "too large"),
        (lambda a, b: _adapter(a[:, :-1], b), "does not have in that shape"),
        (lambda a, b: Adapter({"blk.9.attn_q": (a, b)}, {}, 2.0), "blk.9.attn_q.weight, which the base does not have"),
    ],
)
def test_what_could_not_be_merged_exactly_is_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    base, a, b = _random()

    with pytest.raises(ModelError, match=message):
        merge(base, change(a, b))


def test_trained_tensors_become_an_adapter_without_the_auxiliary_rows(tmp_path: Path) -> None:
    path = "base_model.model.encoder.layer.3.attention.output.dense"
    state = {
        f"lora.{path}.lora_A.weight": np.full((4, 8), 1 / 3, dtype=np.float32),
        f"lora.{path}.lora_B.weight": np.ones((8, 4), dtype=np.float32),
        "dense.weight": np.ones((8, 8), dtype=np.float32), "dense.bias": np.ones(8, dtype=np.float32),
        "output.weight": np.ones((45, 8), dtype=np.float32), "output.bias": np.arange(45, dtype=np.float32),
    }  # fmt: skip

    adapter = adapter_from_training(state, 2.0)
    save_adapter(tmp_path / "adapter.safetensors", adapter)
    again = load_adapter(tmp_path / "adapter.safetensors")

    a, b = again.lora["blk.3.attn_output"]
    assert (a.dtype.name, b.dtype.name, a.tolist()) == ("float16", "float16", [[float(np.float16(1 / 3))] * 8] * 4)
    assert again.head["cls.output.bias"].tolist() == list(range(34))
    assert again.scale == 2.0
    save_adapter(tmp_path / "again.safetensors", again)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "adapter.safetensors").read_bytes()


def test_a_file_that_is_no_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter.safetensors").write_bytes(b"not this")

    with pytest.raises(ModelError, match="is not a head's adapter"):
        load_adapter(tmp_path / "adapter.safetensors")
    with pytest.raises(ModelError, match=r"missing: a head's folder holds"):
        load_adapter(tmp_path / "nowhere.safetensors")


def test_the_base_is_read_under_llama_cpps_names(tiny_base: Path) -> None:
    tensors = load_base(tiny_base / "model.safetensors")

    assert tensors["blk.1.ffn_down.weight"].shape == (64, 128)
    assert len(tensors) == 5 + 2 * 16
    with pytest.raises(ModelError, match=r"a BERT encoder does not have: decoder\.weight"):
        gguf_tensor_name("decoder.weight")
