"""`limbic export`, `limbic import`, `limbic delete`: a session's facts as a file, from a file, and gone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer

from limbic.cli.engine import settings_or_exit, state_engine

DEADLINE_S = 600.0

SessionArgument = Annotated[str, typer.Argument(help="The conversation.")]


def export(
    session: SessionArgument,
    output: Annotated[Path | None, typer.Option(help="A file to make; the standard output if not given.")] = None,
) -> None:
    """Write every fact of a session as JSON Lines. Exit status 1 if the engine refuses."""
    with state_engine(settings_or_exit()) as engine, engine.export_session(session, deadline_s=DEADLINE_S) as lines:
        if output is None:
            _write(lines, sys.stdout)
            return
        # Half a file is not left behind under its name.
        partial = output.with_name(f"{output.name}.partial")
        try:
            # It holds what somebody said: nobody else may read it.
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                written = _write(lines, file)
            partial.replace(output)
        except OSError as error:
            typer.echo(f"error: {output} cannot be written: {error.strerror}", err=True)
            raise typer.Exit(1) from None
        finally:
            partial.unlink(missing_ok=True)
    # The last line says how many facts there are, and is none.
    typer.echo(f"{session}: {written - 1:,} facts in {output}")


def import_session(
    file: Annotated[Path, typer.Argument(help="What `limbic export` wrote.")],
    name: Annotated[str, typer.Option("--as", help="The id to give it; its own if not given.")] = "",
) -> None:
    """Make a session from a file: all of it, or nothing where a line cannot be used. Exit status 1 if the engine refuses."""
    with state_engine(settings_or_exit(), sent={"json_line": file}) as engine:
        try:
            with file.open(encoding="utf-8", newline="\n") as lines:
                answer = engine.import_session(lines, session_id=name, deadline_s=DEADLINE_S)
        except OSError as error:
            _cannot_be_read(file, error.strerror)
        except UnicodeDecodeError:
            _cannot_be_read(file, "it is no UTF-8")
    there = " was there already, with the same facts" if answer.existed else ""
    typer.echo(f"{answer.session.session_id}: {answer.facts:,} facts{there}")


def delete(
    session: SessionArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a session and leave nothing of it behind. Exit status 1 if the engine refuses, or if you change your mind."""
    settings = settings_or_exit()
    if not yes:
        typer.confirm(f"Delete session {session} for good?", abort=True)
    with state_engine(settings) as engine:
        facts = engine.delete_session(session, deadline_s=DEADLINE_S)
    typer.echo(f"{session}: {facts:,} facts deleted" if facts else f"{session}: no such session")


def _write(lines: Iterable[str], file: TextIO) -> int:
    """Write lines, and return how many."""
    written = 0
    for line in lines:
        file.write(f"{line}\n")
        written += 1
    return written


def _cannot_be_read(file: Path, reason: str | None) -> NoReturn:
    typer.echo(f"error: {file} cannot be read: {reason}", err=True)
    raise typer.Exit(1) from None
