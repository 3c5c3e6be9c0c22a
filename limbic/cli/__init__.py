"""The command line: one module for each command of `limbic`."""

from __future__ import annotations

import typer

from limbic.cli import chat, doctor, explain, models, replay, steer, temperament, transfer

app = typer.Typer(
    help="Limbic gives any language model a body.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(chat.chat)
app.command()(doctor.doctor)
app.command()(explain.explain)
app.command()(replay.replay)
app.command()(transfer.export)
app.command("import")(transfer.import_session)
app.command()(transfer.delete)
app.add_typer(models.app, name="models")
app.add_typer(steer.app, name="steer")
app.add_typer(temperament.app, name="temperament")

__all__ = ["app"]
