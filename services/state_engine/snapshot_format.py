"""Pictures of sessions as bytes, and back: what a snapshot in the journal holds.

    magic · length of the header · header (JSON) · columns, one after the other · SHA-256 of all before

A snapshot is a cache. One that is damaged, in another format, of another session or made under another law is refused, and the session is
folded from its log as if there were none. Numbers are little-endian. An impulse moves each hormone in one direction, so that one signed
number for each is written, and not a number for each channel; where that would not be the same bits there is no snapshot.
"""

from __future__ import annotations

import hashlib
import json
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from services.state_engine.dynamics import Matrix
from services.state_engine.folds import BEFORE_ALL, Fold
from services.state_engine.journal.facts import SessionFact
from services.state_engine.law import law_digest
from services.state_engine.picture import Picture
from services.state_engine.temperament import HORMONES, Temperament
from services.state_engine.tip import Rewound

_MAGIC: Final = b"limbic.snapshot\n"
_FORMAT: Final = 1
_LENGTH: Final = struct.Struct("<I")
_DIGEST_BYTES: Final = 32
_FAST: Final = 2 * len(HORMONES)

_NUMBER, _MOMENT, _FLOAT, _FLAG = np.dtype("<i4"), np.dtype("<i8"), np.dtype("<f8"), np.dtype("u1")


class SnapshotRefusedError(Exception):
    """A snapshot that cannot be used. `reason` is one word: damaged, format, session or law."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(picture: Picture, session: SessionFact, temperament: Temperament) -> bytes:
    """Return a snapshot."""
    turns, stimuli = picture.turns, picture.stimuli
    latents = picture.latents[:stimuli]
    signed = _signed(latents)
    if _unsigned(signed, latents.shape[1]).tobytes() != (latents + 0.0).tobytes():
        raise ValueError("an impulse moves a hormone both ways, or a mood")
    numbers = {one: number for number, one in enumerate(picture.turn_ids[:turns])}
    places = {one: number for number, one in enumerate(picture.stimulus_ids[:stimuli])}
    folds = [*picture.folds.values()]
    states = np.stack([fold.state for fold in folds]) if folds else np.empty((0, 2 * latents.shape[1]))
    columns = (
        _text(picture.turn_ids[1:turns]),
        _bytes(picture.parents[:turns], _NUMBER),
        _bytes(picture.depths[:turns], _NUMBER),
        _bytes(picture.anchors[:turns], _NUMBER),
        _bytes(picture.said_ns[:turns], _MOMENT),
        _bytes(sorted(numbers[one] for one in picture.abandoned), _NUMBER),
        _text(picture.stimulus_ids[:stimuli]),
        _bytes(picture.stimulus_turns[:stimuli], _NUMBER),
        _bytes(picture.moments_ns[:stimuli], _MOMENT),
        _bytes(signed, _FLOAT),
        _bytes(sorted(picture.gone), _NUMBER),
        _text(sorted(picture.retracted)),
        _bytes([*picture.folds], _NUMBER),
        _bytes([places[fold.last[1]] if fold.last != BEFORE_ALL else -1 for fold in folds], _NUMBER),
        _bytes([fold.ordered for fold in folds], _FLAG),
        _bytes(states, _FLOAT),
    )
    header = {
        "format": _FORMAT,
        "session": _identity(session),
        "law": law_digest(temperament),
        "revision": picture.revision,
        "tip": picture.tip,
        "rewinds": {one: [*move] for one, move in picture.rewinds.items()},
        "unfelt": {**picture.unfelt},
        "begins": {**picture.begins},
        "ends": {**picture.ends},
        "lengths": [len(column) for column in columns],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    digest = hashlib.sha256()
    parts = (_MAGIC, _LENGTH.pack(len(text)), text, *columns)
    for part in parts:
        digest.update(part)
    return b"".join((*parts, digest.digest()))


def decode(content: bytes, revision: int, session: SessionFact, temperament: Temperament) -> Picture:
    """Return what a snapshot holds that stands in the journal for a session's revision.

    Raises:
        SnapshotRefusedError: it cannot be used.
    """
    body = memoryview(content)[:-_DIGEST_BYTES]
    if len(content) < len(_MAGIC) + _LENGTH.size + _DIGEST_BYTES or not content.startswith(_MAGIC):
        raise SnapshotRefusedError("damaged")
    if hashlib.sha256(body).digest() != content[-_DIGEST_BYTES:]:
        raise SnapshotRefusedError("damaged")
    start = len(_MAGIC) + _LENGTH.size
    (length,) = _LENGTH.unpack_from(content, len(_MAGIC))
    header = json.loads(content[start : start + length])
    if header["format"] != _FORMAT:
        raise SnapshotRefusedError("format")
    if header["session"] != _identity(session):
        raise SnapshotRefusedError("session")
    if header["law"] != law_digest(temperament):
        raise SnapshotRefusedError("law")
    if header["revision"] != revision:
        raise SnapshotRefusedError("damaged")
    return _picture(header, _columns(body[start + length :], header["lengths"]), temperament.dynamics.size)


def _picture(header: dict[str, Any], columns: Sequence[memoryview], size: int) -> Picture:
    turn_ids = ["", *_texts(columns[0])]
    stimulus_ids = _texts(columns[6])
    moments = _integers(columns[8], _MOMENT)
    signed = np.frombuffer(columns[9], _FLOAT).reshape(-1, len(HORMONES))
    states = np.frombuffer(columns[15], _FLOAT).reshape(-1, 2 * size)
    lasts = [(moments[place], stimulus_ids[place]) if place >= 0 else BEFORE_ALL for place in _integers(columns[13])]
    folds = [
        # With a copy of its own, so that one that stays does not keep the whole snapshot.
        Fold(state.astype(np.float64, copy=True), last, bool(ordered))
        for state, last, ordered in zip(states, lasts, columns[14], strict=True)
    ]
    return Picture(
        revision=header["revision"],
        turns=len(turn_ids),
        turn_ids=turn_ids,
        parents=_integers(columns[1]),
        depths=_integers(columns[2]),
        anchors=_integers(columns[3]),
        said_ns=_integers(columns[4], _MOMENT),
        tip=header["tip"],
        abandoned=[turn_ids[number] for number in _integers(columns[5])],
        rewinds={one: Rewound(*move) for one, move in header["rewinds"].items()},
        stimuli=len(stimulus_ids),
        stimulus_ids=stimulus_ids,
        stimulus_turns=_integers(columns[7]),
        moments_ns=moments,
        latents=_unsigned(signed, size),
        gone=_integers(columns[10]),
        retracted=_texts(columns[11]),
        unfelt=header["unfelt"],
        begins=header["begins"],
        ends=header["ends"],
        folds=dict(zip(_integers(columns[12]), folds, strict=True)),
    )


def _identity(session: SessionFact) -> list[str | int]:
    return [session.session_id, session.created_ns]


def _columns(data: memoryview, lengths: Sequence[int]) -> list[memoryview]:
    columns, start = [], 0
    for length in lengths:
        columns.append(data[start : start + length])
        start += length
    return columns


def _text(ids: Iterable[str]) -> bytes:
    # Ids hold no white space.
    return "\n".join(ids).encode()


def _texts(column: memoryview) -> list[str]:
    return str(column, "utf-8").split("\n") if column else []


def _bytes(values: Any, kind: np.dtype[Any]) -> bytes:
    return np.asarray(values, kind).tobytes()


def _integers(column: memoryview, kind: np.dtype[Any] = _NUMBER) -> array[int]:
    native = np.frombuffer(column, kind).astype(kind.newbyteorder("="))
    return array("i" if kind is _NUMBER else "q", native.tobytes())


def _signed(latents: Matrix) -> Matrix:
    return latents[:, 0:_FAST:2] - latents[:, 1:_FAST:2]


def _unsigned(signed: Matrix, size: int) -> Matrix:
    latents = np.zeros((len(signed), size))
    # Plus 0.0, so that no zero has a sign.
    latents[:, 0:_FAST:2] = np.maximum(signed, 0.0) + 0.0
    latents[:, 1:_FAST:2] = np.maximum(-signed, 0.0) + 0.0
    return latents
