"""`limbic keys`: the keys of those who may use the gateway."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from limbic.cli.engine import settings_or_exit
from limbic.runtime.keys import Key, Limits, Role, load_keys, new_key, save_keys
from limbic.runtime.settings import SettingsError
from limbic.supervision.supervisor import ROOT

app = typer.Typer(help="Make, list and revoke the keys of the gateway.", no_args_is_help=True)

DEFAULT_FILE = Path("keys.jsonl")
"""In the data directory, where the settings name no file."""

FileOption = Annotated[Path | None, typer.Option("--file", help="The keys file; by default LIMBIC_GATEWAY__KEYS_FILE.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is called: a-z 0-9 -")],
    operator: Annotated[
        bool, typer.Option("--operator", help="Every session under its full name, all telemetry, and the metrics.")
    ] = False,
    days: Annotated[float | None, typer.Option(min=0.0, help="After so many days it is no good any more.")] = None,
    turns_per_minute: Annotated[
        int, typer.Option(min=1, help="What makes a model compute.")
    ] = Limits().turns_per_minute,
    requests_per_minute: Annotated[int, typer.Option(min=1, help="Of any kind.")] = Limits().requests_per_minute,
    sessions: Annotated[int, typer.Option(min=1, help="Conversations that it may hold.")] = Limits().sessions,
    replaces: Annotated[
        str, typer.Option(help="Revoke this key at the same moment; the new one has its sessions.")
    ] = "",
    file: FileOption = None,
) -> None:
    """Make a key and print it, once: only its hash is kept. A running gateway takes it two seconds later."""
    path = _path(file)
    now = datetime.now(UTC)
    with _changing(path) as keys:
        if any(key.name == name for key in keys):
            _fail(f"there is a key {name} already; `limbic keys revoke {name}` takes it away")
        replaced = _named(keys, replaces) if replaces else None
        secret, key = new_key(
            name,
            Role.OPERATOR if operator else Role.USER,
            now=now,
            expires_at=now + timedelta(days=days) if days is not None else None,
            limits=Limits(turns_per_minute, requests_per_minute, sessions),
            owner=replaced.owner if replaced is not None else "",
        )
        save_keys(path, [*(one for one in keys if one is not replaced), key])
    # The key alone goes to standard output, so that it can be piped into a file or a secret store.
    typer.echo(f"Key {name}, kept as a hash in {path}. It is shown this once:", err=True)
    typer.echo(secret)
    if file is None and settings_or_exit().gateway.keys_file is None:
        typer.echo(f"The gateway asks for keys once it is started with LIMBIC_GATEWAY__KEYS_FILE={path}", err=True)


@app.command("list")
def list_keys(file: FileOption = None) -> None:
    """List the keys, and never what could be used as one."""
    path = _path(file)
    now = datetime.now(UTC)
    for key in _loaded(path):
        typer.echo(_line(key, now))


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Which one.")],
    file: FileOption = None,
) -> None:
    """Take a key away. A running gateway refuses it two seconds later; what it made stays in the journal."""
    path = _path(file)
    with _changing(path) as keys:
        gone = _named(keys, name)
        save_keys(path, [key for key in keys if key is not gone])
    typer.echo(f"Key {name} is revoked. Its sessions stay; their names begin with k.{gone.owner}.")


def _path(file: Path | None) -> Path:
    if file is not None:
        return file
    settings = settings_or_exit()
    return ROOT / (settings.gateway.keys_file or settings.runtime.data_dir / DEFAULT_FILE)


@contextmanager
def _changing(path: Path) -> Iterator[tuple[Key, ...]]:
    """Hold the file for the length of a block, so that of two commands at once neither undoes the other's work."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        _fail(f"{path.parent} cannot be written ({error.strerror})")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _loaded(path) if path.exists() else ()
    except (SettingsError, OSError) as error:
        _fail(str(error))
    finally:
        os.close(lock)


def _loaded(path: Path) -> tuple[Key, ...]:
    try:
        return load_keys(path)
    except SettingsError as error:
        _fail(str(error))


def _named(keys: tuple[Key, ...], name: str) -> Key:
    found = next((key for key in keys if key.name == name), None)
    if found is None:
        _fail(f"there is no key {name}; `limbic keys list` shows those there are")
    return found


def _line(key: Key, now: datetime) -> str:
    until = "for ever" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M} UTC"
    state = "EXPIRED" if key.is_expired(now) else until
    limits = (
        f"{key.limits.turns_per_minute:,} turns and {key.limits.requests_per_minute:,} requests a minute, "
        f"{key.limits.sessions:,} sessions"
    )
    return f"{key.name:<20} {key.role.value:<9} made {key.created_at:%Y-%m-%d}  {state:<28} {limits}  k.{key.owner}."


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
