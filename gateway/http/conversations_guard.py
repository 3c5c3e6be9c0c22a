"""Who may use the page's API: the page itself, and programs; never another site in the same browser.

There is no login on loopback, so a browser is the way in for strangers. Three doors, each with its own lock:

- A page of another site posts to us. Its request says so in `Sec-Fetch-Site` and `Origin`; what changes something must also be JSON, for
  which a browser asks first (and gets no answer).
- A page of another site opens streams, to use us up. The same headers.
- A site lets its name point at our address (DNS rebinding), and is then of the same origin as far as the browser knows. Its name is in
  `Host`, so only addresses, `localhost` and the names in `gateway.http_hosts` are taken there.

Programs send none of these headers except `Host`, and pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import Request

from gateway.http.conversations_errors import ForeignOriginError, MediaTypeError, UnknownHostError

_OWN_SITE = frozenset({"same-origin", "none"})
"""`none`: the person typed the address."""


class Guard:
    """Checks requests before anything else is looked at.

    Args:
        hosts: names that the gateway goes by, besides addresses and `localhost`.
    """

    def __init__(self, hosts: Collection[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)

    def check_host(self, request: Request) -> None:
        """Check only by which name we are called.

        Raises:
            UnknownHostError: it is not ours.
        """
        if not self._is_ours(request.headers.get("host", "")):
            raise UnknownHostError(
                "this name is not one that the gateway goes by; if it should be, add it to LIMBIC_GATEWAY__HTTP_HOSTS"
            )

    def check(self, request: Request) -> None:
        """Check a request of any kind.

        Raises:
            UnknownHostError, ForeignOriginError: it comes by way of another site.
        """
        self.check_host(request)
        site = request.headers.get("sec-fetch-site")
        if site is not None and site not in _OWN_SITE:
            raise ForeignOriginError("requests from pages of other sites are not taken")
        origin = request.headers.get("origin")
        # Behind a proxy that ends TLS the scheme is another one; the name is the same.
        if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
            raise ForeignOriginError("requests from pages of other origins are not taken")

    def check_change(self, request: Request) -> None:
        """Check a request that changes something.

        Raises:
            UnknownHostError, ForeignOriginError: as in `check`.
            MediaTypeError: the body is not declared as JSON.
        """
        self.check(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise MediaTypeError("content-type", "must be application/json")

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
