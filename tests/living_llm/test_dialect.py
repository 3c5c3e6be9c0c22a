from __future__ import annotations

import contextlib
import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.living_llm.dialect import ChunkReader, error_failure, retry_after_s, status_failure
from services.living_llm.failures import Failure, InvalidFailure
from services.living_llm.sse import MAX_LINE_BYTES, SseReader

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "error", "failure_class", "kind"),
    [
        (503, {"code": 503, "message": "Loading model", "type": "unavailable_error"}, "transient", "loading"),
        (400, "Loading model", "transient", "loading"),
        (503, "server busy, please try again.  maximum pending requests exceeded", "overloaded", "status_503"),
        (503, {"message": "no slot available"}, "overloaded", "status_503"),
        (429, None, "overloaded", "status_429"),
        (429, {"type": "insufficient_quota"}, "rejected", "quota"),
        (400, {"type": "exceed_context_size_error", "n_ctx": 4096}, "rejected", "context_size"),
        (501, {"type": "not_supported_error"}, "rejected", "status_other"),
    ],
)
def test_refusals_of_the_known_servers(status: int, error: Any, failure_class: str, kind: str) -> None:
    failure = status_failure(status, error, None)

    assert (failure.failure_class, failure.kind) == (failure_class, kind)


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        ("model runner has unexpectedly stopped", "transient"),
        ({"message": "x", "type": "api_error", "code": None}, "transient"),
        ({"message": "x", "type": "invalid_request_error"}, "rejected"),
        ({"message": "x", "type": "rate_limit_error"}, "overloaded"),
        ({"code": 401, "message": "x"}, "rejected"),
        (["odd"], "transient"),
    ],
)
def test_error_objects_inside_a_stream(error: Any, failure_class: str) -> None:
    assert error_failure(error).failure_class == failure_class


@given(value=JSON)
def test_any_json_is_a_chunk_or_a_failure_of_ours(value: Any) -> None:
    reader = ChunkReader()
    for shape in (value, {"choices": value}, {"choices": [value]}, {"choices": [{"delta": value}]}, {"error": value}):
        # Any other exception fails the test.
        with contextlib.suppress(Failure):
            for delta in reader.read(json.dumps(shape)):
                delta.text.encode("utf-8")


@given(
    content=st.text(st.characters(codec=None, categories=None), max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_content_is_whole_characters_whatever_escapes_it_came_in(content: str, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(content)]
    reader, text = ChunkReader(), ""
    for start, end in itertools.pairwise(edges):
        payload = json.dumps({"choices": [{"delta": {"content": content[start:end]}}]})
        text += "".join(delta.text for delta in reader.read(payload))

    expected = content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    # An unpaired half at the very end is still waited for.
    assert text in (expected, expected[:-1])


@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=10), max_size=6),
    cuts=st.lists(st.integers(0, 90)),
)
def test_payloads_are_the_same_however_the_bytes_are_cut(lines: list[str], cuts: list[int]) -> None:
    data = "".join(f"data: x{line}x\n\n: comment\n" for line in lines).encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = SseReader()

    found = [payload for a, b in itertools.pairwise(edges) for payload in reader.feed(data[a:b])]

    assert found == [f"x{line}x" for line in lines]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    reader = SseReader()

    for _ in range(MAX_LINE_BYTES // 65_536):
        assert list(reader.feed(b"x" * 65_536)) == []

    with pytest.raises(InvalidFailure):
        list(reader.feed(b"x"))
