"""A turn as panels: the reply on the left as it grows, the levels beside it."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from limbic.cli import words
from limbic.gateway.v1 import gateway_pb2
from limbic.state.v1 import state_pb2

BAR_CELLS = 20
LEVELS_WIDTH = 58
NARROW = LEVELS_WIDTH + 32
"""Below this width the levels stand under the reply."""

_STYLES = {"crashing": "bold red", "fading": "yellow", "steady": "dim", "rising": "green", "surging": "bold magenta"}


class TurnScreen:
    """What one turn has shown so far, drawn anew for every response."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._reply = ""
        self._state: state_pb2.State | None = None
        self._notes: list[tuple[str, str]] = []

    def take(self, response: gateway_pb2.TurnResponse) -> None:
        """Take in one response of the turn."""
        match response.WhichOneof("event"):
            case "state":
                self._state = response.state.state
                self._note("yellow", words.degraded(response.state))
            case "affect":
                self._feel(response.affect)
            case "late_affect":
                self._feel(response.late_affect)
            case "delta":
                self._reply += words.printable(response.delta.text)
            case "done":
                self._note("dim", words.ending(response.done))

    def __rich__(self) -> RenderableType:
        reply = Panel(Text(self._reply or "…"), border_style="cyan", title="reply", title_align="left")
        body: RenderableType = reply
        if self._state is not None:
            panel = Panel(_levels(self._state), title="how it feels", title_align="left", border_style="dim")
            body = Group(reply, panel) if self._console.width < NARROW else _beside(reply, panel)
        return Group(body, *(Text(text, style=style) for style, text in self._notes))

    def _feel(self, update: gateway_pb2.AffectUpdate) -> None:
        if update.HasField("state"):
            self._state = update.state
        self._note("dim", words.affect(update))

    def _note(self, style: str, text: str) -> None:
        if text:
            self._notes.append((style, text))


def _beside(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(width=LEVELS_WIDTH)
    grid.add_row(left, right)
    return grid


def _levels(state: state_pb2.State) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for level in state.levels:
        word = words.band(level)
        style = _STYLES.get(word, "")
        away = f"{level.value - level.baseline:+5.1f}"
        table.add_row(
            level.name, _bar(level, style), f"{level.value:3.0f}", Text(away, style="dim"), Text(word, style=style)
        )
    moods = " · ".join(words.mood(mood) for mood in state.moods)
    return Group(table, Text(moods, style="italic"))


def _bar(level: state_pb2.Level, style: str) -> Text:
    """Draw 0 to 100 with the baseline marked: the distance from it is what the character feels."""
    filled, rest = round(level.value / 100 * BAR_CELLS), round(level.baseline / 100 * BAR_CELLS)
    cells = "".join("│" if cell == rest else "█" if cell < filled else "·" for cell in range(BAR_CELLS))
    return Text(cells, style=style)
