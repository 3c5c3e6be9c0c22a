"""The spool: what was acknowledged is there after any crash, in order, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ports import Fact, SpoolRefusedError
from gateway.spool import Spool, pack, unpack
from gateway.spool_files import SEGMENT_BYTES, SpoolFiles, SpoolLockedError, decode, encode
from limbic.state.v1 import state_pb2

MIB = 1024 * 1024
payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


def turn(number: int, session_id: str = "ada", text: str = "hello") -> state_pb2.RecordTurnRequest:
    return state_pb2.RecordTurnRequest(session_id=session_id, turn_id=f"t{number}", text=text)


def drained(files: SpoolFiles) -> list[bytes]:
    found = []
    while (payload := files.peek()) is not None:
        found.append(payload)
        files.acknowledge()
    return found


async def taken(spool: Spool, limit: int) -> list[Fact]:
    found: list[Fact] = []
    while len(found) < limit and (fact := await spool.first()) is not None:
        found.append(fact)
        await spool.done(fact)
    return found


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = Spool(tmp_path / "spool", MIB)
    await spool.open()
    yield spool
    await spool.close()


@given(payloads)
def test_what_is_encoded_is_decoded(records: list[bytes]) -> None:
    data = b"".join(map(encode, records))

    assert [payload for _, payload in decode(data)] == records


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read_and_hold_only_records_that_check(data: bytes) -> None:
    end = 0
    for record_end, payload in decode(data):
        assert data[end:record_end] == encode(payload)
        end = record_end


@given(st.lists(payloads, min_size=1, max_size=4), st.data())
def test_a_crash_at_any_byte_keeps_every_durable_record_and_invents_none(
    batches: list[list[bytes]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "spool"
        files = SpoolFiles(directory, MIB)
        durable: list[bytes] = []
        for batch in batches:
            if batch:
                files.append(batch)
                durable += batch
        unsynced = data.draw(payloads)
        torn = b"".join(map(encode, unsynced))
        torn = torn[: data.draw(st.integers(0, len(torn)))]
        segments = sorted(directory.glob("*.facts"))
        if segments:
            with segments[-1].open("ab") as file:
                file.write(torn)
        files.close()

        after_the_crash = SpoolFiles(directory, MIB)
        after_the_crash.append([b"later"])
        found = drained(after_the_crash)
        after_the_crash.close()

        assert found[: len(durable)] == durable
        assert found[-1] == b"later"
        # Of what was not acknowledged, a beginning may have survived.
        assert found[len(durable) : -1] == unsynced[: len(found) - len(durable) - 1]
        assert list(directory.glob("*.damaged")) == []
        assert list(directory.glob("*.facts")) == []


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6), st.data())
def test_a_damaged_byte_is_noticed_and_the_file_is_kept(records: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "spool"
        files = SpoolFiles(directory, MIB)
        files.append(records)
        files.close()
        (segment,) = directory.glob("*.facts")
        content = bytearray(segment.read_bytes())
        victim = data.draw(st.integers(0, len(records) - 1))
        start = sum(len(encode(record)) for record in records[:victim])
        # Within the content of one record; a damaged length looks like a torn end.
        content[start + 8 + data.draw(st.integers(0, len(records[victim]) - 1))] ^= 0xFF
        segment.write_bytes(content)

        after = SpoolFiles(directory, MIB)
        found = drained(after)
        after.close()

        assert found == records[:victim]
        assert [path.read_bytes() for path in directory.glob("*.damaged")] == [bytes(content)]


def test_a_file_that_a_crash_has_filled_with_zeros_holds_nothing(tmp_path: Path) -> None:
    files = SpoolFiles(tmp_path, MIB)
    files.append([b"one"])
    files.close()
    (segment,) = tmp_path.glob("*.facts")
    with segment.open("ab") as file:
        file.write(bytes(4096))

    after = SpoolFiles(tmp_path, MIB)

    assert drained(after) == [b"one"]
    assert list(tmp_path.glob("*.damaged")) == []
    after.close()


def test_a_long_outage_frees_its_space_bit_by_bit(tmp_path: Path) -> None:
    files = SpoolFiles(tmp_path, 8 * SEGMENT_BYTES)
    record = bytes(SEGMENT_BYTES // 2)
    for _ in range(6):
        files.append([record])

    segments_when_full = len(list(tmp_path.glob("*.facts")))
    for _ in range(3):
        files.peek()
        files.acknowledge()

    assert segments_when_full >= 3
    assert len(list(tmp_path.glob("*.facts"))) < segments_when_full
    assert len(drained(files)) == 3
    files.close()


def test_a_full_spool_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    files = SpoolFiles(tmp_path, 100)
    files.append([bytes([1]) * 60])

    with pytest.raises(OSError, match="of 100 bytes"):
        files.append([bytes([2]) * 60])
    assert drained(files) == [bytes([1]) * 60]
    files.append([bytes([3]) * 60])

    assert drained(files) == [bytes([3]) * 60]
    files.close()


def test_a_write_that_fails_hides_nothing_that_comes_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = SpoolFiles(tmp_path, MIB)
    files.append([b"before"])
    write = os.write

    def full_disk(descriptor: int, data: bytes) -> int:
        write(descriptor, bytes(data[:5]))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_disk)
        with pytest.raises(OSError, match="No space left"):
            files.append([b"lost"])
    files.append([b"after"])

    assert drained(files) == [b"before", b"after"]
    files.close()


def test_a_refused_record_is_not_there_although_its_bytes_had_reached_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SpoolFiles(tmp_path, MIB)
    files.append([b"before"])

    def broken_disk(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken_disk)
        with pytest.raises(OSError, match="Input/output error"):
            files.append([b"refused"])
    files.append([b"after"])

    assert drained(files) == [b"before", b"after"]
    files.close()


def test_the_files_are_private_and_have_one_user(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    files = SpoolFiles(directory, MIB)
    files.append([b"private"])
    files.set_aside(b"refused")

    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    with pytest.raises(SpoolLockedError):
        SpoolFiles(directory, MIB)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert modes == {0o600}
    files.close()
    SpoolFiles(directory, MIB).close()


@pytest.mark.parametrize(
    "fact",
    [
        state_pb2.CreateSessionRequest(session_id="ada", temperament="steady"),
        turn(1),
        state_pb2.AddStimulusRequest(session_id="ada", turn_id="t1", stimulus=state_pb2.Stimulus(stimulus_id="x")),
    ],
)
def test_every_kind_of_fact_survives_packing(fact: Fact) -> None:
    assert unpack(pack(fact)) == fact


async def test_facts_come_out_in_order_after_a_restart_and_are_counted_by_session(tmp_path: Path) -> None:
    first = Spool(tmp_path, MIB)
    await first.open()
    facts = [turn(number, f"s{number % 2}") for number in range(5)]
    for fact in facts:
        await first.append(fact)
    await first.close()

    second = Spool(tmp_path, MIB)
    await second.open()
    found = await taken(second, 4)
    holds_after_four = second.holds("s0"), second.holds("s1")
    found += await taken(second, 4)
    await second.close()

    assert found == facts
    assert holds_after_four == (True, False)
    assert len(second) == 0


async def test_facts_that_come_together_share_a_write_and_keep_their_order(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        syncs.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    facts = [turn(number) for number in range(50)]

    await asyncio.gather(*(spool.append(fact) for fact in facts))

    assert await taken(spool, 60) == facts
    # One for the new segment's directory entry, and one or two writes.
    assert len(syncs) <= 6


async def test_a_fact_counts_as_waiting_before_it_is_written(spool: Spool) -> None:
    append = asyncio.create_task(spool.append(turn(1)))
    await asyncio.sleep(0)

    assert spool.holds("ada")

    await append


async def test_a_full_spool_says_so_and_does_not_hold_the_session(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 200)
    await spool.open()

    with pytest.raises(SpoolRefusedError):
        await spool.append(turn(1, text="x" * 300))

    assert not spool.holds("ada")
    await spool.append(turn(2))
    assert await spool.first() == turn(2)
    await spool.close()


async def test_a_record_of_an_unknown_kind_is_set_aside(tmp_path: Path) -> None:
    files = SpoolFiles(tmp_path, MIB)
    stranger = pack(state_pb2.GetStateRequest(session_id="ada"))  # type: ignore[arg-type]
    files.append([stranger, pack(turn(1))])
    files.close()
    spool = Spool(tmp_path, MIB)
    await spool.open()

    assert await spool.first() == turn(1)

    await spool.close()
    assert [payload for _, payload in decode((tmp_path / "rejected.facts-aside").read_bytes())] == [stranger]
