"""A model that has been loaded, with all that it needs to speak. It belongs to one thread; only its abort flag may be touched from others.

While nobody waits it reads ahead. What the next prompt of a conversation will begin with is known as soon as a reply has ended:
everything but the person's next words. It is computed then, so that the next turn computes only what is new, and that holds as well
where the history has just been cut to fit the window, which is seconds of work. Before the first turn it reads the configured persona.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from limbic.runtime.llama import LlamaError
from limbic.runtime.logs import get_logger
from limbic.runtime.models import ModelFile
from services.living_llm.adapters import Adapter, adapter_of
from services.living_llm.composing import Composed, Composer
from services.living_llm.control_vectors import Steering, load_steering
from services.living_llm.engine import Engine, GenerationAbortedError
from services.living_llm.failures import InvalidFailure, PromptTooLongError
from services.living_llm.formats import PromptFormatError, choose_format
from services.living_llm.reply_text import ReplyText
from services.living_llm.sessions import Sessions
from services.living_llm.speech import (
    Delta,
    Finished,
    FinishReason,
    Sampling,
    Speech,
    Started,
    UpstreamEvent,
    Usage,
)
from services.living_llm.thoughts import OPEN

_log = get_logger(__name__)


class ResidentModel:
    """A loaded model.

    Args:
        file: the model. Verified and loaded here, which blocks.
        name: of the upstream that it is.
        context_tokens: the window that is wanted.
        threads: threads of a computation.
        prompt_format: auto, transcript, chat-template or the name of a template.
        session_state_bytes: what may be kept of conversations that do not speak now.
        adapters: LoRA adapters by persona; the first one that fits counts.
        steering_dir: control vectors of this model, or None.

    Attributes:
        engine: computes.
        composer: writes the prompts.
        sha256: of the model file.

    Raises:
        ModelFileError: the model or an adapter is missing or not what it should be.
        LlamaError: llama.cpp cannot use it.
        PromptFormatError: the prompt format that is wanted does not suit it.
        ControlVectorError: the control vectors do not suit it.
    """

    def __init__(
        self,
        file: ModelFile,
        *,
        name: str,
        context_tokens: int,
        threads: int,
        prompt_format: str,
        session_state_bytes: int,
        adapters: Sequence[Adapter],
        steering_dir: Path | None,
    ) -> None:
        self._name = name
        self._model_name = file.name
        self.sha256 = file.verify()
        self.engine = Engine(file.path, context_tokens=context_tokens, threads=threads)
        try:
            wanted = prompt_format if prompt_format != "auto" else file.prompt_format or "auto"
            chosen = choose_format(wanted, self.engine.chat_template, self.engine.vocabulary)
            self._unsaid = self.engine.vocabulary.opening_with(chosen.unsaid)
            self.composer = Composer(chosen, self.engine.vocabulary, self.engine.context_tokens)
            self._adapters = tuple(adapters)
            for adapter in self._adapters:
                adapter.file.verify()
                self.engine.add_adapter(adapter.name, adapter.file.path, adapter.scale)
            self._steering: Steering | None = None
            if steering_dir is not None:
                self._steering = load_steering(
                    steering_dir, model_sha256=self.sha256, layers=self.engine.layers, width=self.engine.width
                )
        except BaseException:
            self.engine.close()
            raise
        self._sessions = Sessions(session_state_bytes)

    def close(self) -> None:
        """Free the model."""
        self.engine.close()

    def warm_up(self, persona: str) -> None:
        """Read the persona that most conversations begin with.

        The first computation also makes the threads and brings the weights into memory; the sample is the first step after a prompt.
        """
        greedy = Sampling(0.0, 1.0, 0.0, 0.0, 1)
        try:
            self.engine.use_adapter(adapter_of(persona, self._adapters))
            self.engine.evaluate(self.composer.next_beginning(Speech("", persona, (), "", greedy)))
        except PromptTooLongError:
            _log.warning(
                "the configured persona does not fit the model's window", context_tokens=self.engine.context_tokens
            )
            return
        next(self.engine.sample(greedy))

    def read_ahead(self, speech: Speech) -> None:
        """Compute what the next prompt of a conversation will begin with, or as much of it as is not aborted."""
        try:
            beginning = self.composer.next_beginning(speech)
            self._enter(speech, beginning)
            self.engine.evaluate(beginning)
        except (GenerationAbortedError, PromptTooLongError):
            pass
        except (LlamaError, PromptFormatError) as error:
            _log.warning("could not read ahead", reason=type(error).__name__)

    def measure(self, speech: Speech) -> None:
        """Compose the prompt and nothing more. Any thread may call this.

        Raises:
            PromptTooLongError: persona and last message do not fit the window.
            InvalidFailure: the prompt cannot be written.
        """
        with _failures():
            self.composer.compose(speech)

    def speak(self, speech: Speech, post: Callable[[UpstreamEvent], None]) -> str:
        """Make one reply, handing its events on as they come, and return what was said.

        Raises:
            GenerationAbortedError: the flag was set.
            InvalidFailure: llama.cpp failed, or the prompt cannot be written.
            PromptTooLongError: persona and last message do not fit the window.
        """
        with _failures():
            return self._speak(speech, self.composer.compose(speech), post)

    def _speak(self, speech: Speech, composed: Composed, post: Callable[[UpstreamEvent], None]) -> str:
        post(Started(self._name, self._model_name, composed.omitted))
        engine, sampling = self.engine, speech.sampling
        self._enter(speech, composed.tokens)
        steering = self._steering.mix(dict(speech.steering)) if self._steering is not None else None
        cached = engine.evaluate(composed.tokens, steering)
        # Some templates open the model's thoughts for it.
        thinking = composed.prompt.control and composed.prompt.text.rstrip().endswith(OPEN)
        text = ReplyText((*composed.prompt.stops, *sampling.stop), thinking=thinking)
        reason, made, said = FinishReason.LENGTH, 0, list[str]()
        for token in engine.sample(sampling, self._unsaid):
            if engine.vocabulary.ends_generation(token):
                reason = FinishReason.STOP
                break
            made += 1
            if delta := text.feed(engine.vocabulary.piece(token)):
                said.append(delta)
                post(Delta(delta))
            if text.stopped:
                reason = FinishReason.STOP
                break
            if made >= sampling.max_tokens:
                break
        if rest := text.finish():
            said.append(rest)
            post(Delta(rest))
        post(Finished(reason, Usage(len(composed.tokens), cached, made)))
        return "".join(said)

    def _enter(self, speech: Speech, tokens: Sequence[int]) -> None:
        self._sessions.enter(self.engine, speech.session_id, adapter_of(speech.persona, self._adapters), tokens)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except LlamaError as error:
        raise InvalidFailure("llama", "llama.cpp failed") from error
    except PromptFormatError as error:
        raise InvalidFailure("prompt_format", str(error)) from error
