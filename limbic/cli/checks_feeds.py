"""Whether the feeds are fresh: not that files are there, but that the last words which the gateway has read stand in them."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from google.protobuf.json_format import ParseDict, ParseError

from limbic.cli.check import ANSWER_S, Check
from limbic.gateway.v1 import gateway_pb2
from limbic.runtime.settings import Settings
from limbic.runtime.tls import read_secret
from limbic.supervision.processes import reachable
from limbic.supervision.supervisor import ROOT

RAW, READABLE = "affect_head_raw.jsonl", "affect_head_readable.log"
TAIL_BYTES = 256 * 1024
"""Some hundred readings: more than the telemetry remembers."""
PATIENCE_NS = 60 * 1_000_000_000
"""A reading is written when its reason has come, or has not."""


def feeds(settings: Settings) -> Iterator[Check]:
    """Compare the feeds with the last reading that the gateway's telemetry shows."""
    if not settings.gateway.feed_max_bytes:
        yield Check("feeds", True, "switched off (LIMBIC_GATEWAY__FEED_MAX_BYTES)")
        return
    latest, said = _latest(settings)
    folder = ROOT / settings.runtime.logs_dir
    if latest is None:
        yield Check("feeds", True, said)
    else:
        for name in (RAW, READABLE):
            yield _fresh(folder / name, latest)
    open_to_others = [path for path in (folder / RAW, folder / READABLE) if path.exists() and _others_may_read(path)]
    if open_to_others:
        detail = f"others may read {', '.join(map(str, open_to_others))}"
        yield Check("feeds' privacy", False, detail, f"`chmod go= {' '.join(map(str, open_to_others))}`")


def _fresh(path: Path, latest: gateway_pb2.TelemetryReading) -> Check:
    name = f"feed {path.name}"
    remedy = "`make logs` says why the gateway cannot write it; limbic_feed_dropped_total counts what is missing"
    if any(latest.turn_id in tail for tail in (_tail(path), _tail(path.with_name(f"{path.name}.1")))):
        return Check(name, True, f"{path} holds the last reading")
    if time.time_ns() - latest.occurred_at.ToNanoseconds() < PATIENCE_NS:
        return Check(name, True, f"{path}: the last reading is less than a minute old and not written yet")
    said = "is not there" if not path.exists() else f"does not hold the last reading (of turn {latest.turn_id})"
    return Check(name, False, f"{path} {said}", remedy)


def _latest(settings: Settings) -> tuple[gateway_pb2.TelemetryReading | None, str]:
    """Return the last reading, or why there is none to compare with."""
    scheme = "http" if settings.gateway.tls_cert is None else "https"
    key_file = settings.runtime.gateway_key_file
    if settings.gateway.keys_file is not None and key_file is None:
        return None, "behind keys, not compared (LIMBIC_RUNTIME__GATEWAY_KEY_FILE)"
    headers = {"authorization": f"Bearer {read_secret(key_file)}"} if key_file is not None else {}
    try:
        # The certificate names this host as others know it.
        with httpx.Client(trust_env=False, verify=False, timeout=ANSWER_S) as client:
            answer = client.get(f"{scheme}://{reachable(settings.gateway.http)}/telemetry/snapshot", headers=headers)
            answer.raise_for_status()
            snapshot = ParseDict(answer.json(), gateway_pb2.TelemetrySnapshot(), ignore_unknown_fields=True)
    except (httpx.HTTPError, ValueError, ParseError) as error:
        return None, f"not compared: the gateway's telemetry cannot be read ({type(error).__name__})"
    if not snapshot.readings:
        return None, "no words have been read since the gateway was started, so there is nothing to compare"
    return max(snapshot.readings, key=lambda one: one.occurred_at.ToNanoseconds()), ""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _others_may_read(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO))
