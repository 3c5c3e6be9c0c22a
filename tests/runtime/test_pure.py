"""The runtime's pure parts: checks on input, the search for malformed fields, deadlines, error details, model files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from limbic.gateway.v1 import gateway_pb2
from limbic.runtime import validate
from limbic.runtime.clock import NS_PER_S
from limbic.runtime.deadline import Deadline, current_deadline, deadline_scope
from limbic.runtime.errors import InvalidArgumentError, UnavailableError, to_status
from limbic.runtime.models import ModelFile, ModelFileError, find_model
from limbic.runtime.wire import malformed_field

NOW_NS = 1_800_000_000 * NS_PER_S


@pytest.mark.parametrize("value", ["", "a b", "ä", "x" * 129, "a/b", "a\n"])
def test_ids_that_are_no_ids(value: str) -> None:
    with pytest.raises(InvalidArgumentError, match="session_id"):
        validate.identifier("session_id", value)


def test_an_empty_id_becomes_a_new_one() -> None:
    first, second = (validate.identifier_or_new("turn_id", "", "turn") for _ in range(2))

    assert validate.identifier("turn_id", first).startswith("turn-")
    assert first != second


@pytest.mark.parametrize("value", ["", " \n\t", "x" * 11, "a\x00b"])
def test_words_that_are_no_words(value: str) -> None:
    with pytest.raises(InvalidArgumentError, match="text"):
        validate.text("text", value, 10)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.1, 1.1])
def test_numbers_out_of_range(value: float) -> None:
    with pytest.raises(InvalidArgumentError, match="valence"):
        validate.number("valence", value, -1, 1)


@given(ahead_ns=st.integers(min_value=validate.FUTURE_TOLERANCE_NS + 1, max_value=10**18))
def test_the_future_is_refused(ahead_ns: int) -> None:
    moment = Timestamp()
    moment.FromNanoseconds(NOW_NS + ahead_ns)

    with pytest.raises(InvalidArgumentError, match="future"):
        validate.past_ns("occurred_at", moment, NOW_NS)


@given(moment_ns=st.integers(min_value=validate.EARLIEST_NS, max_value=NOW_NS + validate.FUTURE_TOLERANCE_NS))
def test_a_moment_keeps_its_nanoseconds(moment_ns: int) -> None:
    moment = Timestamp()
    moment.FromNanoseconds(moment_ns)

    assert validate.past_ns("occurred_at", moment, NOW_NS) == moment_ns


@pytest.mark.parametrize("moment", [Timestamp(seconds=1), Timestamp(seconds=2**60), Timestamp(nanos=-1)])
def test_moments_that_cannot_be(moment: Timestamp) -> None:
    with pytest.raises(InvalidArgumentError, match="occurred_at"):
        validate.past_ns("occurred_at", moment, NOW_NS)


def test_durations_have_bounds() -> None:
    assert validate.duration_s("interval", Duration(seconds=1, nanos=500_000_000), 0, 2) == 1.5
    with pytest.raises(InvalidArgumentError, match="interval"):
        validate.duration_s("interval", Duration(seconds=3), 0, 2)


def test_the_path_of_a_malformed_field_is_found_below_others() -> None:
    good = gateway_pb2.TurnRequest(session_id="s", text="hello")
    good.options.sampling.stop.append("zz")
    good.options.style = "plain"
    data = good.SerializeToString().replace(b"zz", b"\xff\xfe")

    assert malformed_field(gateway_pb2.TurnRequest.DESCRIPTOR, data) == "options.sampling.stop"


@given(data=st.binary(max_size=200))
def test_the_search_survives_any_bytes(data: bytes) -> None:
    assert malformed_field(gateway_pb2.TurnRequest.DESCRIPTOR, data)


def test_a_budget_is_what_is_left_less_the_reserve() -> None:
    deadline = Deadline.after(100.0)

    assert deadline.budget(5.0) == 5.0
    assert 98.0 < deadline.budget(1000.0, reserve=1.0) <= 99.0
    assert Deadline.after(-1.0).budget(5.0) == 0.0


def test_the_current_deadline_ends_with_its_scope() -> None:
    with deadline_scope(Deadline.after(1.0)) as deadline:
        assert current_deadline() is deadline
    assert current_deadline() is None


def test_each_detail_stands_once() -> None:
    status = to_status(InvalidArgumentError("text", "must not be empty"))
    assert [detail.TypeName() for detail in status.details] == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]

    retry = to_status(UnavailableError("not now", retry_after=0.5)).details[1]
    info = error_details_pb2.RetryInfo()
    assert retry.Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 500


def test_a_model_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"x" * 100)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    assert ModelFile("m", path, digest).verify() == digest
    path.write_bytes(b"GGUF" + b"y" * 100)
    with pytest.raises(ModelFileError, match="make up"):
        ModelFile("m", path, digest).verify()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with pytest.raises(ModelFileError, match="does not exist"):
        ModelFile("m", path, "").verify()
    path.write_bytes(b"<html>")
    with pytest.raises(ModelFileError, match="no GGUF"):
        ModelFile("m", path, "").verify()
    with pytest.raises(ModelFileError, match="smollm2"):
        find_model("no-such-model")


def test_a_named_model_comes_with_its_hash() -> None:
    model = find_model("smollm2-135m-instruct")

    assert model.verify() == model.sha256
