"""Keys: the file, the ring that follows it, and what each key may use."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.bucket import Bucket
from gateway.access.errors import KeyRequiredError, KeyUnknownError, TooManyRequestsError
from gateway.access.ring import KeyRing
from limbic.runtime.keys import PREFIX, Key, KeysFileError, Limits, Role, load_keys, new_key, save_keys
from limbic.runtime.tls import SecretFileError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = NOW.timestamp()

    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    def monotonic(self) -> float:
        return self.now_s


def made(name: str = "ada", role: Role = Role.USER, **changes: object) -> tuple[str, Key]:
    return new_key(name, role, now=NOW, **changes)  # type: ignore[arg-type]


async def ring_of(path: Path, clock: SetClock, *keys: Key) -> KeyRing:
    save_keys(path, keys)
    ring = KeyRing(path, clock)
    await ring.load()
    return ring


def test_a_file_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "private" / "keys.jsonl"
    keys = (
        made()[1],
        made("eve", Role.OPERATOR, expires_at=NOW + timedelta(days=1), limits=Limits(1, 2, 3))[1],
    )

    save_keys(path, keys)

    assert load_keys(path) == keys
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.jsonl"]


def test_a_key_is_random_and_stands_nowhere_in_the_file(tmp_path: Path) -> None:
    secrets = []
    for number in range(50):
        secret, key = made()
        save_keys(tmp_path / f"keys-{number}", [key])
        assert secret.startswith(PREFIX)
        assert len(secret) == len(PREFIX) + 43
        assert secret.removeprefix(PREFIX) not in (tmp_path / f"keys-{number}").read_text("utf-8")
        assert secret not in repr(key)
        secrets.append(secret)
    assert len(set(secrets)) == 50


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a" * 41, "ä", "a\n"])
def test_a_name_that_would_not_do_is_refused(name: str) -> None:
    with pytest.raises(KeysFileError):
        made(name)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "abc"},
        {"role": "admin"},
        {"owner": "short"},
        {"name": "With Blanks"},
        {"sessions": 0},
        {"sessions": 1.5},
        {"turns_per_minute": True},
        {"created_at": "yesterday"},
        {"created_at": "2026-11-23T12:00:00"},
        {"unknown": 1},
        {"name": None},
    ],
    ids=str,
)
def test_a_line_that_is_no_key_is_refused_by_its_number_and_not_quoted(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "keys"
    save_keys(path, [made("first")[1], made("second")[1]])
    lines = path.read_text("utf-8").splitlines()
    fields = {**json.loads(lines[1]), **change}
    fields = {name: value for name, value in fields.items() if value is not None or name == "expires_at"}
    path.write_text(f"{lines[0]}\n{json.dumps(fields)}\n", "utf-8")

    with pytest.raises(KeysFileError, match="line 2") as refused:
        load_keys(path)

    assert fields["sha256"] not in str(refused.value)


def test_one_name_twice_or_no_json_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    save_keys(path, [made()[1], made()[1]])
    with pytest.raises(KeysFileError, match="there is a key ada already"):
        load_keys(path)
    path.write_text("lmb_oops-the-key-itself\n", "utf-8")
    with pytest.raises(KeysFileError) as refused:
        load_keys(path)
    assert "oops" not in str(refused.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    save_keys(path, [made()[1]])
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match="chmod 600"):
        load_keys(path)


async def test_a_key_opens_and_anything_else_does_not(tmp_path: Path) -> None:
    secret, key = made()
    _, other = made("other")
    ring = await ring_of(tmp_path / "keys", SetClock(), other, key)

    assert ring.find(f"Bearer {secret}") == key
    assert ring.find(f"bearer   {secret} ") == key
    for nothing in ("", "Bearer", "Bearer ", "Basic YTpi", secret):
        with pytest.raises(KeyRequiredError):
            ring.find(nothing)
    for wrong in (secret[:-1], secret + "x", secret.upper(), "lmb_", "\udcff", key.digest.hex()):
        with pytest.raises(KeyUnknownError):
            ring.find(f"Bearer {wrong}")


async def test_a_key_is_good_until_its_last_moment(tmp_path: Path) -> None:
    clock = SetClock()
    secret, key = made(expires_at=NOW + timedelta(hours=1))
    ring = await ring_of(tmp_path / "keys", clock, key)

    clock.now_s += 3_599
    assert ring.find(f"Bearer {secret}") == key
    clock.now_s += 1
    with pytest.raises(KeyUnknownError):
        ring.find(f"Bearer {secret}")


async def test_the_ring_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    (first, kept), (second, added) = made("first"), made("second")
    ring = await ring_of(path, SetClock(), kept)
    looks, looked = asyncio.Semaphore(0), asyncio.Event()

    async def sleep(seconds: float) -> None:
        looked.set()
        await looks.acquire()

    async def look() -> None:
        looked.clear()
        looks.release()
        await looked.wait()

    following = asyncio.create_task(ring.follow(sleep))
    await looked.wait()

    save_keys(path, [kept, added])
    await look()
    assert ring.find(f"Bearer {second}") == added

    save_keys(path, [added])
    await look()
    with pytest.raises(KeyUnknownError):
        ring.find(f"Bearer {first}")

    # What cannot be used changes nothing: whoever edits the file by hand must not lock everybody out half-way.
    for damage in (lambda: path.write_text("{", "utf-8"), lambda: path.chmod(0o644), path.unlink):
        damage()
        await look()
        assert ring.find(f"Bearer {second}") == added

    save_keys(path, [])
    await look()
    with pytest.raises(KeyUnknownError):
        ring.find(f"Bearer {second}")
    following.cancel()


async def test_a_file_that_cannot_be_used_at_the_start_lets_nobody_in(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError):
        await KeyRing(tmp_path / "nowhere", SetClock()).load()


async def test_each_key_has_its_own_limits_and_says_when_to_come_back(tmp_path: Path) -> None:
    clock = SetClock()
    _, small = made("small", limits=Limits(turns_per_minute=2, requests_per_minute=1_000))
    _, large = made("large")
    ring = await ring_of(tmp_path / "keys", clock, small, large)

    ring.charge_turn(small)
    ring.charge_turn(small)
    with pytest.raises(TooManyRequestsError) as refused:
        ring.charge_turn(small)
    assert refused.value.retry_after == pytest.approx(30.0)
    ring.charge_turn(large)
    ring.charge_request(small)
    clock.now_s += 30.0
    ring.charge_turn(small)


async def test_a_reload_gives_nobody_a_full_bucket_but_whose_key_has_changed(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys", SetClock()
    _, used = made("used", limits=Limits(turns_per_minute=1))
    _, changed = made("changed", limits=Limits(turns_per_minute=1))
    ring = await ring_of(path, clock, used, changed)
    ring.charge_turn(used)
    ring.charge_turn(changed)

    raised = Key(
        **{slot: getattr(changed, slot) for slot in changed.__slots__} | {"limits": Limits(turns_per_minute=2)}
    )
    save_keys(path, [used, raised])
    await ring.load()

    ring.charge_turn(raised)
    with pytest.raises(TooManyRequestsError):
        ring.charge_turn(used)


@given(
    per_minute=st.integers(1, 300),
    gaps=st.lists(st.floats(0.0, 90.0), min_size=1, max_size=120),
)
def test_no_stretch_of_time_gives_more_than_a_minutes_worth_and_what_came_in_meanwhile(
    per_minute: int, gaps: list[float]
) -> None:
    now_s, taken = 0.0, []
    bucket = Bucket(per_minute, now_s)
    for gap in gaps:
        now_s += gap
        wait_s = bucket.take(now_s)
        assert 0.0 <= wait_s <= 60.0 / per_minute * (1 + 1e-9)
        if not wait_s:
            taken.append(now_s)
    for index, begin in enumerate(taken):
        for count, end in enumerate(taken[index:], 1):
            assert count <= per_minute + (end - begin) * per_minute / 60.0 + 1 + 1e-6


@given(per_minute=st.integers(1, 300))
def test_whoever_waits_as_long_as_told_is_served(per_minute: int) -> None:
    bucket = Bucket(per_minute, 0.0)
    for _ in range(per_minute):
        assert bucket.take(0.0) == 0.0
    wait_s = bucket.take(0.0)
    assert wait_s > 0.0
    assert bucket.take(wait_s * (1 + 1e-9)) == 0.0
