"""The part of llama.cpp that both the affect head and the living LLM use, through llama-cpp-python's low-level API.

Four things must be right before the library is touched: an assertion in it must end the process at once instead of starting a debugger
(`GGML_NO_BACKTRACE`), its threads must soon sleep while they wait for each other (`GOMP_SPINCOUNT`), its log must come through our own
callback (the package's maps the levels wrongly and hides errors), and it must be initialised once for the process.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from pathlib import Path
from typing import Any

from limbic.runtime.logs import get_logger

os.environ.setdefault("GGML_NO_BACKTRACE", "1")
# OpenMP's threads spin at each of several hundred barriers, billions of times before they sleep. Where anything else needs a core, the
# thread that all wait for is not running. Two threads of the head, on two cores that two other processes keep busy, p50 and p99 in ms: 13
# and 221 by default, 22 and 30 with this; on idle cores 3.9 and 4.2 at p50. Never to spin (OMP_WAIT_POLICY=passive) costs 10.9 there.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import llama_cpp

_log = get_logger(__name__)

# ggml.h: GGML_LOG_LEVEL_WARN and GGML_LOG_LEVEL_ERROR. INFO and DEBUG are too much, CONT (5) continues a line that we may not have begun.
_WARN, _ERROR = 3, 4

_first_use = threading.Lock()

# How llama.cpp reports, as an error, that it obeyed an abort flag: GGML_STATUS_ABORTED is 1, and encode and decode return 2. Every
# cancelled call would write three such lines; the caller knows it anyway.
_ABORT_ENDINGS = (b"failed with error 1", b"compute status: 1", b"ret = 2")
# And how it says that it has taken the broken-off part of a batch away again.
_ABORT_CLEANUP = b"removing memory module entries"


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    if level in (_WARN, _ERROR) and not text.rstrip().endswith(_ABORT_ENDINGS) and _ABORT_CLEANUP not in text:
        write = _log.error if level == _ERROR else _log.warning
        write("llama.cpp", detail=text.decode("utf-8", "replace").strip())


def initialise_llama() -> None:
    """Set up the library for this process. Does nothing the second time."""
    _repacks()


def _repacks() -> bool:
    # Two threads may load a model at the same time, and what the library says of itself it writes into one static string: read twice
    # at once, it corrupts the heap.
    with _first_use:
        return _initialised()


@functools.cache
def _initialised() -> bool:
    llama_cpp.llama_log_set(_on_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return _may_repack()


class LlamaError(Exception):
    """llama.cpp refused something."""


def _may_repack() -> bool:
    """Whether weights may be rearranged for the processor when they are loaded.

    A library that was compiled for a processor with AMX then sends 4-bit and 8-bit weights to AMX kernels, whose first `ldtilecfg` faults
    and ends the process (ggml-org/llama.cpp issue 20824, open), unless it was compiled as tools/llama_wheel.py does it. Only leaving all
    rearranging out avoids them at run time.
    """
    return b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info() or _amx_is_mended()


def _amx_is_mended() -> bool:
    """Whether the library holds the mark of tools/amx_tile_config.h."""
    # A name is looked up in the library and in those that it needs, of which ggml's kernels are one.
    return hasattr(llama_cpp.llama_cpp._lib, "limbic_amx_tile_config")


class AbortFlag:
    """Stops a computation from another thread, within one node of its graph and without the interpreter's lock.

    The callback that llama.cpp polls is libc's `strlen` on a buffer of one byte: 0 while the buffer is empty, 1 once it is set.
    A callback written in Python would need the lock at each of several hundred nodes.
    """

    _strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p)

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)

    def set(self) -> None:
        """Ask the computation to stop."""
        self._buffer[0] = b"\x01"

    def clear(self) -> None:
        """Forget an earlier request."""
        self._buffer[0] = b"\x00"

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._buffer[0] != b"\x00"

    def install(self, context: Any) -> None:
        """Make a llama context poll this flag. The flag must outlive the context."""
        callback = ctypes.cast(self._strlen, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(context, callback, ctypes.cast(self._buffer, ctypes.c_void_p))


def load_model(path: Path, *, use_mmap: bool = True) -> Any:
    """Load a GGUF file and return the `llama_model` pointer. Blocks for as long as that takes.

    Raises:
        LlamaError: llama.cpp could not load it; its own message stands in the log.
    """
    repack = _repacks()
    params = llama_cpp.llama_model_default_params()
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP if use_mmap else llama_cpp.LLAMA_LOAD_MODE_NONE
    params.use_extra_bufts = repack
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise LlamaError(f"llama.cpp could not load {path}; the line before this one says why")
    return model
