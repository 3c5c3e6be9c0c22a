"""Server-sent events, as far as the OpenAI protocol uses them: bytes in, payloads out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from services.living_llm.failures import InvalidFailure

# A chunk carries a few words; a megabyte in one line is no answer.
MAX_LINE_BYTES = 1024 * 1024


class SseReader:
    """Splits a stream of bytes into the payloads of its `data` lines.

    Each chunk of the protocol is one line, so a line is a payload. Comments, which servers send to keep a connection alive, and other
    fields are passed over. A bare JSON object, which Ollama writes when it fails, counts as a payload. A last line without its end is
    left out: it was cut.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """Take bytes and yield the payloads that are complete.

        Raises:
            InvalidFailure: a line is too long or no UTF-8.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest
        for line in lines:
            if len(line) > MAX_LINE_BYTES:
                raise _enormous()
            if (payload := _payload(line)) is not None:
                yield payload
        if len(rest) > MAX_LINE_BYTES:
            raise _enormous()


def _payload(line: bytes) -> str | None:
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise InvalidFailure("not_utf8", "it sent a line that is no UTF-8") from None
    if text.startswith("data:"):
        return text.removeprefix("data:").strip() or None
    return text if text.startswith("{") else None


def _enormous() -> InvalidFailure:
    return InvalidFailure("enormous_line", f"it sent a line of more than {MAX_LINE_BYTES:,} bytes")
