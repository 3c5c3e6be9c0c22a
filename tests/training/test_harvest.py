from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson
from typer.testing import CliRunner

from limbic.affect.v1 import affect_pb2
from limbic.gateway.v1 import gateway_pb2
from training.cli import app
from training.dataset import PROBE_FOLDER
from training.errors import DataError
from training.harvest import Candidate, choose, read_feed
from training.text import content_key


def _line(text: str, confidence: float) -> str:
    reading = gateway_pb2.TelemetryReading(
        turn_id="t", text=text, status=gateway_pb2.AFFECT_STATUS_IN_WINDOW,
        reading=affect_pb2.AffectReading(valence=0.25, confidence=confidence),
    )  # fmt: skip
    return MessageToJson(reading, indent=None, preserving_proto_field_name=True) + "\n"


@pytest.fixture
def feed(tmp_path: Path) -> list[Path]:
    """Two files of a rotated feed, with a repetition and a turn whose reading never came."""
    paths = [tmp_path / "affect_head_raw.jsonl.1", tmp_path / "affect_head_raw.jsonl"]
    paths[0].write_text("".join(_line(f"words number {n}", n / 100) for n in range(40)))
    late = MessageToJson(gateway_pb2.TelemetryReading(turn_id="x", text="no reading"), indent=None) + "\n"
    paths[1].write_text(_line("Words, number 3!", 0.9) + late + "".join(_line(f"more {n}", 0.99) for n in range(10)))
    return paths


def test_every_text_with_a_reading_is_found_once(feed: list[Path]) -> None:
    found = read_feed(feed)

    assert len(found) == 50
    assert {candidate.text for candidate in found} >= {"words number 3", "more 9"}
    assert "no reading" not in {candidate.text for candidate in found}


def test_half_are_the_least_sure_and_half_are_drawn_by_content(feed: list[Path]) -> None:
    found = read_feed(feed)

    chosen = choose(found, {content_key("words number 0")}, 11)

    unsure = [c.text for c in chosen if c.chosen == "unsure"]
    assert unsure == [f"words number {n}" for n in range(1, 7)]
    drawn = [c.key for c in chosen if c.chosen == "drawn"]
    assert len(drawn) == 5
    assert drawn == sorted(drawn)
    assert not {c.key for c in chosen if c.chosen == "unsure"} & set(drawn)
    assert choose(list(reversed(found)), {content_key("words number 0")}, 11) == chosen


def test_fewer_than_asked_for_come_whole() -> None:
    assert [c.chosen for c in choose([Candidate("a", "a", 0.5), Candidate("b", "b", 0.4)], set(), 10)] == ["unsure"] * 2
    assert choose([], set(), 10) == []


def test_candidates_are_whole_private_and_say_nothing_of_the_reading(feed: list[Path], tmp_path: Path) -> None:
    long = "I never told anybody this, " + "and I am telling you now, " * 20
    known = json.loads((PROBE_FOLDER / "warm_open.jsonl").read_text(encoding="utf-8").splitlines()[0])["text"]
    with feed[1].open("a") as file:
        file.write(_line(long, 0.0) + _line(known, 0.0))

    result = CliRunner().invoke(app, ["harvest", *map(str, feed), "--out", str(tmp_path / "c.jsonl"), "--count", "6"])

    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    # As sure as the least sure one of the feed, so in one of the first places.
    assert long.strip() in {line["text"] for line in lines[:3]}
    assert known not in {line["text"] for line in lines}
    assert all(line["valence"] is None for line in lines)
    assert "0.25" not in (tmp_path / "c.jsonl").read_text()
    assert stat.S_IMODE((tmp_path / "c.jsonl").stat().st_mode) == 0o600


def test_a_feed_without_texts_says_which_setting_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text(_line("", 0.5))

    with pytest.raises(DataError, match=r"holds no texts.* gateway\.log_text \(LIMBIC_GATEWAY__LOG_TEXT\)"):
        read_feed([tmp_path / "feed"])


def test_a_line_that_is_no_reading_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text(_line("fine", 0.5) + '{"text": "my secret", "reading": 5}\n')

    with pytest.raises(DataError, match="line 2 is no reading") as caught:
        read_feed([tmp_path / "feed"])

    assert "secret" not in str(caught.value)
    with pytest.raises(DataError, match="nothing is missing"):
        read_feed([tmp_path / "nothing"])
