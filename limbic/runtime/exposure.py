"""Refuses to listen where strangers could come in without a credential, unless told to in so many words.

A door is an address on which a process listens. One on loopback or a Unix socket is reached by this machine's users only. Any other one
must ask for a credential: the gateway's faces for a key, everything else for a certificate (mTLS).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from limbic.runtime.settings import GatewaySettings, RuntimeSettings, ServerSettings, Settings, SettingsError

INSECURE = "LIMBIC_RUNTIME__ALLOW_INSECURE"

_KEYS = "make a key (`limbic keys create NAME`) and set LIMBIC_GATEWAY__KEYS_FILE"
_CERTIFICATES = "set LIMBIC_RUNTIME__TLS_CA, _TLS_CERT and _TLS_KEY"


class ExposureError(SettingsError):
    """A process was told to listen where anybody could come in."""


@dataclass(frozen=True, slots=True)
class Door:
    """One address on which a process listens.

    Attributes:
        setting: the environment variable that chooses it.
        address: HOST:PORT or unix:PATH.
        guarded: whether it asks for a credential.
        remedy: how to make it ask for one.
    """

    setting: str
    address: str
    guarded: bool
    remedy: str

    @property
    def is_open(self) -> bool:
        """Whether strangers could come in."""
        return not self.guarded and not is_local(self.address)


def is_local(address: str) -> bool:
    """Return whether only users of this machine reach HOST:PORT or unix:PATH. A name counts as this machine's only if it is localhost."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def doors(runtime: RuntimeSettings, section: ServerSettings) -> Iterator[Door]:
    """Yield the doors of the process that has this section of the settings."""
    certified = runtime.tls_ca is not None
    prefix = f"LIMBIC_{_name_of(section)}__"
    if isinstance(section, GatewaySettings):
        keyed = section.keys_file is not None
        yield Door(f"{prefix}LISTEN", section.listen, keyed, _KEYS)
        yield Door(f"{prefix}HTTP", section.http, keyed, _KEYS)
    else:
        yield Door(f"{prefix}LISTEN", section.listen, certified, _CERTIFICATES)
    if section.metrics:
        yield Door(f"{prefix}METRICS", section.metrics, certified, _CERTIFICATES)


def watcher_doors(runtime: RuntimeSettings) -> Iterator[Door]:
    """Yield the doors of the watcher beside supervisord."""
    if runtime.supervision_metrics:
        certified = runtime.tls_ca is not None
        yield Door("LIMBIC_RUNTIME__SUPERVISION_METRICS", runtime.supervision_metrics, certified, _CERTIFICATES)


def all_doors(settings: Settings) -> Iterator[Door]:
    """Yield the doors of all processes."""
    for section in (settings.state, settings.affect, settings.llm, settings.gateway):
        yield from doors(settings.runtime, section)
    yield from watcher_doors(settings.runtime)


def refuse_open(found: Iterable[Door], runtime: RuntimeSettings) -> list[str]:
    """Refuse doors through which strangers could come; where that is allowed, return a warning for each of them.

    Raises:
        ExposureError: there is one, and nobody said that there may be.
    """
    stand_open = [door for door in found if door.is_open]
    if not stand_open:
        return []
    if runtime.allow_insecure:
        return [f"{door.setting} is {door.address}: whoever reaches it needs no credential" for door in stand_open]
    said = "; ".join(f"{door.setting} is {door.address}: {door.remedy}" for door in stand_open)
    raise ExposureError(
        f"refusing to listen where strangers could come in without a credential: {said}. "
        f"If something else keeps them out, such as a private network, say so with {INSECURE}=true"
    )


def spoken_in_clear(section: ServerSettings) -> list[str]:
    """Return a warning for each face of the gateway that takes keys over a network without TLS of its own."""
    if not isinstance(section, GatewaySettings) or section.keys_file is None or section.tls_cert is not None:
        return []
    return [
        f"{address} takes keys in clear: set LIMBIC_GATEWAY__TLS_CERT and _TLS_KEY, or let nobody reach it but a proxy that ends TLS"
        for address in (section.listen, section.http)
        if not is_local(address)
    ]


def _name_of(section: ServerSettings) -> str:
    for name, field in Settings.model_fields.items():
        if field.annotation is type(section):
            return name.upper()
    return "SERVICE"
