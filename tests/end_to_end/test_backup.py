"""A journal copied while turns go on, damaged, and put back."""

from __future__ import annotations

import stat
from pathlib import Path

import grpc

from limbic.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from limbic.state.v1 import state_pb2, state_pb2_grpc
from tests.end_to_end.stack import Stack, running_stack

CLI = ("-m", "limbic.cli")
SESSION = "kept"


def say(stack: Stack, text: str) -> str:
    with grpc.insecure_channel(stack.settings.gateway.listen) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        request = gateway_pb2.TurnRequest(session_id=SESSION, text=text)
        done = list(stub.Turn(request, timeout=60))[-1].done
        return str(done.trace.turn_id)


def turns(stack: Stack) -> list[state_pb2.Turn]:
    with grpc.insecure_channel(stack.settings.state.listen) as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        return list(stub.ListTurns(state_pb2.ListTurnsRequest(session_id=SESSION, page_size=100), timeout=30).turns)


def journal_of(stack: Stack) -> Path:
    return Path(stack.settings.state.journal_url.removeprefix("sqlite:///"))


def test_a_copy_made_while_it_runs_brings_everything_back(tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    with running_stack() as stack:
        say(stack, "My sister is called Ines.")
        before = turns(stack)
        made = stack.python(*CLI, "backup", str(copy))
        assert made.returncode == 0, made.stderr
        assert "1 sessions" in made.stdout
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert "there already" in stack.python(*CLI, "backup", str(copy)).stderr
        later = say(stack, "This comes after the copy.")

        refused = stack.python(*CLI, "restore", str(copy))
        assert refused.returncode == 1
        assert "make down" in refused.stderr

        stack.down()
        journal = journal_of(stack)
        journal.write_bytes(journal.read_bytes()[:4096] + b"\0" * 8192)
        restored = stack.python(*CLI, "restore", str(copy))
        assert restored.returncode == 0, restored.stderr
        assert [path for path in journal.parent.glob("*.before-*") if path.stat().st_size == 4096 + 8192]

        stack.up()
        assert turns(stack) == before
        assert later not in [turn.turn_id for turn in before]


def test_what_is_no_whole_journal_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with running_stack(start=False) as stack:
        journal = journal_of(stack)
        journal.parent.mkdir(parents=True)
        journal.write_bytes(b"mine")
        (tmp_path / "broken").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
        (tmp_path / "other").write_bytes(b"")

        for name in ("broken", "other", "missing"):
            refused = stack.python(*CLI, "restore", str(tmp_path / name))
            assert refused.returncode == 1, name
            assert "nothing was changed" in refused.stderr
        assert journal.read_bytes() == b"mine"
