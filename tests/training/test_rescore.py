"""Rescoring against a real HTTP server that speaks as an OpenAI-compatible one does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from training.errors import DataError, RaterError
from training.rescore import Rater, agreement, parse_rating, read_ratings, rescore
from training.rows import Row
from training.text import content_key

Answer = Callable[[dict[str, Any], int], tuple[int, Any]]


class Server:
    """Answers chat completions with what `answer` says to a request's body and its number; remembers the bodies."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer = lambda body, number: (200, {"valence": 0.5, "intimacy": -0.5, "tension": 0})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers))
                status, content = outer.answer(body, len(outer.bodies))
                text = content if isinstance(content, str) else json.dumps(content)
                data = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def _rows(count: int = 3) -> list[Row]:
    return [
        Row(content_key(f"text {n}"), f"text {n}", "probes", (f"p:{n}",), valence=0.1 * n, intimacy=0.0, tension=-0.2,
            archetype="hostile_intimacy")
        for n in range(count)
    ]  # fmt: skip


def _rater(server: Server, waits: list[float] | None = None, key: str = "") -> Rater:
    return Rater(server.url, "judge", key, (waits if waits is not None else []).append)


def test_the_rater_sees_the_text_and_never_the_archetype_or_a_label(server: Server, tmp_path: Path) -> None:
    ratings = rescore(_rows(), tmp_path / "ratings.jsonl", _rater(server, key="secret"))

    assert [body["messages"][-1]["content"] for body in server.bodies] == ["text 0", "text 1", "text 2"]
    for body in server.bodies:
        assert (body["model"], body["temperature"]) == ("judge", 0)
        assert "hostile" not in json.dumps(body)
        assert "archetype" not in json.dumps(body)
    assert (
        server.headers[0]["authorization" if "authorization" in server.headers[0] else "Authorization"]
        == "Bearer secret"
    )
    assert ratings[_rows()[0].key] == {"valence": 0.5, "intimacy": -0.5, "tension": 0.0}
    assert "text 0" not in (tmp_path / "ratings.jsonl").read_text()


def test_it_goes_on_by_content_in_whatever_order_the_texts_come(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "ratings.jsonl"

    def fails_at_the_third(body: dict[str, Any], number: int) -> tuple[int, Any]:
        return (401, "no") if number == 3 else (200, {"valence": number / 10, "intimacy": 0, "tension": 0})

    server.answer = fails_at_the_third
    with pytest.raises(RaterError, match="answered with status 401"):
        rescore(_rows(4), out, _rater(server))
    with out.open("a") as file:
        file.write('{"key": "cut off in the mid')

    ratings = rescore(list(reversed(_rows(4))), out, _rater(server))

    asked = [body["messages"][-1]["content"] for body in server.bodies]
    assert asked == ["text 0", "text 1", "text 2", "text 3", "text 2"]
    assert {row.key for row in _rows(4)} == ratings.keys() == read_ratings(out).keys()
    assert ratings[_rows()[0].key]["valence"] == 0.1
    assert len(out.read_text().splitlines()) == 4


def test_an_answer_without_a_rating_is_asked_for_again_at_the_next_start(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "ratings.jsonl"
    server.answer = lambda body, number: (
        200,
        "I would rather not say" if number == 2 else '{"valence":0,"intimacy":0,"tension":0}',
    )

    assert len(rescore(_rows(), out, _rater(server))) == 2
    assert len(rescore(_rows(), out, _rater(server))) == 3
    assert [body["messages"][-1]["content"] for body in server.bodies][3:] == ["text 1"]


def test_what_can_pass_is_tried_again_and_what_cannot_is_not(server: Server, tmp_path: Path) -> None:
    waits: list[float] = []
    server.answer = lambda body, number: (503 if number <= 2 else 200, {"valence": 0, "intimacy": 0, "tension": 0})
    rescore(_rows(1), tmp_path / "a.jsonl", _rater(server, waits))
    assert (len(server.bodies), len(waits)) == (3, 2)

    server.answer = lambda body, number: (503, "busy")
    with pytest.raises(RaterError, match="status 503"):
        rescore(_rows(1), tmp_path / "b.jsonl", _rater(server, waits))
    assert len(server.bodies) == 3 + 4


def test_a_server_that_is_not_there_or_is_another_is_named(server: Server, tmp_path: Path) -> None:
    gone = Server()
    gone.close()
    with pytest.raises(RaterError, match=r"127\.0\.0\.1:\d+/v1 cannot be reached: ConnectError"):
        rescore(_rows(1), tmp_path / "a.jsonl", _rater(gone))

    server.answer = lambda body, number: (404, "not found")
    with pytest.raises(RaterError, match="answered with status 404"):
        rescore(_rows(1), tmp_path / "a.jsonl", _rater(server))


def test_a_file_of_something_else_is_not_added_to(server: Server, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"valence": 1}\n')

    with pytest.raises(DataError, match="line 1 is no rating"):
        rescore(_rows(1), tmp_path / "b.jsonl", _rater(server))
    assert server.bodies == []


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ('{"valence": 0.5, "intimacy": -1, "tension": 1}', (0.5, -1, 1)),
        ('Sure!\n```json\n{"valence": 0, "intimacy": "0.2", "tension": 0, "why": "x"}\n```', (0, 0.2, 0)),
        ('{"valence": 0.5, "intimacy": -1}', None),
        ('{"valence": 5, "intimacy": 0, "tension": 0}', None),
        ('{"valence": NaN, "intimacy": 0, "tension": 0}', None),
        ('{"valence": 0.5, "intimacy', None),
        ("[1, 2, 3]", None),
        ("", None),
    ],
)
def test_only_three_numbers_in_their_range_are_a_rating(answer: str, rating: tuple[float, ...] | None) -> None:
    parsed = parse_rating(answer)

    assert (tuple(parsed.values()) if parsed else None) == rating


def test_agreement_is_told_by_archetype() -> None:
    rows = _rows(4)
    ratings = {row.key: {"valence": 2 * (row.valence or 0), "intimacy": 0.5, "tension": -0.2} for row in rows}

    report = agreement(rows, ratings)

    assert "| hostile_intimacy | 4 | 1.000 | 0.150 | – | 0.500 | – | 0.000 |" in report
