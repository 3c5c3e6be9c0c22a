"""Who a request comes from, and what sessions are called inside and outside.

Each owner has a name space of its own: a session that its key calls `bob` is `k.OWNER.bob` for the engine, the journal and the spool, and
for no other key. OWNER is random, of a fixed length, and put in front here, so that no name that a key can send leads into another one's
space. Nothing has to be looked up for it, it holds for several gateways on one engine, and it outlives the key that made the session.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from limbic.runtime.errors import InvalidArgumentError
from limbic.runtime.keys import Key, Role

M = TypeVar("M", bound=Message)

MAX_ID_CHARS = 128
"""What the engine takes."""

_MARK = "k."
_OWNER_CHARS = 16
_SESSION_FIELDS = frozenset({"session_id", "new_session_id", "forked_from_session_id"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever sent a request. `key` is None where nobody needs one."""

    key: Key | None

    @property
    def sees_all(self) -> bool:
        """Whether every session is open to it, under its full name."""
        return self.key is None or self.key.role is Role.OPERATOR

    @property
    def name_space(self) -> str:
        """What is put in front of its sessions' names."""
        return "" if self.key is None or self.sees_all else f"{_MARK}{self.key.owner}."

    def inner(self, session_id: str, field: str = "session_id") -> str:
        """Return what a session is called inside.

        Raises:
            InvalidArgumentError: there is no room for it.
        """
        room = MAX_ID_CHARS - len(self.name_space)
        if self.name_space and len(session_id) > room:
            raise InvalidArgumentError(field, f"must be 1 to {room} of the characters A-Z a-z 0-9 . _ : -")
        return self.name_space + session_id

    def outer(self, session_id: str) -> str:
        """Return what a session is called outside."""
        return session_id.removeprefix(self.name_space)

    def may_see(self, session_id: str) -> bool:
        """Return whether it may learn of a session, given as it is called inside."""
        return session_id.startswith(self.name_space)

    def inward(self, request: M) -> M:
        """Return a request as the engine is to get it. An id that is missing stays missing.

        Raises:
            InvalidArgumentError: an id is too long.
        """
        if self.sees_all:
            return request
        inside = type(request)()
        inside.CopyFrom(request)
        _rename(inside, lambda name: self.inner(name) if name else name)
        return inside

    def outward(self, message: M) -> M:
        """Change a message that is on its way out, and return it."""
        if not self.sees_all:
            _rename(message, self.outer)
        return message

    def told(self, sentence: str) -> str:
        """Return a sentence with sessions as they are called outside."""
        return sentence.replace(self.name_space, "") if self.name_space else sentence


ANYBODY = Visitor(None)

_current: ContextVar[Visitor | None] = ContextVar("limbic_visitor", default=None)


def current_visitor() -> Visitor | None:
    """Return who the request comes from that is being answered; None if it has not been asked."""
    return _current.get()


def enter(visitor: Visitor) -> None:
    """Say who it is for the rest of the task."""
    _current.set(visitor)


@contextmanager
def visiting(visitor: Visitor | None) -> Iterator[None]:
    """Say who it is for the length of a block."""
    token = _current.set(visitor)
    try:
        yield
    finally:
        _current.reset(token)


def owner_of(session_id: str) -> str:
    """Return the owner of a session, given as it is called inside; empty if it belongs to no key."""
    owner, dot, _ = session_id.removeprefix(_MARK).partition(".")
    return owner if session_id.startswith(_MARK) and dot and len(owner) == _OWNER_CHARS else ""


def _rename(message: Message, change: Callable[[str], str]) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            if _names_sessions(field.message_type):
                for one in value if field.is_repeated else (value,):
                    _rename(one, change)
        elif field.name in _SESSION_FIELDS:
            setattr(message, field.name, change(value))


@functools.cache
def _names_sessions(descriptor: Descriptor) -> bool:
    """Return whether a message of this kind, or one within it, has a session's id. A page of turns has none, and is not walked over."""
    seen: set[str] = set()

    def holds(kind: Descriptor) -> bool:
        if kind.full_name in seen:
            return False
        seen.add(kind.full_name)
        return any(
            holds(field.message_type) if field.message_type is not None else _is_session(field) for field in kind.fields
        )

    return holds(descriptor)


def _is_session(field: FieldDescriptor) -> bool:
    return field.name in _SESSION_FIELDS
