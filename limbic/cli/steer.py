"""`limbic steer`: makes the control vectors with which levels act on an embedded model's hidden states."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from limbic.runtime.llama import LlamaError
from limbic.runtime.models import ModelFileError, find_model
from limbic.runtime.settings import SettingsError, load_settings
from limbic.supervision.supervisor import ROOT

app = typer.Typer(help="Control vectors: levels that act on a model's hidden states.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `build` a command of its own while it is the only one."""


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="The folder that gets a file for each axis.", file_okay=False)],
    model: Annotated[
        str, typer.Option(help="A name in limbic/models.toml, or a .gguf file; the setting if not given.")
    ] = "",
    prompt_format: Annotated[
        Literal["auto", "transcript", "chat-template", "chatml", "gemma", "llama-3", "mistral"],
        typer.Option(help="How the model is prompted; should be what llm.prompt_format says."),
    ] = "auto",
) -> None:
    """Make control vectors for warmth, tension and energy. They fit this one model file. Exit status 1 if the model cannot be used."""
    # The one command that needs a service's own code; it is not loaded for the others.
    from services.living_llm.control_vectors import ControlVectorError
    from services.living_llm.formats import PromptFormatError
    from services.living_llm.steer_build import build as build_vectors
    from services.living_llm.steer_build import load_contrasts

    out = out.resolve()
    if model.endswith(".gguf"):
        model = str(Path(model).resolve())
    try:
        settings = load_settings().llm
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    # Relative paths of the settings mean what they mean to the supervised processes.
    os.chdir(ROOT)
    contrasts = load_contrasts()
    console = Console(highlight=False, soft_wrap=True)
    try:
        file = find_model(model or settings.model)
        wanted = prompt_format if prompt_format != "auto" else file.prompt_format or "auto"
        with Progress(console=console) as progress:
            tasks = {axis: progress.add_task(axis, total=len(pairs)) for axis, pairs in contrasts.items()}
            vectors = build_vectors(
                file,
                contrasts,
                threads=settings.threads,
                prompt_format=wanted,
                on_pair=lambda axis: progress.advance(tasks[axis]),
            )
        out.mkdir(parents=True, exist_ok=True)
        for vector in vectors:
            vector.write(out / f"{vector.axis}.gguf")
    except (ModelFileError, LlamaError, PromptFormatError, ControlVectorError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    console.print(f"To use them: LIMBIC_LLM__STEERING_DIR={out}", markup=False)
