"""`limbic replay`: what a session would have felt like under another temperament, or as another head reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from limbic.affect.v1 import affect_pb2, affect_pb2_grpc
from limbic.cli.engine import connected, settings_or_exit, state_engine, text_of
from limbic.cli.explain import duration, moment
from limbic.cli.plots import Curve, PlotError, check_output, plot_replay
from limbic.client import SyncStateEngineClient
from limbic.state.v1 import state_pb2

CALL_S = 10.0
CONTEXT_TURNS = 2
CONTEXT_CHARS = 2_000
READABLE_CHARS = 8_000
"""What the gateway gives the head with an utterance, and what the head takes."""
POINTS = 400
"""About so many points between the facts: as many as a plot can show."""
LONGEST_WORDS = 32


def replay(
    session: Annotated[str, typer.Argument(help="The conversation.")],
    temperament: Annotated[
        str, typer.Option(help="A temperament that the engine knows, or a TOML file; the session's own if not given.")
    ] = "",
    readings_from_head: Annotated[
        bool, typer.Option("--readings-from-head", help="Have the affect head that runs now read the kept words again.")
    ] = False,
    turn: Annotated[str, typer.Option(help="The end of the path; the tip if not given.")] = "",
    output: Annotated[
        Path | None, typer.Option(help="The plot, .png or .svg; replay-SESSION.png if not given.")
    ] = None,
) -> None:
    """Compute a session's curve anew beside the recorded one: a table, and a plot of both and of their difference."""
    settings = settings_or_exit()
    path = output or Path(f"replay-{session}.png")
    try:
        check_output(path)
    except PlotError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    text = text_of(Path(temperament)) if temperament.endswith(".toml") else ""
    with state_engine(settings, sent={"temperament_text": Path(temperament)}) as engine:
        turns = engine.list_turns(session, path_to_turn_id=turn or "tip")
        readings = _read_again(turns, settings.gateway.affect_target) if readings_from_head else []
        points = _points(engine, session, turn, "" if text else temperament, text, readings)
    if not points:
        typer.echo("Nothing has been said or felt on this path.")
        return
    Console(highlight=False).print(table(points, {one.turn_id: one.text for one in turns}))
    compared = [temperament or "its own temperament"] + ["readings of the head that runs now"] * readings_from_head
    try:
        draw(points, path, f"{session}: {', '.join(compared)}")
    except PlotError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"plot: {path}")


def table(points: Sequence[state_pb2.ReplayResponse], said: dict[str, str]) -> Table:
    """Return one row for each turn or stimulus: every level as replayed, and how far that is from what was recorded."""
    made = Table(box=None, padding=(0, 1))
    for heading in ("when", "said"):
        made.add_column(heading, no_wrap=True)
    for level in points[0].recorded.levels:
        made.add_column(level.name, justify="right")
    for point in points:
        if point.cause_turn_id:
            text = " ".join(said.get(point.cause_turn_id, "").split()) or f"({point.cause_turn_id})"
            both = zip(point.recorded.levels, point.replayed.levels, strict=True)
            cells = [f"{would_be.value:.1f} ({would_be.value - was.value:+.1f})" for was, would_be in both]
            made.add_row(moment(point.recorded.as_of), Text(text[:LONGEST_WORDS]), *cells)
    largest = [
        max(abs(would_be.value - was.value) for was, would_be in pairs)
        for pairs in zip(
            *(zip(point.recorded.levels, point.replayed.levels, strict=True) for point in points), strict=True
        )
    ]
    made.add_row("", "largest difference", *(f"{value:.1f}" for value in largest))
    return made


def draw(points: Sequence[state_pb2.ReplayResponse], path: Path, title: str) -> None:
    """Draw both curves and their difference."""
    first = points[0].recorded.as_of.ToNanoseconds()
    hours = [(point.recorded.as_of.ToNanoseconds() - first) / 3.6e12 for point in points]
    said_at = [at for at, point in zip(hours, points, strict=True) if point.cause_turn_id]
    plot_replay(
        path,
        title,
        hours,
        said_at,
        _curves([point.recorded for point in points]),
        _curves([point.replayed for point in points]),
    )


def _curves(states: Sequence[state_pb2.State]) -> list[Curve]:
    levels = [
        Curve(level.name, [state.levels[index].value for state in states])
        for index, level in enumerate(states[0].levels)
    ]
    moods = [
        Curve(mood.name, [state.moods[index].intensity for state in states])
        for index, mood in enumerate(states[0].moods)
    ]
    # Another temperament may have other moods, which cannot be compared.
    return levels + moods


def _points(
    engine: SyncStateEngineClient,
    session: str,
    turn: str,
    temperament: str,
    text: str,
    readings: Sequence[state_pb2.Stimulus],
) -> list[state_pb2.ReplayResponse]:
    def points(interval_s: float | None) -> list[state_pb2.ReplayResponse]:
        with engine.replay(
            session,
            turn_id=turn,
            temperament=temperament,
            temperament_text=text,
            readings=readings,
            interval_s=interval_s,
        ) as found:
            return list(found)

    facts = points(None)
    if not facts:
        return []
    first, last = (facts[index].recorded.as_of.ToNanoseconds() for index in (0, -1))
    seconds = max(60, round((last - first) / 1e9 / POINTS))
    typer.echo(f"{len(facts)} moments, and a point every {duration(seconds)} between them", err=True)
    return points(seconds)


def _read_again(turns: Sequence[state_pb2.Turn], target: str) -> list[state_pb2.Stimulus]:
    """Return the readings of a path by the head that runs now, under the ids of those that were recorded."""
    found = []
    with connected(target, "affect head") as channel:
        stub = affect_pb2_grpc.AffectHeadServiceStub(channel)
        for index, turn in enumerate(track(turns, "reading again …", transient=True)):
            read = [one.stimulus_id for one in turn.stimuli if one.HasField("reading")]
            if not read:
                continue
            if not turn.text.strip():
                typer.echo("error: the session does not keep its words, so there is nothing to read again", err=True)
                raise typer.Exit(1)
            before = [one.text[-CONTEXT_CHARS:] for one in turns[max(0, index - CONTEXT_TURNS) : index]]
            question = affect_pb2.ClassifyRequest(
                text=turn.text[:READABLE_CHARS], context=[text for text in before if text.strip()]
            )
            reading = stub.Classify(question, timeout=CALL_S).reading
            found += [state_pb2.Stimulus(stimulus_id=stimulus_id, reading=_essence(reading)) for stimulus_id in read]
    return found


def _essence(reading: affect_pb2.AffectReading) -> affect_pb2.AffectReading:
    # Emotions that are not active move nothing; without them thousands of readings fit into a message.
    active = [emotion for emotion in reading.emotions if emotion.active]
    return affect_pb2.AffectReading(
        valence=reading.valence,
        intimacy=reading.intimacy,
        tension=reading.tension,
        confidence=reading.confidence,
        emotions=active,
    )
