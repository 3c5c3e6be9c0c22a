"""The telemetry as two panels, and as lines."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from limbic.affect.v1 import affect_pb2
from limbic.cli import words
from limbic.cli.explain import moment
from limbic.gateway.v1 import gateway_pb2

BAR_CELLS = 10
EMOTIONS_SHOWN = 6
BESIDE_CELLS = 100
"""From this width on the emotions stand beside the axes."""
SCORES_SHARE, REASONS_SHARE = 5, 2
"""How the two sections divide the height."""
LEAST_LINES = 6
"""Of the section below, on a low screen."""
LINES_ONCE = 40
"""How high it is where there is no screen to fill."""

_AXES = ("valence", "intimacy", "tension")


class MonitorScreen:
    """What was seen last: scores and emotions above, reasons below. Fits itself to the console each time it is drawn.

    Args:
        target: where the gateway is.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._snapshot: gateway_pb2.TelemetrySnapshot | None = None
        self._trouble = ""

    def take(self, snapshot: gateway_pb2.TelemetrySnapshot) -> None:
        """Show this from now on."""
        self._snapshot, self._trouble = snapshot, ""

    def lose(self, reason: str) -> None:
        """Say that nothing newer comes."""
        self._trouble = reason

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or min(LINES_ONCE, console.height)
        layout = Layout()
        below = max(LEAST_LINES, height * REASONS_SHARE // (SCORES_SHARE + REASONS_SHARE))
        layout.split_column(
            Layout(self._scores(height - below, options.max_width), ratio=1, name="scores"),
            Layout(self._reasons(), size=below, name="reasoning"),
        )
        yield from console.render(layout, options.update_height(height))

    def _scores(self, height: int, width: int) -> RenderableType:
        snapshot = self._snapshot
        title = Text.assemble("scores and emotions  ", (f"gateway at {self._target}", "dim"))
        if snapshot is None:
            body: RenderableType = Text(self._trouble or "waiting for the gateway …", style="yellow")
            return Panel(body, title=title, title_align="left", border_style="cyan")
        # What matters most stands first: a low screen shows as much as it can.
        parts: list[RenderableType] = [Text(self._trouble, style="bold yellow")] if self._trouble else []
        away = [one.name for one in snapshot.backends if not one.serving]
        if away:
            parts.append(Text(f"away: {', '.join(away)}", style="bold yellow"))
        if snapshot.readings:
            parts.append(_latest(snapshot.readings[0], width))
        else:
            parts.append(Text("No words have been read since the gateway was started.", style="dim"))
        parts += _state_lines(snapshot)
        # What is left of the height, after the frame and what stands above.
        parts.append(_earlier(snapshot.readings[1 : max(1, height - 14)]))
        return Panel(Group(*parts), title=title, title_align="left", border_style="cyan", subtitle=_footer(snapshot))

    def _reasons(self) -> RenderableType:
        told = [one for one in (self._snapshot.readings if self._snapshot else ()) if one.reading.reasoning]
        lines = [
            Text.assemble(
                (f"{moment(one.occurred_at)}  ", "dim"),
                (f"{_flat(one.text)}  ", "italic"),
                _flat(one.reading.reasoning),
            )
            for one in told
        ]
        if not lines:
            lines = [
                Text("None. A reason quotes the words: it is made only where gateway.log_text is on.", style="dim")
            ]
        return Panel(Group(*lines), title="reasoning", title_align="left", border_style="magenta")


class NewReadings:
    """Tells readings as lines, each once; and its reason, if that comes later, too."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int, int], bool] = {}

    def lines(self, snapshot: gateway_pb2.TelemetrySnapshot) -> Iterator[str]:
        """Yield a line for each reading that was not told yet, the oldest first."""
        told: dict[tuple[str, int, int], bool] = {}
        for one in reversed(snapshot.readings):
            key = (one.turn_id, int(one.status), one.occurred_at.ToNanoseconds())
            reason = bool(one.reading.reasoning)
            if key not in self._told:
                yield line_of(one)
            if reason and not self._told.get(key, False):
                yield f"{moment(one.occurred_at)}  why: {_flat(one.reading.reasoning)}"
            told[key] = reason
        # Only those that the next snapshot can hold.
        self._told = told


def line_of(one: gateway_pb2.TelemetryReading) -> str:
    """Return a reading on one line."""
    parts = [moment(one.occurred_at), f"{_status(one)} after {_seconds(one.latency)}", one.turn_id]
    if one.HasField("reading"):
        parts.append(words.reading(one.reading))
    if one.text:
        parts.append(f"“{_flat(one.text)}”")
    return "  ".join(parts)


def _state_lines(snapshot: gateway_pb2.TelemetrySnapshot) -> list[RenderableType]:
    window = snapshot.window
    late = f" ({_seconds(window.lateness_p50)} at the median)" if window.HasField("lateness_p50") else ""
    lines: list[RenderableType] = []
    if snapshot.HasField("state"):
        lines.append(Text(words.levels(snapshot.state)))
    lines.append(
        Text(
            f"window {_seconds(window.window)}: {window.hits} in time, {window.late} late{late}, {window.missed} not felt",
            style="dim",
        )
    )
    return lines


def _latest(one: gateway_pb2.TelemetryReading, width: int) -> RenderableType:
    head = Text.assemble(
        (moment(one.occurred_at), "bold"),
        f"  {_status(one)} after {_seconds(one.latency)}  ",
        (one.turn_id, "dim"),
    )
    said = Text(_flat(one.text), style="italic", overflow="ellipsis", no_wrap=True)
    if not one.HasField("reading"):
        return Group(head, said) if one.text else head
    scores: RenderableType = Group(_axes(one.reading), _emotions(one.reading))
    if width >= BESIDE_CELLS:
        scores = Table.grid(padding=(0, 2))
        scores.add_row(_axes(one.reading), _emotions(one.reading))
    return Group(head, *([said] if one.text else []), scores)


def _axes(reading: affect_pb2.AffectReading) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for axis in _AXES:
        value = getattr(reading, axis)
        table.add_row(
            axis, _bar(value), f"{value:+.2f}", Text(f"± {getattr(reading.uncertainty, axis):.2f}", style="dim")
        )
    table.add_row(
        "confidence",
        "",
        f"{reading.confidence:.2f}",
        Text(f"{reading.head.id} {reading.head.quantization}", style="dim"),
    )
    return table


def _emotions(reading: affect_pb2.AffectReading) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    strongest = sorted(reading.emotions, key=lambda one: (-one.active, -one.probability))[:EMOTIONS_SHOWN]
    # Two columns, because the axes beside them have four lines.
    half = (len(strongest) + 1) // 2
    for index in range(half):
        row: list[RenderableType] = []
        for one in strongest[index::half]:
            style = "bold green" if one.active else "dim"
            row += [
                Text(one.label, style=style),
                Text("█" * round(one.probability * BAR_CELLS) or "·", style=style),
                Text(f"{one.probability:.2f}", style=style),
            ]
        table.add_row(*row)
    return table


def _earlier(readings: list[gateway_pb2.TelemetryReading]) -> RenderableType:
    table = Table(box=None, padding=(0, 1), show_header=bool(readings), header_style="dim")
    for heading in ("when", "", "valence", "intimacy", "tension"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in _AXES else "left")
    table.add_column("emotions", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("said", no_wrap=True, overflow="ellipsis", ratio=2)
    for one in readings:
        known = one.HasField("reading")
        axes = [f"{getattr(one.reading, axis):+.2f}" if known else "" for axis in _AXES]
        active = sorted((each for each in one.reading.emotions if each.active), key=lambda each: -each.probability)
        voiced = ", ".join(each.label for each in active[:3])
        table.add_row(moment(one.occurred_at), _status(one), *axes, voiced, Text(_flat(one.text), style="italic"))
    return table


def _footer(snapshot: gateway_pb2.TelemetrySnapshot) -> str:
    parts = [
        f"{snapshot.turns_total} turns",
        f"{snapshot.turns_in_flight} now",
        f"{snapshot.turns_degraded_total} degraded",
    ]
    if snapshot.spooled_facts:
        parts.append(f"{snapshot.spooled_facts} facts wait on disk")
    return " · ".join(parts)


def _status(one: gateway_pb2.TelemetryReading) -> str:
    return gateway_pb2.AffectStatus.Name(one.status).removeprefix("AFFECT_STATUS_").replace("_", " ").lower()


def _seconds(value: Duration) -> str:
    seconds = value.ToNanoseconds() / 1e9
    return f"{seconds:.1f} s" if seconds >= 1.0 else f"{seconds * 1e3:.0f} ms"


def _flat(text: str) -> str:
    return " ".join(words.printable(text).split())


def _bar(value: float) -> Text:
    cells = min(BAR_CELLS, round(abs(value) * BAR_CELLS))
    left, right = (cells, 0) if value < 0 else (0, cells)
    style = "red" if value < 0 else "green"
    return Text.assemble(("█" * left).rjust(BAR_CELLS, "·"), "│", ("█" * right).ljust(BAR_CELLS, "·"), style=style)
