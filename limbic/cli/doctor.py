"""`limbic doctor`: whether everything is well, and what to do where it is not."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from limbic.cli.check import Check
from limbic.cli.checks import all_checks
from limbic.runtime.settings import SettingsError, load_settings
from limbic.supervision.supervisor import ROOT


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Check services, model files, journal, ports and disk. Exit status 0 if all is well, 1 if not, 2 if the settings are wrong."""
    try:
        settings = load_settings()
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    # Relative paths of the settings mean what they mean to the supervised processes.
    os.chdir(ROOT)
    console = Console(highlight=False, soft_wrap=True)
    found = []
    for check in all_checks(settings):
        found.append(check)
        if not as_json:
            console.print(_line(check))
    well = all(check.ok for check in found)
    if as_json:
        typer.echo(json.dumps({"ok": well, "checks": [asdict(check) for check in found]}, indent=2))
    else:
        bad = sum(not check.ok for check in found)
        typer.echo("All is well." if well else f"{bad} of {len(found)} checks found something to do.")
    raise typer.Exit(0 if well else 1)


def _line(check: Check) -> Text:
    mark = Text("ok  ", style="green") if check.ok else Text("BAD ", style="bold red")
    if check.ok and check.remedy:
        mark = Text("warn", style="yellow")
    text = Text.assemble(mark, f"{check.name:<22} {check.detail}")
    if check.remedy:
        text.append(f"\n    → {check.remedy}", style="yellow")
    return text
