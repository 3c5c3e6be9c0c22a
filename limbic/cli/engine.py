"""What the commands that ask a service share: a client, and failures as one line and an exit status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import grpc
import typer

from limbic.cli import words
from limbic.client import CallError, SyncStateEngineClient
from limbic.runtime.channels import open_sync_channel
from limbic.runtime.errors import failure_of
from limbic.runtime.settings import Settings, SettingsError, load_settings
from limbic.runtime.tls import channel_credentials, read_secret, service_certificates


def settings_or_exit() -> Settings:
    """Return the settings; end with status 2 where they are wrong."""
    try:
        return load_settings()
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def service_credentials(settings: Settings) -> grpc.ChannelCredentials | None:
    """Return what the services ask of whoever calls them, if they ask; end with status 2 where the files cannot be used."""
    certificates = service_certificates(settings.runtime)
    try:
        return channel_credentials(certificates) if certificates is not None else None
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def gateway_key(settings: Settings) -> str:
    """Return the key for the gateway, empty if there is none; end with status 2 where its file cannot be used."""
    path = settings.runtime.gateway_key_file
    try:
        return read_secret(path) if path is not None else ""
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def connected(target: str, who: str, *, certified: bool = True) -> Iterator[grpc.Channel]:
    """Connect for the length of a block; a call that fails in it ends the command with status 1 and says why.

    `certified`: whether it is a service, which may ask for a certificate; the gateway, on this host, does not.
    """
    credentials = service_credentials(settings_or_exit()) if certified else None
    with open_sync_channel(target, credentials) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            _fail(words.failure(failure_of(error), f"{who} at {target}"))
        except CallError as error:
            _fail(words.failure(error.failure, f"{who} at {target}"))


@contextmanager
def state_engine(
    settings: Settings, *, sent: Mapping[str, Path] = MappingProxyType({})
) -> Iterator[SyncStateEngineClient]:
    """Use the state engine for the length of a block; a call that fails in it ends the command with status 1 and says why.

    `sent`: fields that hold what stands in a file, by name; where one of them is to blame, the file is named and not the field.
    """
    target = settings.gateway.state_target
    with SyncStateEngineClient(target, credentials=service_credentials(settings)) as engine:
        try:
            yield engine
        except CallError as error:
            file = sent.get(error.field)
            if file is not None:
                _fail(error.failure.message.replace(f"{error.field}:", f"{file}:", 1))
            _fail(words.failure(error.failure, f"state engine at {target}"))


def text_of(path: Path) -> str:
    """Return what stands in a file; end with status 1 where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        _fail(f"{path} cannot be read: it is no UTF-8")


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1) from None
