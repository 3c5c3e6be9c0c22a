"""`limbic expression`: shows how levels reach the sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbic.cli.plots import Panel, PlotError, plot_effects

app = typer.Typer(help="Expression: how a feeling reaches the words.", no_args_is_help=True)

POINTS = 121
FURTHEST = 30.0
"""Points from the baseline to either side: a little beyond where effects end."""


@app.callback()
def _group() -> None:
    """Keep `plot` a command of its own while it is the only one."""


@app.command()
def plot(
    file: Annotated[Path | None, typer.Argument(help="Another table than the one that is shipped.")] = None,
    output: Annotated[Path, typer.Option(help="The plot, .png or .svg.")] = Path("expression.svg"),
) -> None:
    """Draw each sampling parameter over each level. Exit status 1 with key and reason if the table cannot be used."""
    # A service's own code; it is not loaded for the other commands.
    from services.living_llm.expression_curves import curves
    from services.living_llm.expression_table import ExpressionTableError, load_table, parse_table

    distances = [FURTHEST * (2 * number / (POINTS - 1) - 1) for number in range(POINTS)]
    try:
        table = load_table() if file is None else parse_table(file.read_text(encoding="utf-8"))
        rows = {
            one.name: [Panel(hormone, values, (one.low, one.high)) for hormone, values in one.by_hormone.items()]
            for one in curves(table, distances)
        }
        plot_effects(output, "sampling over each level, the others at rest", "points from baseline", distances, rows)
    except (ExpressionTableError, PlotError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"error: {file} cannot be read: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"plot: {output}")
