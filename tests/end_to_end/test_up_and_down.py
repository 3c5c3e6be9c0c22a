from __future__ import annotations

import os
import signal
import socket
import time

from limbic.supervision import procfs
from limbic.supervision.ports import taken
from limbic.supervision.processes import PROCESSES, WATCHER
from tests.end_to_end.stack import Stack, running_stack

SECONDS_OF_A_SECOND_UP = 5.0


def supervision(stack: Stack, command: str) -> tuple[int, str]:
    done = stack.python("-m", "limbic.supervision", command, timeout_s=240.0)
    return done.returncode, done.stdout + done.stderr


def test_up_twice_and_down_leaves_no_process_and_no_port() -> None:
    with running_stack(start=False) as stack:
        assert "Limbic is up." in stack.up()
        assert {m.name for m in procfs.members(stack.supervisor.data_dir)} == {
            "supervisord",
            WATCHER,
            *(process.name for process in PROCESSES),
        }
        pids = [stack.pid(process.name) for process in PROCESSES]
        began = time.monotonic()
        assert "Running already." in stack.up()
        assert time.monotonic() - began < SECONDS_OF_A_SECOND_UP
        assert [stack.pid(process.name) for process in PROCESSES] == pids
        status, said = supervision(stack, "status")
        assert status == 0
        assert said.count("SERVING") == len(PROCESSES)

        assert "Stopped." in stack.down()
        assert not procfs.members(stack.supervisor.data_dir)
        assert not taken(stack.settings)
        assert "Nothing is running." in stack.down()
        status, said = supervision(stack, "status")
        assert status == 1
        assert "`make up`" in said


def test_what_a_killed_supervisord_leaves_behind_is_ended() -> None:
    with running_stack() as stack:
        (supervisord,) = [m.pid for m in procfs.members(stack.supervisor.data_dir) if m.name == "supervisord"]
        os.kill(supervisord, signal.SIGKILL)
        said = stack.up()

        assert "which an earlier supervisord had left behind" in said
        assert "Limbic is up." in said


def test_changed_settings_are_taken_in() -> None:
    with running_stack() as stack:
        before = stack.pid("gateway")
        changed = Stack(
            stack.folder,
            {
                "gateway": {**stack.overrides["gateway"], "affect_window_ms": 50},
                **{name: section for name, section in stack.overrides.items() if name != "gateway"},
            },
        )
        assert "The settings have changed since the start" in changed.up()
        assert changed.pid("gateway") != before


def test_a_taken_port_is_named_with_the_setting_that_moves_it() -> None:
    with running_stack(start=False) as stack, socket.socket() as other:
        host, _, port = stack.settings.gateway.http.rpartition(":")
        other.bind((host, int(port)))
        other.listen()
        status, said = supervision(stack, "up")

    assert status == 1
    assert f"{stack.settings.gateway.http} (gateway)" in said
    assert "LIMBIC_GATEWAY__HTTP" in said
    assert "Traceback" not in said


def test_a_process_that_cannot_start_is_named_with_the_end_of_its_log() -> None:
    with running_stack({"affect": {"model": "/nowhere/at-all.gguf"}}, start=False) as stack:
        status, said = supervision(stack, "up")

    assert status == 1
    assert "affect-head does not stay up" in said
    assert "/nowhere/at-all.gguf" in said
