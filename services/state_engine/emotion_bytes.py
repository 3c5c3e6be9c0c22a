"""Reads the emotions of a reading off its bytes, once it is known which labels its head sends.

There are 28 in each reading. To ask a message for the fields of each costs more than everything else that is done with a reading; its bytes
have the same layout each time, so that one regular expression takes all of them out. Where they have another, nothing is found, and the
caller asks the message.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from operator import eq

from limbic.affect.v1 import affect_pb2
from services.state_engine.causes import Emotions

_LONGEST_LABEL = 114
"""So that an emotion's length, with its tags and its probability, fits into one byte."""

# The fields before the emotions: four axes and the uncertainty, of which any may be left out. A serializer writes fields by number.
# What is there is taken, for good (`?+`): with a second thought a shorter match could leave a part of an emotion over.
_BEFORE = rb"(?:\x09.{8})?+(?:\x11.{8})?+(?:\x19.{8})?+(?:\x21.{8})?+(?:\x2a[\x00-\x1b](?:[\x09\x11\x19].{8})*+)?+"
_ENTRY = rb"\x32([%b%b])\x0a%b\x11(.{8})(?:\x18\x01)?+"
_NO_MORE = rb"(?!\x32)"


class EmotionBytes:
    """The layout of the emotions that one head sends.

    Args:
        labels: their labels, in order.
    """

    __slots__ = ("_labels", "_pattern", "_sizes_if_active", "_unpack")

    def __init__(self, labels: Sequence[str]) -> None:
        encoded = [label.encode() for label in labels]
        self._labels = tuple(labels)
        self._sizes_if_active = [bytes([len(label) + 13]) for label in encoded]
        entries = [
            _ENTRY
            % (
                re.escape(bytes([len(label) + 11])),
                re.escape(bytes([len(label) + 13])),
                re.escape(bytes([len(label)]) + label),
            )
            for label in encoded
        ]
        self._pattern = re.compile(_BEFORE + b"".join(entries) + _NO_MORE, re.DOTALL)
        self._unpack = struct.Struct(f"<{len(labels)}d").unpack

    @classmethod
    def of(cls, labels: Sequence[str]) -> EmotionBytes | None:
        """Return the layout for some labels; None where they are too long for it, or none."""
        if not labels or max(len(label.encode()) for label in labels) > _LONGEST_LABEL:
            return None
        return cls(labels)

    def read(self, message: affect_pb2.AffectReading) -> Emotions | None:
        """Return the emotions of a reading, unchecked; None where its bytes have another layout."""
        found = self._pattern.match(message.SerializeToString())
        if found is None:
            return None
        groups = found.groups()
        active = tuple(map(eq, groups[0::2], self._sizes_if_active))
        return Emotions(self._labels, self._unpack(b"".join(groups[1::2])), active)
