"""The upstream for any server that speaks the OpenAI protocol: llama-server, Ollama, vLLM, LM Studio, or a hosted one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from limbic.runtime.tracing import outgoing_headers
from services.living_llm.dialect import ChunkReader, error_failure, parse_object, retry_after_s, status_failure
from services.living_llm.failures import Failure, InvalidFailure, RejectedFailure, TransientFailure
from services.living_llm.prompt import chat_messages, fit_history, system_text
from services.living_llm.speech import Delta, Message, Speech, Started, UpstreamEvent
from services.living_llm.sse import SseReader
from services.living_llm.thoughts import ThoughtFilter
from services.living_llm.upstream import Description

# Of a refusal's body: enough for any error object.
_MAX_REFUSAL_BYTES = 64 * 1024

# We cannot count a server's tokens. No common tokenizer makes more of plain text than one for three bytes.
_BYTES_PER_TOKEN = 3


# Servers end the response right after its last chunk. One that does not loses its connection.
_LET_END_S = 0.05


class UpstreamSettingsError(Exception):
    """The upstream's settings cannot be used. Never holds the key."""


def read_api_key(upstream: str, file: Path | None, value: str) -> str:
    """Return the key from the file, or the one given; empty where there is none.

    Raises:
        UpstreamSettingsError: both are given, or the file cannot be read or is empty.
    """
    if file is None:
        return value
    if value:
        raise UpstreamSettingsError(f"the upstream {upstream}: give either api_key_file or api_key, not both")
    try:
        key = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UpstreamSettingsError(
            f"the upstream {upstream}: api_key_file: {file} cannot be read ({type(error).__name__})"
        ) from None
    if not key or not key.isascii() or not key.isprintable():
        raise UpstreamSettingsError(f"the upstream {upstream}: api_key_file: {file} does not hold a key on one line")
    return key


class OpenAIUpstream:
    """A server that speaks the OpenAI protocol.

    The environment's proxies are not used: they would be used for loopback too, where most of these servers are. Time limits stand
    around an upstream, so only the connection has one here.

    Args:
        url: the base URL, with the /v1.
        name: what it is called in traces, metrics and logs.
        model: the model's name there; empty: the first one that the server lists.
        api_key: sent as a bearer token; empty: none.
        context_tokens: the model's window; 0: unknown, and the whole history is sent.
        connect_timeout_s: for opening a connection.

    Raises:
        UpstreamSettingsError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "openai",
        model: str,
        api_key: str,
        context_tokens: int,
        connect_timeout_s: float,
    ) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UpstreamSettingsError(
                f"the upstream {name}: its url must be an http or https URL, such as http://127.0.0.1:8000/v1"
            )
        self.name = name
        self._model = model
        self._context_tokens = context_tokens
        self._connect_timeout_s = connect_timeout_s
        self._client = httpx.AsyncClient(
            base_url=parsed,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(None, connect=connect_timeout_s),
            trust_env=False,
        )

    async def start(self) -> None:
        """Nothing to open: the server may come later than we do."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def describe(self) -> Description:
        """Say which model speaks; its name is empty while the server cannot be asked."""
        model = ""
        with contextlib.suppress(Failure, TimeoutError):
            async with asyncio.timeout(self._connect_timeout_s):
                model = await self._model_name()
        return Description(self.name, "openai", model, self._context_tokens, "")

    async def check(self, speech: Speech) -> None:
        """Measure the prompt, if a window is set.

        Raises:
            PromptTooLongError: persona and last message do not fit it.
        """
        self._fitting(speech)

    async def generate(self, speech: Speech) -> AsyncGenerator[UpstreamEvent]:
        """Try once.

        Raises:
            Failure: of the class that fits what the server did.
            PromptTooLongError: a window is set, and persona and last message do not fit it.
        """
        model = await self._model_name()
        body, omitted = self._body(speech, model)
        try:
            async with self._client.stream(
                "POST", "chat/completions", json=body, headers=outgoing_headers()
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise await _refusal(response)
                await _refuse_what_is_no_stream(response)
                lines, chunks, thoughts, started = SseReader(), ChunkReader(), ThoughtFilter(), False
                stream = response.aiter_bytes()
                async for data in stream:
                    for payload in lines.feed(data):
                        for delta in chunks.read(payload):
                            if text := thoughts.feed(delta.text):
                                if not started:
                                    started = True
                                    yield Started(self.name, chunks.model or model, omitted)
                                yield Delta(text)
                    if chunks.done:
                        await _let_end(stream)
                        break
        except httpx.HTTPError as error:
            raise _transport_failure(error) from None
        finished = chunks.finish()
        if finished is None:
            raise TransientFailure("broken_off", "it closed the stream without an end")
        if not started:
            yield Started(self.name, chunks.model or model, omitted)
        if rest := thoughts.finish():
            yield Delta(rest)
        yield finished

    def _body(self, speech: Speech, model: str) -> tuple[dict[str, Any], int]:
        history = self._fitting(speech)
        sampling = speech.sampling
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": m.role, "content": m.content} for m in chat_messages(speech, history)],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        return body, len(speech.messages) - len(history)

    def _fitting(self, speech: Speech) -> Sequence[Message]:
        if not self._context_tokens:
            return speech.messages
        persona_tokens = _upper_bound(system_text(speech.persona))
        return fit_history(speech.messages, persona_tokens, _upper_bound, self._context_tokens)

    async def _model_name(self) -> str:
        """Return the configured model, or ask the server once for the first that it lists."""
        if self._model:
            return self._model
        try:
            async with self._client.stream("GET", "models") as response:
                if response.status_code != httpx.codes.OK:
                    raise await _refusal(response)
                listed = parse_object(await _beginning(response))
        except httpx.HTTPError as error:
            raise _transport_failure(error) from None
        entries = listed.get("data") if listed is not None else None
        first = entries[0] if isinstance(entries, list) and entries else None
        name = first.get("id") if isinstance(first, dict) else None
        if not isinstance(name, str) or not name:
            raise InvalidFailure("no_models", "it lists no model; set the upstream's model")
        self._model = name
        return name


def _upper_bound(text: str) -> int:
    return len(text.encode("utf-8")) // _BYTES_PER_TOKEN + 1


async def _let_end(stream: AsyncIterator[bytes]) -> None:
    """Read the response's own end, if it is there: a connection whose response was not read to its end cannot be used again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LET_END_S):
            while await anext(stream, None) is not None:
                pass


async def _beginning(response: httpx.Response) -> bytes:
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > _MAX_REFUSAL_BYTES:
            break
    return body


async def _refuse_what_is_no_stream(response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "")
    if "html" in kind:
        raise InvalidFailure("html", "it answered with a web page; is the URL right, with its /v1?")
    if "application/json" in kind:
        body = parse_object(await _beginning(response)) or {}
        if body.get("error"):
            raise error_failure(body["error"])
        raise InvalidFailure("no_stream", "it answered in one piece, although a stream was asked for")


async def _refusal(response: httpx.Response) -> Failure:
    body = parse_object(await _beginning(response))
    error = body.get("error") if body is not None else None
    delay = retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
    return status_failure(response.status_code, error, delay)


def _transport_failure(error: httpx.HTTPError) -> Failure:
    if isinstance(error, httpx.ConnectTimeout):
        return TransientFailure("connect_timeout", "it did not take the connection in time")
    if isinstance(error, httpx.ConnectError):
        return TransientFailure("refused", "it cannot be reached")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return RejectedFailure("protocol", "the request cannot be sent to this URL")
    if isinstance(error, httpx.TransportError):
        return TransientFailure("reset", "it broke the connection off")
    return InvalidFailure("encoding", "its answer could not be decoded")
