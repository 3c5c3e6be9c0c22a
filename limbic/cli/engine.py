"""What the commands that ask the state engine share: a stub, and failures as one line and an exit status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import typer

from limbic.cli import words
from limbic.client import CallError
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


def _fail(text: str) -> None:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1) from None
