"""The command line: `limbic chat` and `limbic doctor`."""

from __future__ import annotations

import typer

from limbic.cli import chat, doctor

app = typer.Typer(
    help="Limbic gives any language model a body.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(chat.chat)
app.command()(doctor.doctor)

__all__ = ["app"]
