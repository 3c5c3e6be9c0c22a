"""From a state to its message: every call answers with one, so it is written as it stands on the wire and parsed in one step.

To set thirty fields one by one costs five times as much. The wire format is part of the contract (protos/limbic/state/v1/state.proto), and
a message may be put together from parts of it.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.timestamp_pb2 import Timestamp

from limbic.runtime.clock import NS_PER_S
from limbic.state.v1 import state_pb2
from services.state_engine.readout import Band
from services.state_engine.session import State

_BANDS: Final = {
    Band.CRASHING: state_pb2.BAND_CRASHING,
    Band.FADING: state_pb2.BAND_FADING,
    Band.STEADY: state_pb2.BAND_STEADY,
    Band.RISING: state_pb2.BAND_RISING,
    Band.SURGING: state_pb2.BAND_SURGING,
}

_LENGTH_DELIMITED, _FIXED64, _VARINT = 2, 1, 0


def state_message(state: State) -> state_pb2.State:
    """Return a state as a message."""
    seconds, nanos = divmod(state.as_of_ns, NS_PER_S)
    message = state_pb2.State(
        session_id=state.session_id,
        turn_id=state.turn_id,
        as_of=Timestamp(seconds=seconds, nanos=nanos),
        revision=state.revision,
    )
    packer, constants = _layout(
        tuple([(level.name, level.baseline) for level in state.levels]), tuple([mood.name for mood in state.moods])
    )
    parts: list[bytes | float] = []
    following = iter(constants)
    for level in state.levels:
        parts += (next(following), level.value, next(following), _BANDS[level.band])
    for mood in state.moods:
        parts += (next(following), mood.intensity)
    message.MergeFromString(packer.pack(*parts))
    return message


@lru_cache(maxsize=64)
def _layout(levels: tuple[tuple[str, float], ...], moods: tuple[str, ...]) -> tuple[struct.Struct, list[bytes]]:
    """Return how levels and moods of these names are packed, and the bytes that stand between their values."""
    level, mood, state = (kind.DESCRIPTOR for kind in (state_pb2.Level, state_pb2.Mood, state_pb2.State))
    formats: list[str] = ["<"]
    constants: list[bytes] = []
    for name, baseline in levels:
        before = _text(level, "name", name) + _tag(level, "value", _FIXED64)
        after = _tag(level, "baseline", _FIXED64) + struct.pack("<d", baseline) + _tag(level, "band", _VARINT)
        size = len(before) + 8 + len(after) + 1
        constants += (_tag(state, "levels", _LENGTH_DELIMITED) + bytes([size]) + before, after)
        formats.append(f"{len(constants[-2])}sd{len(after)}sB")
    for name in moods:
        before = _text(mood, "name", name) + _tag(mood, "intensity", _FIXED64)
        constants.append(_tag(state, "moods", _LENGTH_DELIMITED) + bytes([len(before) + 8]) + before)
        formats.append(f"{len(constants[-1])}sd")
    return struct.Struct("".join(formats)), constants


def _tag(descriptor: Descriptor, field: str, wire_type: int) -> bytes:
    # One byte each: field numbers and lengths here are far below 16 and 128, and a name has at most 32 characters.
    return bytes([descriptor.fields_by_name[field].number << 3 | wire_type])


def _text(descriptor: Descriptor, field: str, value: str) -> bytes:
    encoded = value.encode()
    return _tag(descriptor, field, _LENGTH_DELIMITED) + bytes([len(encoded)]) + encoded
