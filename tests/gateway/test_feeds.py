"""The feeds: real files, a real disk limit, and the reader that the training uses."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.protobuf.json_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from gateway.feeds import RAW, READABLE, WAITING, Feeds
from gateway.feeds_files import RotatingFile
from gateway.feeds_text import one_line, raw_line, readable_lines
from limbic.gateway.v1 import gateway_pb2
from tests.gateway.page_parts import HOSTILE
from training.harvest import read_feed


def reading(text: str = "I hate you", turn_id: str = "t1") -> gateway_pb2.TelemetryReading:
    seen = gateway_pb2.TelemetryReading(
        turn_id=turn_id, status=gateway_pb2.AFFECT_STATUS_LATE, reading=HOSTILE, text=text
    )
    seen.occurred_at.FromNanoseconds(1_780_000_000_120_000_000)
    seen.latency.FromMilliseconds(1_234)
    return seen


def dropped(cause: str) -> float:
    return REGISTRY.get_sample_value("limbic_feed_dropped_total", {"cause": cause}) or 0.0


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Have the kernel refuse to let any file of this process grow beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_rotated_by_its_size_and_the_oldest_goes(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "logs" / "feed", max_bytes=10, files=3)

    for number in range(1, 9):
        file.append(f"line{number}\n")
    file.close()

    found = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert found == {"feed": "line8\n", "feed.1": "line7\n", "feed.2": "line6\n"}


@given(
    lines=st.lists(st.text("ab", max_size=12).map(lambda text: f"{text}\n"), max_size=30),
    limit=st.integers(1, 40),
    files=st.integers(1, 4),
)
def test_files_hold_the_latest_lines_whole_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], limit: int, files: int
) -> None:
    folder = tmp_path_factory.mktemp("feed")
    file = RotatingFile(folder / "feed", limit, files)
    for line in lines:
        file.append(line)
    file.close()

    found = sorted(folder.iterdir(), key=lambda path: -int(path.suffix[1:] or 0))
    kept = "".join(path.read_text() for path in found)
    assert "".join(lines).endswith(kept)
    assert len(found) <= files
    assert all(path.stat().st_size <= limit or path.read_text().count("\n") == 1 for path in found)
    assert bool(lines) == bool(found)


def test_only_this_user_may_read_them_even_if_the_file_was_open_to_all(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "feed"
    file = RotatingFile(path, 100, 2)
    file.append("one\n")
    file.close()
    path.chmod(0o644)
    file.append("two\n")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    file.close()


def test_half_a_line_that_a_killed_process_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_text("whole\n" + "half" * 40_000)
    file = RotatingFile(path, 1_000_000, 2)
    file.append("next\n")
    file.close()

    assert path.read_text() == "whole\nnext\n"


def test_a_file_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    file = RotatingFile(path, 100, 2)
    file.append("one\n")
    path.unlink()
    file.append("two\n")
    file.close()

    assert path.read_text() == "two\n"


def test_where_the_disk_is_full_no_half_line_stays(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    file = RotatingFile(path, 10_000, 2)
    file.append("a" * 60 + "\n")
    with files_no_larger_than(100), pytest.raises(OSError, match="File too large"):
        file.append("b" * 60 + "\n")
    file.append("c\n")
    file.close()

    assert path.read_text() == "a" * 60 + "\nc\n"


async def test_the_raw_feed_is_what_the_training_reads(tmp_path: Path) -> None:
    feeds = Feeds(tmp_path, 1_000_000, 2)
    feeds.start()
    feeds.put(reading("Line one\nline two   x"))
    feeds.put(gateway_pb2.TelemetryReading(turn_id="t2", status=gateway_pb2.AFFECT_STATUS_UNAVAILABLE))
    await feeds.stop()

    candidates = read_feed([tmp_path / RAW])
    lines = (tmp_path / RAW).read_text("utf-8").splitlines()
    assert [candidate.text for candidate in candidates] == ["Line one\nline two   x"]
    assert Parse(lines[0], gateway_pb2.TelemetryReading()) == reading("Line one\nline two   x")
    assert len(lines) == 2


def test_the_readable_feed_is_for_people() -> None:
    seen = reading("so\x1b[2J what\n\u202eis")
    seen.reading.reasoning = "“what” did it."

    assert readable_lines(seen) == (
        "2026-05-28 20:26:40.120Z  late after 1234 ms  t1\n"
        "  valence     ·█████████│·········· -0.90 ± 0.10\n"
        "  intimacy    ········██│·········· -0.20 ± 0.20\n"
        "  tension     ··········│████████·· +0.80 ± 0.10\n"
        "  confidence  0.90    emotions  anger 0.90    head  test-head Q4_0\n"
        "  said        so [2J what is\n"
        "  why         “what” did it.\n"
        "\n"
    )


@given(text=st.text())
def test_words_never_leave_their_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert raw_line(reading(text)).count("\n") == 1


async def test_a_disk_that_cannot_be_written_is_counted_said_once_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.write_text("a file where the folder should be")
    before = dropped("write_failed")
    feeds = Feeds(folder, 1_000_000, 2)
    feeds.start()
    for number in range(3):
        feeds.put(reading(turn_id=f"lost{number}"))
    await feeds.stop()
    folder.unlink()
    again = Feeds(folder, 1_000_000, 2)
    again.start()
    again.put(reading(turn_id="kept"))
    await again.stop()

    assert dropped("write_failed") - before == 3
    assert capsys.readouterr().out.count("the feeds cannot be written") == 1
    assert "kept" in (folder / READABLE).read_text()


def test_what_the_thread_cannot_keep_up_with_is_dropped_and_counted(tmp_path: Path) -> None:
    before = dropped("queue_full")
    feeds = Feeds(tmp_path, 1_000_000, 2)
    for _ in range(WAITING + 3):
        feeds.put(reading())

    assert dropped("queue_full") - before == 3
