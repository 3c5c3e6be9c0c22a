"""Ids that follow from what was said, for clients that know nothing of turns and send the whole conversation each time. Pure.

A turn's id is a hash of its parent's id, its role and its text. So a conversation that is sent again names the same turns, a second
reply is a sibling of the first, and an edited message begins a branch.

It has two parts, `c.CHAIN.OWN`. OWN is the hash of the message alone, CHAIN that of the whole path to it. With OWN in the id, a
conversation of which the beginning was cut off is found again where the journal keeps no words. Both depend on the session, so that equal
words of two people cannot be seen to be equal. An id commits to the words without holding them: whoever reads ids can test a guess at
short ones, and no more.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise

from limbic.state.v1 import state_pb2

_PREFIX = "c."
_CHAIN_BYTES, _OWN_BYTES = 16, 8
_ID = re.compile(r"c\.[0-9a-f]{32}\.([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation as a client sends it: who said what."""

    role: state_pb2.Role.ValueType
    text: str = field(repr=False)


def canonical(text: str) -> str:
    """Return what counts of a text: composed characters, each run of white space one blank, none at the ends.

    Front ends trim replies, fold empty lines and change line ends; that does not make another message of it.
    """
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(composed.split())


def own_digest(session_id: str, said: Said) -> str:
    """Return the hash of a message by itself: 16 hexadecimal digits."""
    return digested(session_id, said)[0]


def digested(session_id: str, said: Said) -> tuple[str, int]:
    """Return the hash of a message by itself, and how many characters count of it."""
    text = canonical(said.text)
    content = f"{session_id}\x00{said.role}\x00{text}".encode()
    return hashlib.blake2b(content, digest_size=_OWN_BYTES, person=b"limbic-own").hexdigest(), len(text)


def content_id(parent_turn_id: str, own: str, occasion: str = "") -> str:
    """Return the id of a turn.

    Args:
        parent_turn_id: the turn that it follows; empty at the root.
        own: the message's own hash, which holds role and text.
        occasion: tells apart conversations that begin with the same words; empty for the first of them.
    """
    content = f"{parent_turn_id}\x00{own}\x00{occasion}".encode()
    return f"{_PREFIX}{hashlib.blake2b(content, digest_size=_CHAIN_BYTES, person=b'limbic-turn').hexdigest()}.{own}"


def own_of(turn_id: str) -> str | None:
    """Return the message's own hash out of a turn's id, or None if the id was not made from content."""
    match = _ID.fullmatch(turn_id)
    return match.group(1) if match is not None else None


def reply_content_id(session_id: str, turn_id: str, text: str) -> str:
    """Return the id of a reply to a turn."""
    return content_id(turn_id, own_digest(session_id, Said(state_pb2.ROLE_ASSISTANT, text)))


def named_session(kind: str, caller: str, *names: str) -> str:
    """Return a session's id that shows nothing of what it is made from.

    Args:
        kind: what names the session, a word that stands at the beginning of the id.
        caller: sets callers apart who use the same names; the hash of a key, or empty.
        names: what the session is named by.
    """
    content = "\x00".join((kind, caller, *names)).encode()
    return f"{kind}-{hashlib.blake2b(content, digest_size=12, person=b'limbic-session').hexdigest()}"


def conversation_session(caller: str, dialogue: list[Said]) -> str:
    """Return the session of a conversation that nothing names: by how it begins, the first words of the person included.

    A greeting alone would not do: it is the same for everyone who speaks with the character.
    """
    beginning: list[str] = []
    for said in dialogue:
        beginning += (str(said.role), canonical(said.text))
        if said.role == state_pb2.ROLE_USER:
            break
    return named_session("chat", caller, *beginning)


def pair_digests(caller: str, dialogue: list[Said]) -> list[bytes]:
    """Return a hash of each two messages that follow each other, by which a conversation is found when its beginning is cut off."""
    texts = [f"{said.role}\x00{canonical(said.text)}" for said in dialogue]
    return [
        hashlib.blake2b("\x00".join((caller, *pair)).encode(), digest_size=16, person=b"limbic-pair").digest()
        for pair in pairwise(texts)
    ]
