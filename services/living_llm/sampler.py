"""How the next token is drawn: llama.cpp's own samplers, in the order that its programs use."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llama_cpp

from limbic.runtime.llama import LlamaError
from services.living_llm.speech import Sampling

TOP_K = 40
"""Candidates that may be drawn at all, as llama.cpp's own programs have it: what lies behind them is noise in a small model."""


@contextmanager
def sampler_chain(sampling: Sampling, vocabulary_size: int, unsaid: Sequence[int] = ()) -> Iterator[Any]:
    """Make a sampler chain, and free it afterwards.

    Penalties over the reply so far, then the likeliest few, the temperature, the nucleus, a draw. The penalties count the reply's own
    tokens and not the prompt's, as the OpenAI protocol defines them. The tokens in `unsaid` are never drawn.
    """
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    try:
        if unsaid:
            never = (llama_cpp.llama_logit_bias * len(unsaid))(*((token, -math.inf) for token in unsaid))
            _add(chain, llama_cpp.llama_sampler_init_logit_bias(vocabulary_size, len(unsaid), never))
        if sampling.frequency_penalty or sampling.presence_penalty:
            _add(
                chain,
                llama_cpp.llama_sampler_init_penalties(
                    vocabulary_size, sampling.max_tokens, 1.0, sampling.frequency_penalty, sampling.presence_penalty
                ),
            )
        if sampling.temperature == 0.0:
            _add(chain, llama_cpp.llama_sampler_init_greedy())
        else:
            seed = sampling.seed if sampling.seed is not None else secrets.randbits(32)
            _add(chain, llama_cpp.llama_sampler_init_top_k(TOP_K))
            _add(chain, llama_cpp.llama_sampler_init_temp(sampling.temperature))
            _add(chain, llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
            _add(chain, llama_cpp.llama_sampler_init_dist(seed))
        yield chain
    finally:
        llama_cpp.llama_sampler_free(chain)


def _add(chain: Any, sampler: Any) -> None:
    # A NULL would be accepted, and the parameter silently ignored.
    if not sampler:
        raise LlamaError("llama.cpp refused a sampler")
    llama_cpp.llama_sampler_chain_add(chain, sampler)
