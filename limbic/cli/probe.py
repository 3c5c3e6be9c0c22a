"""`limbic probe`: whether it feels right, over an hour and over a release."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from limbic.cli import words
from limbic.cli.engine import gateway_key, service_credentials, settings_or_exit
from limbic.client import CallError
from limbic.probes.baselines import baseline_of, write_baseline
from limbic.probes.compare import compare as compare_results
from limbic.probes.errors import ProbeError, ResultError
from limbic.probes.gates import SUITES, load_gates
from limbic.probes.plan import Plan
from limbic.probes.plots import draw
from limbic.probes.report import comparison_markdown, comparison_page, html_page, markdown, number
from limbic.probes.result import Result, load_result, to_json
from limbic.probes.system import Targets
from limbic.runtime.settings import Settings
from limbic.supervision.processes import GATEWAY
from limbic.supervision.supervisor import ROOT

app = typer.Typer(
    help="Probes: measure a running system by words alone, and hold what is found against gates.", no_args_is_help=True
)

ALL = "all"
MODELS = Path("build/models")


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help=f"{', '.join(SUITES)}, or {ALL}.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results and reports; probes/ in the data folder if not given.")
    ] = None,
    temperament: Annotated[str, typer.Option(help="Of the probe's sessions; the system's default if not given.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
    gates: Annotated[Path | None, typer.Option(help="A gates file of your own; the shipped one if not given.")] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Keep the result as what later ones are compared with.")
    ] = False,
    baselines: Annotated[
        Path | None, typer.Option(help="Folder of baselines; baselines/ in the data folder if not given.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the probe's sessions in the journal, to look at.")
    ] = False,
) -> None:
    """Run a suite against the running system. Exit status 0 if every gate is passed, 1 if one is not, 2 if it could not be run."""
    settings = settings_or_exit()
    if suite not in (*SUITES, ALL):
        _refuse(f"no suite is called {suite!r}; known: {', '.join(SUITES)}, {ALL}")
    folder = out or ROOT / settings.runtime.data_dir / "probes"
    kept = baselines or _own_baselines(settings)
    passed = True
    for name in SUITES if suite == ALL else (suite,):
        result = _run(name, _plan(settings, temperament, seed, gates, keep=keep))
        _show(result)
        try:
            typer.echo(f"report: {_write(result, folder)}")
            if baseline:
                typer.echo(f"baseline: {write_baseline(result, kept)}")
        except ResultError as error:
            _refuse(str(error))
        passed = passed and result.passed
    raise typer.Exit(0 if passed else 1)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A result's JSON file, or a suite's name for its baseline.")],
    after: Annotated[Path, typer.Argument(help="The later result's JSON file.")],
    out: Annotated[Path | None, typer.Option(help="Write the report there too, .md or .html.")] = None,
) -> None:
    """Compare two results of one suite. Exit status 1 if a figure got worse than its gate lets it, 2 if they cannot be compared."""
    try:
        first = _named(before)
        found = compare_results(first, load_result(after))
        text = comparison_markdown(found)
        typer.echo(text)
        if out is not None:
            _put(out, comparison_page(found) if out.suffix == ".html" else text)
    except ResultError as error:
        _refuse(str(error))
    raise typer.Exit(1 if found.is_worse else 0)


def _named(name: str) -> Result:
    if name not in SUITES:
        return load_result(Path(name))
    baseline = baseline_of(name, _own_baselines(settings_or_exit()))
    if baseline is None:
        raise ResultError(f"{name} has no baseline yet: `limbic probe run {name} --baseline` makes one")
    return baseline.result


def _own_baselines(settings: Settings) -> Path:
    return ROOT / settings.runtime.data_dir / "baselines"


def _plan(settings: Settings, temperament: str, seed: int, gates: Path | None, *, keep: bool) -> Plan:
    targets = Targets(
        GATEWAY.local(settings),
        settings.gateway.state_target,
        settings.gateway.affect_target,
        settings.gateway.llm_target,
        key=gateway_key(settings),
        credentials=service_credentials(settings),
    )
    try:
        loaded = load_gates(gates)
    except ProbeError as error:
        _refuse(str(error))
    shipped = resources.files("limbic.probes").joinpath("gates.toml")
    return Plan(
        targets=targets,
        temperament=temperament,
        seed=seed,
        gates=loaded,
        gates_text=(gates or shipped).read_text("utf-8"),
        window_s=settings.gateway.affect_window_ms / 1e3,
        models=ROOT / MODELS,
        keep=keep,
    )


def _run(suite: str, plan: Plan) -> Result:
    # llama.cpp, which the canary's sentence encoder needs, takes a moment to load: other commands do not wait for it.
    from limbic.probes.suites import run_suite
    from limbic.runtime.llama import LlamaError

    try:
        with _progress() as progress:
            return asyncio.run(run_suite(suite, plan, progress))
    except CallError as error:
        _refuse(words.failure(error.failure, "system"))
    except (ProbeError, LlamaError) as error:
        _refuse(str(error))


@contextmanager
def _progress() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """Show how far a suite is: a bar on a terminal, one line for each part elsewhere."""
    if not sys.stderr.isatty():
        yield _lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:

        def begin(what: str, steps: int) -> Callable[[], None]:
            task = shown.add_task(what, total=steps)
            return lambda: shown.advance(task)

        yield begin


def _lines(what: str, steps: int) -> Callable[[], None]:
    typer.echo(f"{what}: {steps} steps …", err=True)
    return lambda: None


def _show(result: Result) -> None:
    table = Table(title=f"{result.suite}: {'passed' if result.passed else 'FAILED'}", box=None, padding=(0, 2))
    for column in ("gate", "value", "least", "most", ""):
        table.add_column(column, justify="left" if column in ("gate", "") else "right")
    for verdict in result.verdicts:
        gate = verdict.gate
        limits = ["" if limit is None else number(limit) for limit in (gate.least, gate.most)]
        mark = "[green]ok[/]" if verdict.passed else "[bold red]FAILED[/]"
        table.add_row(gate.measure, number(verdict.value), *limits, mark)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    addresses = [miss.address for miss in result.misses]
    if addresses:
        counted = ", ".join(f"{addresses.count(one)} of the {one}" for one in sorted(set(addresses)))
        console.print(f"{len(addresses)} misses: {counted}")


def _write(result: Result, folder: Path) -> Path:
    """Write the JSON, the plot and both reports, and return the page's path."""
    moment = datetime.fromisoformat(result.started_at).strftime("%Y%m%d-%H%M%S")
    stem = f"{result.suite}-{moment}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultError(f"{folder} cannot be made: {error.strerror}") from None
    _put(folder / f"{stem}.json", to_json(result))
    png = draw(result)
    _put(folder / f"{stem}.png", png)
    _put(folder / f"{stem}.md", markdown(result, f"{stem}.png"))
    page = folder / f"{stem}.html"
    _put(page, html_page(result, png))
    return page


def _put(path: Path, content: str | bytes) -> None:
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ResultError(f"{path} cannot be written: {error.strerror}") from None


def _refuse(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(2)
