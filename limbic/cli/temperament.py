"""`limbic temperament`: looks at a temperament before anybody has to live with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from limbic.cli.engine import text_of
from limbic.cli.plots import Curve, PlotError, check_output, plot_responses

if TYPE_CHECKING:
    from services.state_engine.temperament import Temperament

app = typer.Typer(help="Temperaments: check a file, plot how one responds.", no_args_is_help=True)

POINTS = 240


@app.command()
def check(file: Annotated[Path, typer.Argument(help="A temperament's TOML file.")]) -> None:
    """Say whether a file can be used, and how fast it settles. Exit status 1 with file, key and reason if it cannot."""
    temperament = _read(file)
    law = temperament.dynamics
    from services.state_engine.temperament import HORMONES

    recovery_h = law.recovery_time(0.05, first=2 * len(HORMONES)) / 3_600.0
    exact = "in microseconds" if law.uses_eigenbasis else "slowly: two channels have the same rate, change one a little"
    typer.echo(f"{file}: can be used")
    typer.echo(f"  digest   {temperament.digest}")
    typer.echo(f"  settles  after any flood, within 5 % of its ceiling, in {recovery_h:.1f} h")
    typer.echo(f"  advances {exact}")
    typer.echo(f"  events   {', '.join(temperament.appraisal.events)}")


@app.command()
def plot(
    name: Annotated[str, typer.Argument(help="A shipped temperament, or a TOML file.")],
    output: Annotated[
        Path | None, typer.Option(help="The plot, .png or .svg; temperament-NAME.png if not given.")
    ] = None,
) -> None:
    """Draw the response to each stimulus over time: a clear sentence on each half axis (0.6, confidence 0.65), and each event."""
    from services.state_engine.response import responses

    temperament = _read(Path(name)) if name.endswith(".toml") else _shipped(name)
    path = output or Path(f"temperament-{temperament.name}.png")
    try:
        check_output(path)
    except PlotError as error:
        _fail(str(error))
    found = responses(temperament, POINTS)

    def curves(index: int) -> dict[str, list[Curve]]:
        return {
            one.stimulus: [Curve(line, values) for line, values in (one.levels, one.moods)[index].items()]
            for one in found.responses
        }

    title = f"temperament {temperament.name}: what one utterance or event does"
    try:
        plot_responses(path, title, [seconds / 3_600.0 for seconds in found.seconds], curves(0), curves(1))
    except PlotError as error:
        _fail(str(error))
    typer.echo(f"plot: {path}")


def _read(file: Path) -> Temperament:
    from services.state_engine.temperament import TemperamentError, parse_temperament

    try:
        return parse_temperament(file.stem, text_of(file), str(file))
    except TemperamentError as error:
        _fail(str(error))


def _shipped(name: str) -> Temperament:
    from services.state_engine.errors import TemperamentNotFoundError
    from services.state_engine.library import TemperamentLibrary

    try:
        return TemperamentLibrary().named(name)
    except TemperamentNotFoundError as error:
        _fail(error.message)


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
