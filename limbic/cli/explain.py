"""`limbic explain`: what a state is made of, as a table and as bars."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from limbic.cli import words
from limbic.cli.engine import settings_or_exit, state_engine
from limbic.state.v1 import state_pb2

_FORMATS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"]

DEADLINE_S = 30.0
BAR_CELLS = 28
LONGEST_WORDS = 48


def explain(
    session: Annotated[str, typer.Argument(help="The conversation.")],
    turn: Annotated[str, typer.Option(help="The turn; the tip if not given.")] = "",
    limit: Annotated[int, typer.Option(help="So many utterances, the largest.", min=1, max=1_000)] = 12,
    at: Annotated[
        datetime | None,
        typer.Option(formats=_FORMATS, help="A moment that has come, in this machine's time; now if not given."),
    ] = None,
) -> None:
    """Show what each utterance still contributes to a session's levels, largest first. Exit status 1 if the engine refuses."""
    as_of = None if at is None else at.astimezone()
    with state_engine(settings_or_exit()) as engine:
        answer = engine.explain(session, turn_id=turn, as_of=as_of, limit=limit, deadline_s=DEADLINE_S)
    console = Console(highlight=False)
    console.print(words.levels(answer.state))
    if answer.contributions:
        console.print(table(answer))
        console.print(bars(answer))
    else:
        console.print("Nothing has been felt on this path.")


def table(answer: state_pb2.ExplainResponse) -> Table:
    """Return one row for each utterance: its share in each hormone before the squash, in level units, and its half-life left."""
    made = Table(box=None, padding=(0, 1))
    for heading in ("when", "said"):
        made.add_column(heading, no_wrap=True)
    for share in answer.remainder.levels:
        made.add_column(share.name, justify="right")
    made.add_column("half left after", justify="right")
    for one in answer.contributions:
        left_s = one.half_life_left.ToNanoseconds() / 1e9
        half_life = duration(left_s) if left_s else Text("·", "dim")
        made.add_row(moment(one.occurred_at), Text(said(one)), *map(_number, one.levels), half_life)
    if any(share.value for share in answer.remainder.levels):
        made.add_row("", "all others", *map(_number, answer.remainder.levels), "")
    return made


def bars(answer: state_pb2.ExplainResponse) -> Table:
    """Return a plot: for each hormone that moves, one bar for each utterance with an effect, to one scale, rest in the middle."""
    parts = [*answer.contributions, answer.remainder]
    widest = max(abs(share.value) for part in parts for share in part.levels) or 1.0
    plot = Table(box=None, padding=(0, 1), title=f"level units, {-widest:.1f} to {widest:.1f}", title_justify="left")
    for heading in ("hormone", "", "", "said"):
        plot.add_column(heading, no_wrap=True)
    for index, hormone in enumerate(answer.remainder.levels):
        name = hormone.name
        for part in parts:
            share = part.levels[index].value
            if abs(share) >= widest / BAR_CELLS / 2:
                plot.add_row(name, Text(bar(share / widest), _colour(share)), f"{share:+.1f}", Text(said(part)))
                name = ""
    return plot


def bar(share: float) -> str:
    """Return a bar for a share of -1 to 1, from the middle to the left or to the right."""
    cells = "█" * round(abs(share) * BAR_CELLS)
    return f"{'':>{BAR_CELLS}}│{cells}" if share > 0 else f"{cells:>{BAR_CELLS}}│"


def said(part: state_pb2.Contribution) -> str:
    """Return the words of a contribution, or its id where they are not kept."""
    if not part.stimulus_id:
        return "all others"
    text = " ".join(words.printable(part.text).split()) or f"({part.stimulus_id})"
    return text if len(text) <= LONGEST_WORDS else text[: LONGEST_WORDS - 1] + "…"


def duration(seconds: float) -> str:
    """Return a duration in the largest unit of which it holds at least two."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(at: Timestamp) -> str:
    """Return a moment in the machine's own time zone."""
    return f"{at.ToDatetime(UTC).astimezone():%d %b %H:%M:%S}"


def _number(share: state_pb2.Share) -> Text:
    shown = f"{share.value:+.1f}"
    return Text("·", "dim") if shown in {"+0.0", "-0.0"} else Text(shown, _colour(share.value))


def _colour(value: float) -> str:
    return "green" if value > 0 else "red"
