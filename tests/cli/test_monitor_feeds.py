"""`limbic doctor` on the feeds: fresh is what holds the last reading, and not what is merely there."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from limbic.cli.check import Check
from limbic.cli.checks_feeds import RAW, READABLE, feeds
from limbic.runtime.settings import Settings, load_settings


@contextmanager
def telemetry(*readings: dict[str, Any]) -> Iterator[str]:
    """Serve a snapshot with these readings, and return the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"readings": readings}).encode()
            self.send_response(200 if self.path == "/telemetry/snapshot" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reading(turn_id: str, age_s: float) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age_s))
    return {"turn_id": turn_id, "occurred_at": moment, "status": "AFFECT_STATUS_IN_WINDOW"}


def settings_for(folder: Path, http: str, **gateway: Any) -> Settings:
    return load_settings(runtime={"logs_dir": str(folder)}, gateway={"http": http, **gateway})


def checks(folder: Path, *readings: dict[str, Any], **gateway: Any) -> list[Check]:
    with telemetry(*readings) as http:
        return list(feeds(settings_for(folder, http, **gateway)))


def write(folder: Path, *turn_ids: str) -> None:
    for name in (RAW, READABLE):
        path = folder / name
        path.write_text("".join(f"… {turn_id} …\n" for turn_id in turn_ids))
        path.chmod(0o600)


def test_feeds_that_hold_the_last_reading_are_fresh(tmp_path: Path) -> None:
    write(tmp_path, "t1", "t2")

    found = checks(tmp_path, reading("t2", 300), reading("t1", 400))

    assert [(check.name, check.ok) for check in found] == [(f"feed {RAW}", True), (f"feed {READABLE}", True)]


def test_feeds_that_were_just_rotated_are_fresh(tmp_path: Path) -> None:
    write(tmp_path, "t2")
    for name in (RAW, READABLE):
        os.replace(tmp_path / name, tmp_path / f"{name}.1")  # noqa: PTH105

    assert all(check.ok for check in checks(tmp_path, reading("t2", 300)))


@pytest.mark.parametrize("there", [True, False])
def test_files_that_are_merely_there_do_not_pass(tmp_path: Path, there: bool) -> None:
    if there:
        write(tmp_path, "t1")

    found = checks(tmp_path, reading("t2", 300), reading("t1", 400))

    assert [check.ok for check in found] == [False, False]
    assert all(check.remedy for check in found)
    assert ("is not there" in found[0].detail) == (not there)


def test_a_reading_may_wait_a_moment_for_its_reason(tmp_path: Path) -> None:
    write(tmp_path, "t1")

    assert all(check.ok for check in checks(tmp_path, reading("t2", 1)))


def test_where_there_is_nothing_to_compare_it_says_so(tmp_path: Path) -> None:
    nothing_read = checks(tmp_path)
    switched_off = checks(tmp_path, reading("t2", 300), feed_max_bytes=0)
    behind_keys = checks(tmp_path, reading("t2", 300), keys_file=str(tmp_path / "keys"))
    away = list(feeds(settings_for(tmp_path, "127.0.0.1:1")))

    for found, said in (
        (nothing_read, "nothing to compare"),
        (switched_off, "off"),
        (behind_keys, "keys"),
        (away, "cannot be read"),
    ):
        assert [(check.name, check.ok) for check in found] == [("feeds", True)]
        assert said in found[0].detail


def test_feeds_that_others_may_read_are_found(tmp_path: Path) -> None:
    write(tmp_path, "t1")
    (tmp_path / RAW).chmod(0o644)

    bad = [check for check in checks(tmp_path, reading("t1", 300)) if not check.ok]

    assert [check.name for check in bad] == ["feeds' privacy"]
    assert str(tmp_path / RAW) in bad[0].remedy
