"""A second opinion on labels: a language model behind an OpenAI-compatible server rates texts on the three axes.

It is shown the text and the guidelines, never the archetype or the label that the text has, so what it says is a
rating and not an echo. Each answer is one line in the ratings' file, under the text's content key, written before the
next question is asked: started again, it goes on with what has no rating yet, in whatever order the texts then come.
The file holds no text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from training.errors import DataError, RaterError
from training.logs import logger
from training.markdown import table
from training.metrics import pearson
from training.outputs import AXES
from training.rows import Row

INSTRUCTION = """You rate how one utterance, said by a person to another, lands. Give three numbers from -1 to 1, each judged alone, as \
if the other two did not exist. What the words leave open is 0.
valence: -1 it hurts, saddens, disgusts or attacks; 0 no pleasant or unpleasant tone; 1 it gladdens, thanks, praises, delights.
intimacy: -1 it pushes away, cold, formal, a stranger's; 0 neither; 1 it speaks as one who is close, with shared history, pet names, \
vulnerability or longing, also in hate. Closeness is not niceness.
tension: -1 at ease, soothing, settled; 0 neither; 1 under pressure, in conflict, fear, urgency or suspense, also in joy.
Sarcasm is rated as it is meant. Answer with one JSON object and nothing else: {"valence": 0.0, "intimacy": 0.0, "tension": 0.0}"""
"""The axes of `training/probes/GUIDELINES.md` in few words."""

_TIMEOUT_S = 120.0
_ATTEMPTS = 4
_ANSWER_TOKENS = 200
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Rater:
    """A model on an OpenAI-compatible server.

    Attributes:
        url: the API's root, such as `http://127.0.0.1:8081/v1`.
        model: the model's name there.
        key: for the Authorization header; none if empty.
        pause: waits that many seconds between attempts; for tests.
    """

    url: str
    model: str
    key: str = ""
    pause: Callable[[float], None] | None = None

    def rate(self, client: httpx.Client, text: str) -> dict[str, float] | None:
        """Return the three axes for a text, or None if the answer holds no such numbers.

        Raises:
            RaterError: the server cannot be reached or refuses, also after some attempts where that can pass.
        """
        body = {
            "model": self.model, "temperature": 0, "max_tokens": _ANSWER_TOKENS,
            "messages": [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text}],
        }  # fmt: skip
        waits: dict[str, Any] = {"sleep": self.pause} if self.pause else {}
        attempts = Retrying(
            stop=stop_after_attempt(_ATTEMPTS), wait=wait_exponential_jitter(initial=1, max=20),
            retry=retry_if_exception(_can_pass), reraise=True, **waits,
        )  # fmt: skip
        try:
            response = attempts(self._ask, client, body)
            answer = response.json()["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            raise RaterError(f"{self.url} answered with status {error.response.status_code}.") from error
        except httpx.TransportError as error:
            raise RaterError(f"{self.url} cannot be reached: {type(error).__name__}.") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise RaterError(f"{self.url} does not answer as an OpenAI-compatible server does.") from error
        return parse_rating(str(answer))

    def _ask(self, client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        response = client.post(f"{self.url.rstrip('/')}/chat/completions", json=body, headers=headers)
        response.raise_for_status()
        return response


def _can_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _PASSING
    return isinstance(error, httpx.TransportError)


def parse_rating(answer: str) -> dict[str, float] | None:
    """Return the axes from the first JSON object in an answer, or None: a missing or absurd number is no rating."""
    start = answer.find("{")
    try:
        values, _ = json.JSONDecoder().raw_decode(answer[start:]) if start >= 0 else (None, 0)
        rating = {axis: float(values[axis]) for axis in AXES} if isinstance(values, dict) else {}
    except (ValueError, KeyError, TypeError):
        return None
    return rating if rating and all(-1 <= value <= 1 for value in rating.values()) else None


def read_ratings(path: Path) -> dict[str, dict[str, float]]:
    """Return the ratings of a file by content key; a last line that was cut off counts as not written.

    Raises:
        DataError: if another line is no rating.
    """
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="ascii").split("\n")
    ratings = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            values = json.loads(line)
            ratings[str(values["key"])] = {axis: float(values[axis]) for axis in AXES}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number} is no rating: {error}.") from error
    return ratings


def rescore(rows: Sequence[Row], out: Path, rater: Rater) -> dict[str, dict[str, float]]:
    """Rate every row that `out` does not rate yet, and return all ratings by content key.

    Raises:
        DataError: if `out` is there and is no file of ratings.
        RaterError: if the server fails; what was rated before is kept.
    """
    ratings = read_ratings(out)
    waiting = [row for row in rows if row.key and row.key not in ratings]
    logger.info("%d texts are rated already, %d are to be rated", len(rows) - len(waiting), len(waiting))
    out.parent.mkdir(parents=True, exist_ok=True)
    _drop_cut_line(out)
    unread = 0
    with out.open("a", encoding="ascii") as file, httpx.Client(timeout=_TIMEOUT_S) as client:
        for row in waiting:
            rating = rater.rate(client, row.text)
            if rating is None:
                unread += 1
                continue
            ratings[row.key] = rating
            file.write(json.dumps({"key": row.key, "rater": rater.model} | rating) + "\n")
            file.flush()
    if unread:
        logger.warning("%d answers held no rating; those texts are asked for again at the next start", unread)
    return ratings


def _drop_cut_line(path: Path) -> None:
    if path.is_file():
        text = path.read_text(encoding="ascii")
        if text and not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1], encoding="ascii")


def agreement(rows: Sequence[Row], ratings: dict[str, dict[str, float]]) -> str:
    """Return as Markdown how the ratings agree with the rows' own labels, over all and by archetype."""
    rated = [row for row in rows if row.key in ratings]
    lines: list[list[object]] = []
    for name in ("all", *sorted({row.archetype or "" for row in rated} - {""})):
        own = [row for row in rated if name in ("all", row.archetype)]
        line: list[object] = [name, len(own)]
        for axis in AXES:
            pairs = [(getattr(row, axis), ratings[row.key][axis]) for row in own if getattr(row, axis) is not None]
            values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
            line += [pearson(values[:, 1], values[:, 0]), _mean_gap(values)]
        lines.append(line)
    return table(["archetype", "rows", *(f"{axis} {figure}" for axis in AXES for figure in ("r", "MAE"))], lines)


def _mean_gap(values: np.ndarray) -> float:
    return float(np.abs(values[:, 0] - values[:, 1]).mean()) if len(values) else float("nan")
