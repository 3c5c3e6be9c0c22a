"""The directory of unnamed conversations, in a real file."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.content import Said, pair_digests
from gateway.directory import Directory
from limbic.state.v1 import state_pb2
from tests.gateway.fakes import ManualTimer

ROLES = state_pb2.ROLE_USER, state_pb2.ROLE_ASSISTANT


def pairs(*texts: str, caller: str = "") -> list[bytes]:
    return pair_digests(caller, [Said(ROLES[index % 2], text) for index, text in enumerate(texts)])


@pytest.fixture
def timer() -> ManualTimer:
    return ManualTimer()


@pytest.fixture
async def directory(tmp_path: Path, timer: ManualTimer) -> AsyncIterator[Directory]:
    directory = Directory(tmp_path / "var" / "directory.sqlite3", timer)
    await directory.open()
    yield directory
    await directory.close()


async def test_a_conversation_is_found_by_what_is_left_of_it(directory: Directory) -> None:
    await directory.note("ada", pairs("one", "two", "three", "four"))

    assert await directory.find(pairs("three", "four", "five")[:1]) is None
    assert await directory.find(pairs("two", "three", "four")) is None
    assert await directory.find(pairs("one", "two", "three")) == "ada"
    assert await directory.find(pairs("one", "two", "three", caller="another key")) is None
    assert await directory.find([]) is None


async def test_one_exchange_in_common_is_not_enough(directory: Directory) -> None:
    await directory.note("ada", pairs("hi", "Hello!", "how are you", "fine"))

    assert await directory.find(pairs("hi", "Hello!", "who are you")) is None


async def test_of_several_conversations_the_one_that_shares_most_is_found(directory: Directory) -> None:
    await directory.note("ada", pairs("hi", "Hello!", "how are you", "fine"))
    await directory.note("eve", pairs("so", "Yes?", "what now"))

    assert (
        await directory.find([*pairs("hi", "Hello!", "how are you", "fine"), *pairs("so", "Yes?", "what now")]) == "ada"
    )


async def test_it_outlives_the_gateway_and_belongs_to_its_user(tmp_path: Path, timer: ManualTimer) -> None:
    path = tmp_path / "directory.sqlite3"
    for open_for in ("writing", "reading"):
        directory = Directory(path, timer)
        await directory.open()
        if open_for == "writing":
            await directory.note("ada", pairs("one", "two", "three"))
        found = await directory.find(pairs("one", "two", "three"))
        await directory.close()

    assert found == "ada"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"one" not in path.read_bytes()


async def test_the_pairs_used_longest_ago_go_first(tmp_path: Path, timer: ManualTimer) -> None:
    directory = Directory(tmp_path / "directory.sqlite3", timer, max_pairs=20)
    await directory.open()
    for number in range(12):
        await directory.note(f"s{number}", pairs(f"a{number}", f"b{number}", f"c{number}"))
        await timer.advance(1.0)
        await directory.note("s0", pairs("a0", "b0", "c0"))

    found = [await directory.find(pairs(f"a{number}", f"b{number}", f"c{number}")) for number in (0, 1, 11)]
    await directory.close()

    assert found == ["s0", None, "s11"]


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, timer: ManualTimer) -> None:
    path = tmp_path / "directory.sqlite3"
    path.write_bytes(b"no database, but long enough to be one" * 100)
    directory = Directory(path, timer)

    with pytest.raises(OSError, match=r"directory\.sqlite3 cannot be used .* may be removed"):
        await directory.open()
    await directory.close()
