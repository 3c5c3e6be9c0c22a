"""Small stand-ins for what training reads: five sources of a few rows, and a random BERT with the real vocabulary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from training.base import base_folder
from training.outputs import EMOTIONS, XED_LABELS

_MARKS = (
    "amber", "birch", "cobalt", "dune", "ember", "fjord", "gravel", "harbor", "indigo", "juniper", "kelp", "lantern",
    "meadow", "nettle", "orchid", "pebble", "quartz", "raven", "saffron", "thistle", "umber", "velvet", "willow", "zephyr",
)  # fmt: skip


def mark(number: int) -> str:
    """Return a few words that no other small number has, so that no two texts are near-duplicates."""
    first, second = number % len(_MARKS), (7 * number + number // len(_MARKS) + 5) % len(_MARKS)
    return f"{_MARKS[first]} {_MARKS[second]} {_MARKS[(first + 3 * second + 1) % len(_MARKS)]} {number}"


WIDTH, FEED_FORWARD, LAYERS, POSITIONS = 64, 128, 2, 512


def write_sources(folder: Path, rows: int = 24) -> tuple[Path, Path]:
    """Write a data folder and a probe folder, and return both."""
    data, probes = folder / "data", folder / "probes"
    for name in ("goemotions", "emobank", "question_intimacy", "xed"):
        (data / name).mkdir(parents=True)
    probes.mkdir()
    (data / "goemotions/labels.txt").write_text("\n".join(EMOTIONS))
    (data / "xed/labels.txt").write_text("\n".join(XED_LABELS))
    for split, other in (("train", "train"), ("dev", "val")):
        numbers = range(rows)
        (data / f"goemotions/{split}.tsv").write_text(
            "".join(f"I said {split} {mark(n)}\t{n % 28},{(n + 5) % 28}\tid{n}\n" for n in numbers)
        )
        (data / f"emobank/{split}.csv").write_text(
            "id,V,A,D,text\n" + "".join(f'n{n},{2 + n % 3}.5,3.0,4.0,"A {split} report, {mark(n)}"\n' for n in numbers)
        )
        (data / f"question_intimacy/{other}.tsv").write_text(
            "".join(f"Do you {split} ask {mark(n)}?\t{(n % 5) / 5 - 0.4}\n" for n in numbers)
        )
        (data / f"xed/{split}.tsv").write_text("".join(f"Go , {split} {mark(n)} !\t{n % 9}\n" for n in numbers))
    lines = [
        {"text": f"you and me, {mark(n)}", "archetype": ("warm_open", "flat_numb")[n % 2], "relation": "friend",
         "valence": 0.1 * (n % 7) - 0.3, "intimacy": 0.5 - 0.1 * (n % 9), "tension": -0.4 + 0.1 * (n % 8)}
        for n in range(60)
    ]  # fmt: skip
    (probes / "mixed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return data, probes


def write_tiny_base(folder: Path) -> None:
    """Write a Hugging Face BERT folder with random weights, large enough to make its outputs differ by text."""
    real = base_folder()
    for name in ("tokenizer.json", "vocab.txt"):
        shutil.copyfile(real / name, folder / name)
    words = len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": words, "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(5)

    def matrix(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": matrix(words, WIDTH),
        "embeddings.position_embeddings.weight": matrix(POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": matrix(2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for block in (f"encoder.layer.{number}" for number in range(LAYERS)):
        norms += [f"{block}.attention.output.LayerNorm", f"{block}.output.LayerNorm"]
        for layer, rows, columns in (
            ("attention.self.query", WIDTH, WIDTH), ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH), ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", FEED_FORWARD, WIDTH), ("output.dense", WIDTH, FEED_FORWARD),
        ):  # fmt: skip
            tensors[f"{block}.{layer}.weight"], tensors[f"{block}.{layer}.bias"] = matrix(rows, columns), matrix(rows)
    for norm in norms:
        tensors[f"{norm}.weight"], tensors[f"{norm}.bias"] = 1 + matrix(WIDTH) / 3, matrix(WIDTH)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
