"""The keys of the gateway's users, and the file that holds what is kept of them.

A key is 256 random bits. The file holds its SHA-256 and never the key itself. A password would need a slow, salted hash, because it can be
guessed; nobody guesses one of 2^256 keys, so that a fast hash gives nothing away, and a gateway can afford it with every request.

The file has one JSON object a line, so that a key is added by one append and a damaged line has a number.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from limbic.runtime.settings import SettingsError
from limbic.runtime.tls import refuse_public

PREFIX = "lmb_"
"""How every key begins, so that scanners of repositories and logs can find one that was left there."""

_KEY_BYTES = 32
_OWNER_BYTES = 10
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_OWNER = re.compile(r"[a-z2-7]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeysFileError(SettingsError):
    """The keys file cannot be used. The text names the file, the line and the reason, and never a key."""


class Role(StrEnum):
    """What a key may do."""

    USER = "user"
    """Its own sessions, and of the telemetry what concerns them."""
    OPERATOR = "operator"
    """Every session under its full name, all telemetry, and the metrics."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a key may use.

    Attributes:
        turns_per_minute: turns, readings and explanations together: what makes a model compute.
        requests_per_minute: requests and calls of any kind.
        sessions: conversations that it may hold.
    """

    turns_per_minute: int = 60
    requests_per_minute: int = 1_200
    sessions: int = 1_000


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key.

    Attributes:
        name: what people call it; unique in a file.
        owner: whose sessions it opens: 16 letters and digits, random. A key that follows another one takes its owner over.
        digest: the SHA-256 of the key.
        role: what it may do.
        created_at, expires_at: when it was made, and from when on it is no good; None: never.
    """

    name: str
    owner: str
    digest: bytes = field(repr=False)
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    limits: Limits = Limits()

    def is_expired(self, now: datetime) -> bool:
        """Return whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at


def digest_of(key: str) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def new_key(
    name: str,
    role: Role,
    *,
    now: datetime,
    expires_at: datetime | None = None,
    limits: Limits = Limits(),
    owner: str = "",
) -> tuple[str, Key]:
    """Make a key; return it, to be shown once, and what is kept of it.

    Raises:
        KeysFileError: the name cannot be used.
    """
    if _NAME.fullmatch(name) is None:
        raise KeysFileError(
            f"a key's name has 1 to 40 of the characters a-z 0-9 -, and begins with a letter or digit; {name!r} has not"
        )
    key = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode().rstrip("=")
    owner = owner or base64.b32encode(secrets.token_bytes(_OWNER_BYTES)).decode().lower()
    return key, Key(name, owner, digest_of(key), role, now, expires_at, limits)


def load_keys(path: Path) -> tuple[Key, ...]:
    """Read a keys file.

    Raises:
        SecretFileError: it is not there, or others may read it.
        KeysFileError: a line cannot be used, or a name stands there twice.
    """
    refuse_public(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileError(f"{path} cannot be read ({type(error).__name__})") from None
    keys: dict[str, Key] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            key = _parsed(json.loads(line))
        except (ValueError, TypeError, KeyError, RecursionError):
            # The error's own text quotes the line.
            raise KeysFileError(f"{path}, line {number}: is no key as `limbic keys create` writes it") from None
        if key.name in keys:
            raise KeysFileError(f"{path}, line {number}: there is a key {key.name} already")
        keys[key.name] = key
    return tuple(keys.values())


def save_keys(path: Path, keys: Iterable[Key]) -> None:
    """Write a keys file with mode 0600, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(_fields(key)) + "\n" for key in keys)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _fields(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "owner": key.owner,
        "sha256": key.digest.hex(),
        "role": key.role.value,
        "created_at": _written(key.created_at),
        "expires_at": _written(key.expires_at) if key.expires_at is not None else None,
        **dataclasses.asdict(key.limits),
    }


def _parsed(fields: dict[str, Any]) -> Key:
    limits = {one.name: fields.pop(one.name) for one in dataclasses.fields(Limits)}
    expires_at = fields.pop("expires_at")
    name, owner, digest = fields.pop("name"), fields.pop("owner"), fields.pop("sha256")
    key = Key(
        name=name,
        owner=owner,
        digest=bytes.fromhex(digest),
        role=Role(fields.pop("role")),
        created_at=_moment(fields.pop("created_at")),
        expires_at=_moment(expires_at) if expires_at is not None else None,
        limits=Limits(**limits),
    )
    numbers = all(type(value) is int and value >= 1 for value in limits.values())
    fits = _NAME.fullmatch(name) and _OWNER.fullmatch(owner) and _DIGEST.fullmatch(digest)
    if fields or not numbers or not fits:
        raise ValueError("not as it is written")
    return key


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone")
    return moment
