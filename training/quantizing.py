"""Store a full GGUF's matrices in fewer bits.

An encoder's file is made by NumPy, the same to the bit on every machine. A language model's goes through llama.cpp's own quantizer, which
knows the K-types, and spares the token table where that is the output matrix as well.
"""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import Literal

from gguf import LlamaFileType

from training.errors import ModelError
from training.gguf_file import WEIGHT_TYPES, WeightType, read_architecture, read_gguf, write_whole

QuantizedType = Literal["Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0"]
"""What llama.cpp's quantizer is used for; smaller to the right. K-types need rows of 256 values, others go into the next larger type."""

AnyType = Literal[WeightType, QuantizedType]
"""Q4_8 is for encoders only, K-types for language models only."""


def quantize_file(source: Path, out: Path, weights: AnyType) -> None:
    """Quantize the full model at `source`, F32 or F16, to `out`; the file appears whole or not at all.

    Raises:
        ModelError: it is no whole model, an encoder cannot be stored so, or llama.cpp refused it.
    """
    encoder = read_architecture(source) == "bert"
    if encoder and weights not in WEIGHT_TYPES:
        raise ModelError(f"An encoder's matrices are too narrow for {weights}; {', '.join(WEIGHT_TYPES)} fit.")
    if not encoder and weights == "Q4_8":
        raise ModelError("Q4_8 is a mixture for encoders; for a language model choose a K-type.")
    if encoder or weights in ("F32", "F16"):
        write_whole(out, read_gguf(source), weights)  # type: ignore[arg-type]  # it is one of WEIGHT_TYPES
    else:
        quantize_with_llama(source, out, weights)


def quantize_with_llama(source: Path, out: Path, weights: AnyType, threads: int = 1) -> None:
    """Quantize with llama.cpp; the file appears whole or not at all.

    Raises:
        ModelError: `source` is no whole model, or llama.cpp refused it.
    """
    # Here and not above: writing an encoder's file needs no llama.cpp. The first import sets the environment that the second reads.
    from limbic.runtime.llama import initialise_llama  # isort: skip
    import llama_cpp.llama_cpp as llama

    read_architecture(source)
    initialise_llama()
    out.parent.mkdir(parents=True, exist_ok=True)
    params = llama.llama_model_quantize_default_params()
    params.ftype = int(LlamaFileType[f"MOSTLY_{weights}"])
    params.nthread = threads
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".writing-") as scratch:
        fresh = Path(scratch) / out.name
        if llama.llama_model_quantize(str(source).encode(), str(fresh).encode(), ctypes.byref(params)) != 0:
            raise ModelError(f"llama.cpp could not quantize {source} to {weights}; its own message stands above.")
        fresh.replace(out)
