"""Each owner's own names for sessions, and how many it may hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.errors import TooManySessionsError
from gateway.access.holdings import Holdings
from gateway.access.visitor import ANYBODY, MAX_ID_CHARS, Visitor, owner_of
from limbic.gateway.v1 import gateway_pb2
from limbic.llm.v1 import llm_pb2
from limbic.runtime.errors import InvalidArgumentError
from limbic.runtime.keys import Role, new_key
from limbic.runtime.validate import identifier
from limbic.state.v1 import state_pb2
from tests.gateway.test_access_keys import SetClock

NAMES = st.text("abcABC019._:-k", min_size=1, max_size=100)


def visitor(role: Role = Role.USER) -> Visitor:
    return Visitor(new_key("x", role, now=datetime.now(UTC))[1])


@given(NAMES, NAMES)
def test_two_owners_never_mean_the_same_session(one: str, other: str) -> None:
    ada, eve = visitor(), visitor()

    assert ada.inner(one) != eve.inner(other)
    assert ada.outer(ada.inner(one)) == one
    assert ada.may_see(ada.inner(one))
    assert not eve.may_see(ada.inner(one))
    # Not even by naming the other's session in full.
    assert not ada.may_see(eve.inner(ada.inner(one)[:100]))
    assert ada.key is not None
    assert owner_of(ada.inner(one)) == ada.key.owner
    assert identifier("session_id", ada.inner(one)) == ada.inner(one)


@given(NAMES)
def test_operators_and_a_gateway_without_keys_use_full_names(name: str) -> None:
    for one in (visitor(Role.OPERATOR), ANYBODY):
        assert one.inner(name) == one.outer(name) == name
        assert one.may_see(visitor().inner(name))


def test_a_name_too_long_for_its_space_is_refused_with_what_fits() -> None:
    ada = visitor()
    room = MAX_ID_CHARS - len(ada.name_space)

    assert len(ada.inner("x" * room)) == MAX_ID_CHARS
    with pytest.raises(InvalidArgumentError, match=f"1 to {room} "):
        ada.inner("x" * (room + 1))
    assert ANYBODY.inner("x" * 200) == "x" * 200


@pytest.mark.parametrize(
    "message",
    [
        state_pb2.GetStateRequest(session_id="bob"),
        state_pb2.ForkRequest(session_id="bob", new_session_id="bob-2"),
        gateway_pb2.TurnResponse(state=gateway_pb2.StateUpdate(state=state_pb2.State(session_id="bob"))),
        gateway_pb2.TurnResponse(affect=gateway_pb2.AffectUpdate(state=state_pb2.State(session_id="bob"))),
        gateway_pb2.TurnResponse(done=gateway_pb2.Done(trace=gateway_pb2.Trace(session_id="bob"))),
        llm_pb2.GenerateRequest(session_id="bob"),
        state_pb2.GetStateRequest(),
    ],
    ids=lambda message: str(message.DESCRIPTOR.name),
)
def test_messages_are_translated_wherever_they_name_a_session(message: Message) -> None:
    ada = visitor()
    before = message.SerializeToString()

    inside = ada.inward(message)
    assert message.SerializeToString() == before
    text = inside.SerializeToString()
    assert text.count(b"bob") == text.count(ada.name_space.encode() + b"bob")

    assert ada.outward(inside).SerializeToString() == before


def test_a_sentence_shows_the_outer_name() -> None:
    ada = visitor()
    assert ada.told(f"there is no session {ada.inner('bob')}") == "there is no session bob"


class Nursery:
    """Holdings whose engine is a set of names."""

    def __init__(self, path: Path) -> None:
        self.there: set[str] = set()
        self.ada, self.eve = visitor(), visitor()
        self.limits = {one.key.owner: 3 for one in (self.ada, self.eve) if one.key}
        self.clock = SetClock()
        self.holdings = Holdings(path, self.clock, self.limits.get, self._is_gone)

    async def _is_gone(self, session_id: str) -> bool:
        return session_id not in self.there

    async def make(self, who: Visitor, name: str) -> None:
        self.clock.now_s += 1.0
        await self.holdings.admit(who.inner(name))
        self.there.add(who.inner(name))


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Nursery]:
    nursery = Nursery(tmp_path / "keys.sqlite3")
    await nursery.holdings.open()
    yield nursery
    await nursery.holdings.close()


async def test_an_owner_holds_so_many_sessions_and_not_one_more(nursery: Nursery) -> None:
    for name in ("a", "b", "c", "a"):
        await nursery.make(nursery.ada, name)

    with pytest.raises(TooManySessionsError) as refused:
        await nursery.make(nursery.ada, "d")
    assert refused.value.retry_after is None
    await nursery.make(nursery.ada, "b")
    await nursery.make(nursery.eve, "d")


async def test_a_deleted_session_makes_room(nursery: Nursery) -> None:
    for name in ("a", "b", "c"):
        await nursery.make(nursery.ada, name)
    await nursery.holdings.drop(nursery.ada.inner("b"))
    await nursery.make(nursery.ada, "d")


async def test_what_the_engine_deleted_for_its_age_makes_room_too(nursery: Nursery) -> None:
    for name in ("a", "b", "c"):
        await nursery.make(nursery.ada, name)
    nursery.there.remove(nursery.ada.inner("a"))
    await nursery.make(nursery.ada, "d")
    with pytest.raises(TooManySessionsError):
        await nursery.make(nursery.ada, "e")


async def test_sessions_of_nobody_are_not_counted(nursery: Nursery) -> None:
    nursery.limits.clear()
    for number in range(10):
        await nursery.holdings.admit(f"plain-{number}")
        await nursery.holdings.admit(nursery.ada.inner(str(number)))


async def test_a_restart_remembers_and_the_file_is_private(tmp_path: Path) -> None:
    nursery = Nursery(tmp_path / "keys.sqlite3")
    await nursery.holdings.open()
    for name in ("a", "b", "c"):
        await nursery.make(nursery.ada, name)
    await nursery.holdings.close()
    again = Nursery(tmp_path / "keys.sqlite3")
    again.ada, again.there = nursery.ada, nursery.there
    again.limits.update(nursery.limits)
    await again.holdings.open()

    with pytest.raises(TooManySessionsError):
        await again.make(again.ada, "d")
    assert (tmp_path / "keys.sqlite3").stat().st_mode & 0o777 == 0o600
    await again.holdings.close()


async def test_a_damaged_file_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite3").write_bytes(b"no database" * 500)
    nursery = Nursery(tmp_path / "keys.sqlite3")
    with pytest.raises(OSError, match="cannot be used"):
        await nursery.holdings.open()
    await nursery.holdings.close()
