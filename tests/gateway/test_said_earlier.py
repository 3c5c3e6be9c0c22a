"""Words that are told later than they were said."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.runtime.clock import NS_PER_S, SystemClock
from tests.gateway.conftest import House

DAY_NS = 86_400 * NS_PER_S


def moment(ns: int) -> Timestamp:
    found = Timestamp()
    found.FromNanoseconds(ns)
    return found


async def test_words_are_recorded_and_felt_at_the_moment_at_which_they_were_said(house: House) -> None:
    said_ns = SystemClock().now_ns() - 3 * DAY_NS

    await house.say(turn_id="t1", occurred_at=moment(said_ns))

    turn = house.engine.turns["ada", "t1"]
    assert turn.occurred_at.ToNanoseconds() == said_ns
    assert [stimulus.occurred_at.ToNanoseconds() for stimulus in turn.stimuli] == [said_ns]


@pytest.mark.parametrize(("offset_ns", "says"), [(60 * NS_PER_S, "future"), (-400 * DAY_NS, "366 days")])
async def test_a_moment_that_cannot_be_is_refused_with_its_field(house: House, offset_ns: int, says: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await house.say(occurred_at=moment(SystemClock().now_ns() + offset_ns))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "occurred_at" in (caught.value.details() or "")
    assert says in (caught.value.details() or "")
    assert not house.engine.turns
