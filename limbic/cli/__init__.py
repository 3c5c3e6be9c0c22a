"""The command line: one module for each command of `limbic`."""

from __future__ import annotations

import typer

from limbic.cli import (
    backup,
    chat,
    doctor,
    explain,
    expression,
    keys,
    models,
    monitor,
    probe,
    replay,
    steer,
    temperament,
    transfer,
)

app = typer.Typer(
    help="Limbic gives any language model a body.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(backup.backup)
app.command()(chat.chat)
app.command()(doctor.doctor)
app.command()(explain.explain)
app.command()(monitor.monitor)
app.command()(replay.replay)
app.command()(backup.restore)
app.command()(transfer.export)
app.command("import")(transfer.import_session)
app.command()(transfer.delete)
app.add_typer(expression.app, name="expression")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(probe.app, name="probe")
app.add_typer(steer.app, name="steer")
app.add_typer(temperament.app, name="temperament")

__all__ = ["app"]
