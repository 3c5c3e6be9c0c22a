"""`limbic models`: which model files there are, where more come from, and whether they are what they should be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from limbic.runtime.downloads import Download, DownloadError
from limbic.runtime.models import ModelFile, ModelFileError, find_model, known_models, record_sha256
from limbic.runtime.settings import RuntimeSettings, SettingsError, load_settings
from limbic.supervision.supervisor import ROOT

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 60.0

app = typer.Typer(help="Model files: list, fetch, verify.", no_args_is_help=True)

# OWNER/REPOSITORY/PATH.gguf, with @REVISION behind the repository if it is not its main branch.
_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+?))?/(?P<file>[\w./-]+\.gguf)")

_SHA256 = re.compile(r"[0-9a-f]{64}")


class SourceError(Exception):
    """What is to be fetched is named in no way that we know. The text says how to."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from: its address, and the name that its file gets."""

    url: str
    file: str


@app.command("list")
def list_models() -> None:
    """List the models that Limbic knows by name, and those in the models' folder."""
    settings = _settings()
    table = Table(box=None, pad_edge=False)
    for column in ("model", "size", "state", "file"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for name in known_models():
        table.add_row(name, *_row(name))
    for path in _pulled(settings):
        table.add_row(escape(path.name), *_row(str(path)))
    Console(highlight=False).print(table)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="OWNER/REPOSITORY/FILE.gguf on the hub, or the address of a GGUF file.")],
    sha256: Annotated[
        str, typer.Option(help="What it must contain; the hub's own word is taken if this is not given.")
    ] = "",
) -> None:
    """Fetch a model. What was interrupted goes on where it was; exit status 1 if the file cannot be had, or is not what it should be."""
    settings = _settings()
    console = Console(highlight=False, soft_wrap=True)
    try:
        sha256 = _digest(sha256)
        source = source_of(model, settings.hub_url)
        target = settings.models_dir / source.file
        if target.exists():
            _already_here(target, sha256)
        else:
            _fetch(source, target, sha256, settings, console)
    except (SourceError, DownloadError, ModelFileError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    console.print(f"To speak with it: LIMBIC_LLM__MODEL={target}", markup=False)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or paths; all that are here if none is given.")
    ] = None,
) -> None:
    """Read model files whole and compare them with their recorded SHA-256. Exit status 1 if one is not what it should be."""
    # Before the current folder changes: a path means what it means to the shell.
    wanted = [str(Path(name).resolve()) if Path(name).is_file() else name for name in names or []]
    settings = _settings()
    well = True
    for name in wanted or [*known_models(), *map(str, _pulled(settings))]:
        try:
            file = _find(name, settings)
            digest = file.verify()
        except ModelFileError as error:
            well = False
            typer.echo(f"BAD  {error}")
        else:
            said = "as recorded" if file.sha256 else "nothing is recorded to compare it with"
            typer.echo(f"ok   {file.name}: {digest}, {said}")
    raise typer.Exit(0 if well else 1)


def source_of(model: str, hub_url: str) -> Source:
    """Return where a model is fetched from.

    Raises:
        SourceError: it is neither a file on the hub nor an address, or it comes in another way.
    """
    if model in known_models():
        raise SourceError(f"{model} is not fetched: `make up` builds or installs it")
    if model.startswith(("https://", "http://")):
        file = Path(unquote(urlsplit(model).path)).name
        if file.endswith(".gguf"):
            return Source(model, file)
    elif match := _HUB_NAME.fullmatch(model):
        path = match["file"]
        if ".." not in Path(path).parts and not path.startswith("/"):
            url = f"{hub_url.rstrip('/')}/{match['repository']}/resolve/{match['revision'] or 'main'}/{path}"
            return Source(url, Path(path).name)
    raise SourceError(
        f"{model!r} is neither OWNER/REPOSITORY/FILE.gguf nor the address of a .gguf file; of a repository, its page lists the files"
    )


def _fetch(source: Source, target: Path, sha256: str, settings: RuntimeSettings, console: Console) -> None:
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # httpx takes the token off where it is redirected to another host.
    headers = _authorization(source.url, settings)
    with (
        httpx.Client(timeout=timeout, follow_redirects=True, headers=headers) as client,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task(escape(source.file), total=None)
        fetched = Download(
            client,
            source.url,
            target,
            sha256=sha256,
            on_progress=lambda here, total: progress.update(task, completed=here, total=total or None),
        ).fetch()
    record_sha256(target, fetched.sha256)
    checked = "as it should be" if fetched.checked else "written down; nobody said what it should be"
    console.print(f"{target}: {target.stat().st_size:,} bytes, SHA-256 {fetched.sha256}, {checked}", markup=False)


def _authorization(url: str, settings: RuntimeSettings) -> dict[str, str]:
    if settings.hub_token_file is None or httpx.URL(url).host != httpx.URL(settings.hub_url).host:
        return {}
    try:
        return {"Authorization": f"Bearer {settings.hub_token_file.read_text('utf-8').strip()}"}
    except (OSError, UnicodeError) as error:
        raise DownloadError(
            f"the token file cannot be read ({type(error).__name__}): {settings.hub_token_file}"
        ) from None


def _digest(sha256: str) -> str:
    if sha256 and not _SHA256.fullmatch(sha256.lower()):
        raise SourceError("--sha256 must be 64 hexadecimal digits")
    return sha256.lower()


def _already_here(target: Path, sha256: str) -> None:
    file = find_model(str(target), sha256)
    digest = file.verify()
    typer.echo(f"{target} is here already, SHA-256 {digest}, {'as it should be' if file.sha256 else 'not recorded'}")


def _find(name: str, settings: RuntimeSettings) -> ModelFile:
    in_folder = settings.models_dir / name
    return find_model(str(in_folder) if name.endswith(".gguf") and in_folder.is_file() else name)


def _row(name: str) -> tuple[str, str, str]:
    try:
        file = find_model(name)
    except ModelFileError as error:
        return "", "not installed", escape(str(error))
    if not file.path.is_file():
        return "", "not installed", escape(str(file.path))
    state = "SHA-256 recorded" if file.sha256 else "SHA-256 not recorded"
    return f"{file.path.stat().st_size / 1e6:,.0f} MB", state, escape(str(file.path))


def _pulled(settings: RuntimeSettings) -> Iterator[Path]:
    yield from sorted(settings.models_dir.glob("*.gguf"))


def _settings() -> RuntimeSettings:
    try:
        settings = load_settings().runtime
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    # Relative paths of the settings mean what they mean to the supervised processes.
    os.chdir(ROOT)
    return settings
