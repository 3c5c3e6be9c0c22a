"""What the commands that ask the state engine share: a stub, and failures as one line and an exit status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import typer

from limbic.cli import words
from limbic.client import CallError
from limbic.runtime.channels import ChannelOptions
from limbic.runtime.errors import failure_of
from limbic.runtime.settings import Settings, SettingsError, load_settings


def settings_or_exit() -> Settings:
    """Return the settings; end with status 2 where they are wrong."""
    try:
        return load_settings()
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def connected(target: str, who: str) -> Iterator[grpc.Channel]:
    """Connect for the length of a block; a call that fails in it ends the command with status 1 and says why."""
    with grpc.insecure_channel(target, options=ChannelOptions().arguments()) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            _fail(words.failure(failure_of(error), f"{who} at {target}"))
        except CallError as error:
            _fail(words.failure(error.failure, f"{who} at {target}"))


def _fail(text: str) -> None:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1) from None
