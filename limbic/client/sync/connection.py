"""What all clients have: a connection that is closed. Made from limbic/client/aio by tools/sync_client.py: never edited."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc

from limbic.client.sync.calls import Channel, close, open_channel


class Client:
    """A connection that lasts for a block, or until `close`. It connects when it is first used."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None, deadline_s: float) -> None:
        self._channel: Channel = open_channel(target, credentials)
        self._deadline_s = deadline_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and cancel what still runs on it."""
        close(self._channel)

    def _within(self, deadline_s: float | None, default_s: float | None = None) -> float:
        if deadline_s is None:
            deadline_s = self._deadline_s if default_s is None else max(default_s, self._deadline_s)
        # gRPC takes 0 for a call without a deadline.
        if not deadline_s > 0.0:
            raise ValueError("deadline_s: must be more than 0")
        return deadline_s
