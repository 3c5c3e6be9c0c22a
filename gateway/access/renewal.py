"""Takes up a renewed certificate for HTTP without a restart. gRPC asks for it by itself (limbic.runtime.tls)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from limbic.runtime.logs import get_logger
from limbic.runtime.settings import SettingsError
from limbic.runtime.tls import Certificates

_log = get_logger(__name__)

LOOK_S = 10.0


async def renewed_certificate(
    files: Certificates, context: ssl.SSLContext, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Show the files anew whenever they have changed, for ever. Connections that are open keep what they have seen."""
    stamp = await asyncio.to_thread(files.stamp)
    while True:
        await sleep(LOOK_S)
        try:
            now = await asyncio.to_thread(files.stamp)
            if now == stamp:
                continue
            stamp = now
            # A pair that does not fit would be half taken up: it is tried on a context of its own first.
            await asyncio.to_thread(files.check)
            await asyncio.to_thread(files.load_into, context)
            _log.info("certificate renewed", cert=str(files.cert))
        except (OSError, SettingsError) as error:
            _log.error("the renewed certificate cannot be used; the old one is still shown", reason=str(error))
