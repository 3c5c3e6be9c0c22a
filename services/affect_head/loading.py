"""Opens the head that the settings name, and gets everything ready for the first call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from limbic.runtime.llama import AbortFlag
from limbic.runtime.models import find_model
from limbic.runtime.settings import AffectSettings
from services.affect_head.encoder import EncoderHead
from services.affect_head.generative.head import GenerativeHead
from services.affect_head.gguf_fields import GgufFields
from services.affect_head.head import Head, Reader, Utterance

_FILLING = (Utterance("word " * 1_000), Utterance("word " * 60))
"""Fill the window of long texts, and nearly that of short ones."""
_ORDINARY = Utterance("I really did not expect to hear from you again, but I am glad that you called.")


def open_head(settings: AffectSettings) -> Head:
    """Verify and load the model that the settings name: a BERT is an encoder, any other architecture is generative. Blocks.

    Raises:
        ModelFileError: the file is missing, or has another content than it should.
        HeadFileError: it is no head that can be served.
        LlamaError: llama.cpp refused it.
    """
    model = find_model(settings.model, settings.model_sha256)
    sha256 = model.verify()
    kind = EncoderHead if GgufFields(model.path).text("general.architecture") == "bert" else GenerativeHead
    return kind(model.path, sha256=sha256, threads=settings.threads)


@dataclass(frozen=True, slots=True)
class ReadyHead:
    """A head, its warmed readers, and the seconds that an ordinary utterance takes."""

    head: Head
    readers: list[Reader]
    ordinary_cost_s: float


def make_ready(open_head: Callable[[], Head], workers: int) -> ReadyHead:
    """Open a head and one reader for each worker, and let each reader read. Blocks.

    The first readings fill the window, so that llama.cpp's buffers get their size now and memory stays flat; the last is an
    ordinary one and shows what such a reading costs. A head whose outputs are no finite numbers fails here.
    """
    head = open_head()
    readers: list[Reader] = []
    try:
        for _ in range(workers):
            readers.append(head.open_reader())
        costs = []
        for reader in readers:
            for utterance in _FILLING:
                reader.read(utterance, AbortFlag())
            costs.append(reader.read(_ORDINARY, AbortFlag()).latency_s)
    except BaseException:
        for reader in readers:
            reader.close()
        head.close()
        raise
    return ReadyHead(head, readers, max(costs))
