"""The `generative` head: a language model, run by llama.cpp in this process.

Its readings cost a prefill of the message and a few tokens for each question, and no generation. The model is shared; each reader has a
context of its own, for they are not re-entrant. ctypes releases the interpreter's lock during a call, so readers run side by side on the
cores.
"""

from __future__ import annotations

import codecs
import time
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from limbic.runtime.llama import AbortFlag, load_model
from services.affect_head.confidence import ConfidenceRule
from services.affect_head.errors import HeadFileError
from services.affect_head.generative.context import ScoringContext
from services.affect_head.generative.decoder import DigitDecoder
from services.affect_head.generative.file import MAX_WINDOW, GenerativeFile, read_generative_file
from services.affect_head.generative.prompt import Prompt, PromptUnusableError
from services.affect_head.generative.prompt_format import PromptFormat, TemplateUnusableError
from services.affect_head.generative.vocabulary import Vocabulary
from services.affect_head.gguf_fields import GgufFields
from services.affect_head.head import HeadCard, Reading, Utterance
from services.affect_head.normalizer import NORMALIZERS
from services.affect_head.window import ContextRule

MAX_REASON_CHARS = 240


class GenerativeHead:
    """A head whose model file is loaded. Blocks for the time that takes.

    Args:
        path: the GGUF file.
        sha256: its content, as verified by the caller; reported in the card.
        threads: threads of each reader's computations.

    Raises:
        HeadFileError: the file is no head that can be served.
        LlamaError: llama.cpp refused it.
    """

    def __init__(self, path: Path, *, sha256: str, threads: int) -> None:
        self._file = read_generative_file(GgufFields(path))
        self._threads = threads
        self._model = load_model(path)
        try:
            self._words, self._window = self._prepare(path)
        except HeadFileError:
            self.close()
            raise
        self._card = HeadCard(
            identity=self._file.identity,
            sha256=sha256,
            # It was not asked for them: 28 more questions would cost more than the reading itself.
            emotions=(),
            thresholds=(),
            # Its earlier turns stand apart from the message, so nothing but the window bounds them.
            context=ContextRule(self._file.context_turns, self._window, self._window),
            context_tokens=self._window,
            provenance_json=self._file.provenance_json,
        )

    @property
    def card(self) -> HeadCard:
        """What the head says about itself."""
        return self._card

    def open_reader(self) -> GenerativeReader:
        """Make a reader with a context of its own; computes the prompt's opening.

        Raises:
            LlamaError: there is no memory for it.
        """
        return GenerativeReader(self._model, self._file, self._words, window=self._window, threads=self._threads)

    def close(self) -> None:
        """Free the model. Its readers must be closed before. Closing twice does nothing."""
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def _prepare(self, path: Path) -> tuple[PromptFormat, int]:
        """Check that the model can be asked, and return the prompt's words and the tokens that a message may have."""
        model = self._model
        if llama_cpp.llama_model_has_encoder(model) or not llama_cpp.llama_model_has_decoder(model):
            raise HeadFileError(path, "it is no decoder-only language model")
        if llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model):
            raise HeadFileError(path, "its memory is recurrent, so it cannot go back to the end of a prompt's opening")
        vocabulary = Vocabulary(model)
        try:
            words = self._file.words_for(vocabulary.special_text())
            prompt = Prompt(words, vocabulary, window=MAX_WINDOW)
        except (TemplateUnusableError, PromptUnusableError) as error:
            raise HeadFileError(path, str(error)) from error
        window = min(MAX_WINDOW, self._file.trained_tokens - len(prompt.opening) - _room_behind(prompt, self._file))
        if window <= prompt.around:
            raise HeadFileError(path, f"a window of {self._file.trained_tokens} tokens leaves no room for a message")
        return words, window


class GenerativeReader:
    """One context and one vocabulary's buffer.

    Args:
        model: the loaded model's pointer; it must outlive the reader.
        file: what the model's file says.
        words: the prompt format.
        window: most tokens of a message with its earlier turns and what stands around them.
        threads: threads of its computations.
    """

    def __init__(self, model: Any, file: GenerativeFile, words: PromptFormat, *, window: int, threads: int) -> None:
        self._context_turns = file.context_turns
        self._reason_tokens = file.reason_tokens
        self._normalize = NORMALIZERS[file.normalizer]
        self._vocabulary = Vocabulary(model)
        self._prompt = Prompt(words, self._vocabulary, window=window)
        self._levels = np.array(self._prompt.levels)
        self._decoder = DigitDecoder(
            file.sigma_scale, ConfidenceRule(file.confidence_weights, file.confidence_tolerance)
        )
        self._context = ScoringContext(
            model, opening=self._prompt.opening, tokens=window + _room_behind(self._prompt, file), threads=threads
        )

    def read(self, utterance: Utterance, abort: AbortFlag) -> Reading:
        """Read an utterance, and say why if it asks for that. Blocks for as long as that takes.

        Raises:
            ReadingAbortedError: the flag was set before it was done. The reader can be used again.
            LlamaError: llama.cpp failed, or its outputs are not finite numbers.
        """
        started = time.perf_counter()
        turns = utterance.context[-self._context_turns :] if self._context_turns else ()
        message = self._prompt.lay_out(self._normalize(utterance.text), [self._normalize(turn) for turn in turns])
        digits = self._context.score(message.ids, self._prompt.questions, abort)[:, self._levels]
        axes, uncertainty, confidence = self._decoder.decode(digits)
        latency_s = time.perf_counter() - started
        reasoning = self._reason(len(message.ids), digits, abort) if utterance.wants_reason else ""
        return Reading(
            axes, uncertainty, confidence, (), message.truncated, message.blank, message.turns, latency_s, reasoning
        )

    def close(self) -> None:
        """Free the context. Closing twice does nothing."""
        self._context.close()

    def digits(self, text: str, abort: AbortFlag) -> NDArray[np.float32]:
        """Return the logits of the digits themselves, [axes, levels], for a text without context: what calibration is fitted on."""
        message = self._prompt.lay_out(self._normalize(text), ())
        return self._context.score(message.ids, self._prompt.questions, abort)[:, self._levels]

    def _reason(self, kept: int, digits: NDArray[np.float32], abort: AbortFlag) -> str:
        """Let the model go on from its three answers, likeliest token first, to the end of a line.

        No grammar: what comes is one line of text, and asking a grammar about a whole vocabulary would cost more than the model itself.
        """
        if not self._reason_tokens or not self._prompt.reason:
            return ""
        ids = self._prompt.asking_why(digits.argmax(1).tolist())
        text = ""
        # A token is often no whole character.
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        for _ in range(self._reason_tokens):
            token = int(self._context.continue_after(kept, ids, abort).argmax())
            kept += len(ids)
            if self._vocabulary.ends_generation(token):
                break
            text += utf8.decode(self._vocabulary.piece(token))
            if "\n" in text:
                break
            ids = [token]
        line = "".join(letter if letter.isprintable() else " " for letter in text.partition("\n")[0])
        return " ".join(line.split())[:MAX_REASON_CHARS]


def _room_behind(prompt: Prompt, file: GenerativeFile) -> int:
    """Tokens that the context needs behind a message: all questions at once, or their answers and the reason."""
    questions = sum(map(len, prompt.questions))
    if not file.reason_tokens or not prompt.reason:
        return questions
    return max(questions, len(prompt.asking_why([0, 0, 0])) + file.reason_tokens)
