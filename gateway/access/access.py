"""The gateway's door: who comes in, and what that costs them. Without a keys file everybody does, and nothing is counted."""

from __future__ import annotations

from gateway.access.errors import KeyRequiredError, OperatorOnlyError
from gateway.access.ring import KeyRing
from gateway.access.visitor import ANYBODY, Visitor, current_visitor
from gateway.metrics import REFUSED
from limbic.runtime.errors import LimbicError


class Access:
    """Asks for keys.

    Args:
        ring: the keys; None where nobody needs one.
    """

    def __init__(self, ring: KeyRing | None) -> None:
        self._ring = ring

    @property
    def asks(self) -> bool:
        """Whether a key is needed."""
        return self._ring is not None

    def admit(self, authorization: str, *, operator: bool = False) -> Visitor:
        """Let somebody in, and count the request.

        Args:
            authorization: the header of this name; empty without one.
            operator: whether it takes an operator's key.

        Raises:
            KeyRequiredError, KeyUnknownError, OperatorOnlyError, TooManyRequestsError: they may not come in.
        """
        if self._ring is None:
            return ANYBODY
        try:
            key = self._ring.find(authorization)
            self._ring.charge_request(key)
            visitor = Visitor(key)
            if operator and not visitor.sees_all:
                raise OperatorOnlyError
        except LimbicError as error:
            REFUSED.labels(error.reason).inc()
            raise
        return visitor

    def visitor(self) -> Visitor:
        """Return who was let in.

        Raises:
            KeyRequiredError: nobody was asked. A face that was put together without a door stays shut.
        """
        visitor = current_visitor()
        if visitor is None:
            if self.asks:
                raise KeyRequiredError
            return ANYBODY
        return visitor

    def charge_turn(self) -> None:
        """Count what makes a model compute. Raises TooManyRequestsError."""
        key = self.visitor().key
        if key is None or self._ring is None:
            return
        try:
            self._ring.charge_turn(key)
        except LimbicError as error:
            REFUSED.labels(error.reason).inc()
            raise
