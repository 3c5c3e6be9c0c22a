"""The one error of all clients."""

from __future__ import annotations

import grpc

from limbic.runtime.errors import RpcFailure


class CallError(Exception):
    """A call failed.

    Attributes:
        failure: all that the server said of it.
    """

    def __init__(self, failure: RpcFailure) -> None:
        super().__init__(f"{failure.code.name}: {failure.message}")
        self.failure = failure

    @property
    def code(self) -> grpc.StatusCode:
        """The canonical code: what kind of failure it is."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """Our stable name for it, as the contracts list them; empty where no server of ours has answered."""
        return self.failure.reason

    @property
    def field(self) -> str:
        """The field of the request that is to blame, such as `stimuli[0].reading.valence`; empty where none is."""
        return self.failure.metadata.get("field", "")

    @property
    def retry_after(self) -> float | None:
        """After how many seconds the same call may succeed; None where a retry does not help."""
        return self.failure.retry_after
