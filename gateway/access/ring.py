"""The keys that are good now, and what each has used. Follows the file: a key that is revoked there is no good within two seconds."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.access.bucket import Bucket
from gateway.access.errors import KeyRequiredError, KeyUnknownError, TooManyRequestsError
from gateway.metrics import KEYS_LOADED
from limbic.runtime.clock import NS_PER_S, Clock
from limbic.runtime.keys import Key, digest_of, load_keys
from limbic.runtime.logs import get_logger
from limbic.runtime.settings import SettingsError

_log = get_logger(__name__)

RELOAD_S = 2.0

_SCHEME = "bearer "
_Stamp = tuple[int, int, int] | None
"""Differs when the file is another one, or its mode was changed; None: it cannot be looked at."""


class KeyRing:
    """The keys of one file. For one event loop.

    Args:
        path: the file.
        clock: says whether a key has expired, and refills what keys may use.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._stamp: _Stamp = None
        self._keys: tuple[Key, ...] = ()
        self._turns: dict[str, Bucket] = {}
        self._requests: dict[str, Bucket] = {}

    async def load(self) -> None:
        """Read the file for the first time.

        Raises:
            SettingsError: it cannot be used. Then nobody may come in, and the gateway does not start.
        """
        await self._reload()

    async def follow(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Read the file again whenever it changes, for ever. A file that cannot be used leaves the keys as they are."""
        while True:
            await sleep(RELOAD_S)
            stamp = await asyncio.to_thread(_stamp_of, self._path)
            if stamp == self._stamp:
                continue
            # Said once of each content, not every two seconds.
            self._stamp = stamp
            try:
                await self._reload()
                _log.info("keys loaded", keys=len(self._keys))
            except SettingsError as error:
                _log.error("the keys file cannot be used; the keys stay as they were", reason=str(error))

    def find(self, authorization: str) -> Key:
        """Return the key that an `authorization` header brings.

        Every key is compared, whichever fits, and each in the same time: how long it takes says nothing.

        Raises:
            KeyRequiredError: it brings none.
            KeyUnknownError: it is not good.
        """
        if authorization[: len(_SCHEME)].lower() != _SCHEME or not authorization[len(_SCHEME) :].strip():
            raise KeyRequiredError
        digest = digest_of(authorization[len(_SCHEME) :].strip())
        found = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        now = datetime.fromtimestamp(self._clock.now_ns() / NS_PER_S, UTC)
        if not found or found[0].is_expired(now):
            raise KeyUnknownError
        return found[0]

    def of_owner(self, owner: str) -> Key | None:
        """Return a key of this owner, the one with the highest limit of sessions; None if none is left."""
        return max((key for key in self._keys if key.owner == owner), key=lambda key: key.limits.sessions, default=None)

    def charge_request(self, key: Key) -> None:
        """Count a request. Raises TooManyRequestsError."""
        self._charge(self._requests, key, key.limits.requests_per_minute, "requests")

    def charge_turn(self, key: Key) -> None:
        """Count a turn, or something else that makes a model compute. Raises TooManyRequestsError."""
        self._charge(self._turns, key, key.limits.turns_per_minute, "turns")

    def _charge(self, buckets: dict[str, Bucket], key: Key, per_minute: int, what: str) -> None:
        now_s = self._clock.monotonic()
        bucket = buckets.get(key.name)
        if bucket is None:
            bucket = buckets[key.name] = Bucket(per_minute, now_s)
        if wait_s := bucket.take(now_s):
            raise TooManyRequestsError(what, per_minute, wait_s)

    async def _reload(self) -> None:
        stamp, keys = await asyncio.to_thread(_read, self._path)
        before = {key.name: key for key in self._keys}
        self._stamp, self._keys = stamp, keys
        KEYS_LOADED.set(len(keys))
        # Who was limited a moment ago still is, unless the key is another one or its limits have changed.
        same = {key.name for key in keys if key.name in before and before[key.name] == key}
        for buckets in (self._turns, self._requests):
            for name in [name for name in buckets if name not in same]:
                del buckets[name]


def _read(path: Path) -> tuple[_Stamp, tuple[Key, ...]]:
    # In this order: a change between the two is seen the next time.
    stamp = _stamp_of(path)
    return stamp, load_keys(path)


def _stamp_of(path: Path) -> _Stamp:
    try:
        file = path.stat()
    except OSError:
        return None
    return file.st_ctime_ns, file.st_size, file.st_ino
