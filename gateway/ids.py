"""Ids that follow from other ids, so that a repeated turn names the same facts."""

from __future__ import annotations

import hashlib

_MAX_CHARS = 128


def derived(base: str, role: str) -> str:
    """Return the id of something that belongs to `base`: BASE:ROLE, its base hashed if it would be longer than an id may be."""
    suffix = f":{role}"
    if len(base) + len(suffix) <= _MAX_CHARS:
        return base + suffix
    return hashlib.sha256(base.encode()).hexdigest() + suffix


def reading_id(turn_id: str) -> str:
    """Return the stimulus id of a turn's reading: always the same, so that words said once are felt once."""
    return derived(turn_id, "reading")


def reply_id(turn_id: str, attempt_id: str) -> str:
    """Return the turn id of one attempt's reply: another one each time, so that a second reply is a sibling of the first."""
    return derived(turn_id, f"reply-{attempt_id}")
