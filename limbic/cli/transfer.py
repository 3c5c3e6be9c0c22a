"""`limbic export`, `limbic import`, `limbic delete`: a session's facts as a file, from a file, and gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import grpc
import typer

from limbic.cli.engine import connected, settings_or_exit
from limbic.state.v1 import state_pb2, state_pb2_grpc

DEADLINE_S = 600.0

SessionArgument = Annotated[str, typer.Argument(help="The conversation.")]


def export(
    session: SessionArgument,
    output: Annotated[Path | None, typer.Option(help="A file to make; the standard output if not given.")] = None,
) -> None:
    """Write every fact of a session as JSON Lines. Exit status 1 if the engine refuses."""
    target = settings_or_exit().gateway.state_target
    with connected(target, "state engine") as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        request = state_pb2.ExportSessionRequest(session_id=session)
        # Nothing is made before the engine has answered, and half a file is not left behind under its name.
        lines: Iterable[state_pb2.ExportSessionResponse] = stub.ExportSession(request, timeout=DEADLINE_S)
        if output is None:
            _write(lines, sys.stdout)
            return
        partial = output.with_name(f"{output.name}.partial")
        try:
            # It holds what somebody said: nobody else may read it.
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                _write(lines, file)
            partial.replace(output)
        except OSError as error:
            typer.echo(f"error: {output} cannot be written: {error.strerror}", err=True)
            raise typer.Exit(1) from None
        finally:
            partial.unlink(missing_ok=True)


def import_session(
    file: Annotated[Path, typer.Argument(help="What `limbic export` wrote.")],
    name: Annotated[str, typer.Option("--as", help="The id to give it; its own if not given.")] = "",
) -> None:
    """Make a session from a file: all of it, or nothing where a line cannot be used. Exit status 1 if the engine refuses."""
    target = settings_or_exit().gateway.state_target
    with connected(target, "state engine") as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        reading = _Reading(name)
        try:
            with file.open(encoding="utf-8", newline="\n") as lines:
                answer: state_pb2.ImportSessionResponse = stub.ImportSession(reading.of(lines), timeout=DEADLINE_S)
        except OSError as error:
            _cannot_be_read(file, error.strerror)
        except grpc.RpcError:
            if reading.broken:
                _cannot_be_read(file, "it is no UTF-8")
            raise
    there = " was there already, with the same facts" if answer.existed else ""
    typer.echo(f"{answer.session.session_id}: {answer.facts:,} facts{there}")


def delete(
    session: SessionArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a session and leave nothing of it behind. Exit status 1 if the engine refuses, or if you change your mind."""
    target = settings_or_exit().gateway.state_target
    if not yes:
        typer.confirm(f"Delete session {session} for good?", abort=True)
    with connected(target, "state engine") as channel:
        stub = state_pb2_grpc.StateEngineServiceStub(channel)
        request = state_pb2.DeleteSessionRequest(session_id=session)
        answer: state_pb2.DeleteSessionResponse = stub.DeleteSession(request, timeout=DEADLINE_S)
    typer.echo(
        f"{session}: {answer.deleted_facts:,} facts deleted" if answer.deleted_facts else f"{session}: no such session"
    )


def _write(lines: Iterable[state_pb2.ExportSessionResponse], file: TextIO) -> None:
    for line in lines:
        file.write(f"{line.json_line}\n")


class _Reading:
    """A file as requests. gRPC reads it in a thread of its own, where an error would be lost: it is kept for whoever made the call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.broken = False

    def of(self, lines: TextIO) -> Iterator[state_pb2.ImportSessionRequest]:
        try:
            for line in lines:
                yield state_pb2.ImportSessionRequest(json_line=line.removesuffix("\n"), session_id=self._name)
                self._name = ""
        except UnicodeDecodeError:
            self.broken = True


def _cannot_be_read(file: Path, reason: str | None) -> NoReturn:
    typer.echo(f"error: {file} cannot be read: {reason}", err=True)
    raise typer.Exit(1) from None
