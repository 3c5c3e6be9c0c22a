"""The peer of `benchmarks.affect_head`: the same trained encoder through ONNX Runtime, quantized to 8 bits.

`python -m benchmarks._onnx_peer HEAD THREADS READINGS` reads lists of token ids as JSON from its input and writes how many seconds each
reading took.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from training.adapter import ADAPTER_FILE, load_adapter
from training.base import base_folder
from training.merge import gguf_tensor_name, load_base, merge
from training.model import load_encoder

_OPSET = 17


class _Graph(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Token ids [1, tokens] to raw outputs [1, outputs], as llama.cpp computes them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        tensors = merge(load_base(base_folder() / "model.safetensors"), load_adapter(folder / ADAPTER_FILE))
        self.encoder = load_encoder(base_folder())
        state = {name: torch.from_numpy(tensors[gguf_tensor_name(name)]) for name in self.encoder.state_dict()}
        self.encoder.load_state_dict(state)
        self.dense, self.output = (
            _linear(tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]) for layer in ("cls", "cls.output")
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        outputs: torch.Tensor = self.output(torch.tanh(self.dense(hidden.mean(1))))
        return outputs


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    return layer


class OnnxEncoder:
    """The head in `folder`, weights and products in int8 (dynamic quantization), on a number of threads."""

    def __init__(self, folder: Path, threads: int) -> None:
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter announces its successor; the quantizer, its own defaults
            full, prepared, small = (Path(scratch) / name for name in ("full.onnx", "prepared.onnx", "int8.onnx"))
            torch.onnx.export(
                _Graph(folder).eval(),
                (torch.ones(1, 20, dtype=torch.int64),),
                full,
                input_names=["ids"],
                dynamic_axes={"ids": {1: "tokens"}},
                opset_version=_OPSET,
                dynamo=False,
            )
            quant_pre_process(str(full), str(prepared), skip_symbolic_shape=True)
            quantize_dynamic(str(prepared), str(small), weight_type=QuantType.QInt8)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(str(small), options, providers=["CPUExecutionProvider"])

    def encode(self, tokens: Sequence[int]) -> np.ndarray:
        """Return the raw outputs, float32 [outputs]."""
        ids = np.array([tokens], dtype=np.int64)
        outputs: np.ndarray = self._session.run(None, {"ids": ids})[0][0]
        return outputs


def main(head: str, threads: str, readings: str) -> None:
    """Time the readings, one text after the other."""
    encoder = OnnxEncoder(Path(head), int(threads))
    texts = json.load(sys.stdin)
    samples = []
    for number in range(int(readings)):
        started = time.perf_counter()
        encoder.encode(texts[number % len(texts)])
        samples.append(time.perf_counter() - started)
    json.dump(samples, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
