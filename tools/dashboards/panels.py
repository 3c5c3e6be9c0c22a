"""The few kinds of panels that our dashboards are made of, so that all look and behave alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from grafana_foundation_sdk.builders import common as shared
from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

WIDTH = 24
"""Columns of Grafana's grid."""

DATASOURCE = model.DataSourceRef("prometheus", "${datasource}")

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"

Panel = timeseries.Panel | stat.Panel | heatmap.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One line or group of lines.

    Attributes:
        expr: in PromQL.
        legend: with labels as `{{label}}`.
        exemplars: show single turns as dots.
        dashed: draw it as a bound and not as a measurement.
    """

    expr: str
    legend: str
    exemplars: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """From which value on a panel shows which colour."""

    value: float
    colour: str


class Board:
    """A dashboard that is filled from the top, row by row.

    Args:
        uid: stable, since links and bookmarks hold it.
        title: in Grafana's list.
        description: what it answers.
    """

    def __init__(self, uid: str, title: str, description: str) -> None:
        self.uid = uid
        self._ids = count(1)
        self._board = (
            dashboard.Dashboard(title)
            .uid(uid)
            .description(description)
            .tags(["limbic"])
            .time("now-1h", "now")
            .timezone("browser")
            .refresh("30s")
            .readonly()
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
            .link(
                dashboard.DashboardLink("Limbic")
                .type(model.DashboardLinkType.DASHBOARDS)
                .tags(["limbic"])
                .as_dropdown(True)
                .include_vars(True)
                .keep_time(True)
            )
        )

    def row(self, title: str, *panels: Panel, height: int = 8) -> None:
        """Add a row of panels of equal width.

        Raises:
            ValueError: their number does not divide the grid.
        """
        if WIDTH % len(panels):
            raise ValueError(f"{title}: {len(panels)} panels do not fill the grid's {WIDTH} columns")
        self._board.with_row(dashboard.Row(title).id(next(self._ids)))
        for panel in panels:
            self._board.with_panel(panel.id(next(self._ids)).height(height).span(WIDTH // len(panels)))

    def build(self) -> model.Dashboard:
        """Return the dashboard."""
        return self._board.build()


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    bounds: Sequence[Bound] = (),
    base: str = GREEN,
    stacked: bool = False,
    most: float | None = None,
) -> timeseries.Panel:
    """Show how values move.

    Args:
        title: what is shown.
        description: how to read it.
        unit: Grafana's name of the unit.
        queries: what is drawn.
        bounds: drawn as dashed lines.
        base: the colour below all of them.
        stacked: whether the lines add up.
        most: the largest value that there can be.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            shared.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(shared.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if most is not None:
        panel.max(most)
    if stacked:
        panel.stacking(shared.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if bounds:
        panel.thresholds(_thresholds(bounds, base)).thresholds_style(
            shared.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(
            prometheus.Dataquery()
            .ref_id(letter)
            .datasource(DATASOURCE)
            .expr(query.expr)
            .legend_format(query.legend)
            .range()
            .exemplar(query.exemplars)
        )
        if query.dashed:
            dash = {"fill": "dash", "dash": [8, 8]}
            panel.override_by_query(
                letter,
                [model.DynamicConfigValue("custom.lineStyle", dash), model.DynamicConfigValue("custom.fillOpacity", 0)],
            )
    return panel


def number(
    title: str, description: str, unit: str, query: Query, bounds: Sequence[Bound] = (), base: str = GREEN
) -> stat.Panel:
    """Show one value, or one for each label, coloured by its bounds; below all of them it has the colour `base`."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(common.BigValueTextMode.AUTO)
        .reduce_options(shared.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .thresholds(_thresholds(bounds, base))
        .with_target(
            prometheus.Dataquery()
            .ref_id("A")
            .datasource(DATASOURCE)
            .expr(query.expr)
            .legend_format(query.legend)
            .instant()
        )
    )


def spread(title: str, description: str, histogram: str) -> heatmap.Panel:
    """Show how the observations of a histogram of seconds are spread over its buckets."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_model.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heatmap_model.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .fill("dark-orange")
            .reverse(False)
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.AUTO))
        .y_axis(heatmap.YAxisConfig().unit("s").axis_placement(common.AxisPlacement.LEFT))
        .show_legend()
        .exemplars_color("rgba(0, 120, 255, 0.8)")
        .with_target(
            prometheus.Dataquery()
            .ref_id("A")
            .datasource(DATASOURCE)
            .expr(f"sum by (le) (increase({histogram}_bucket[$__rate_interval]))")
            .legend_format("{{le}}")
            .format(PromQueryFormat.HEATMAP)
            .range()
            .exemplar(True)
        )
    )


def quantile(q: float, histogram: str, by: str = "", where: str = "") -> str:
    """Return the expression of a histogram's quantile, for each value of the labels `by`."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket{where}[$__rate_interval])))"


def quantiles(histogram: str, *qs: float, where: str = "", exemplars: bool = False) -> list[Query]:
    """Return lines of several quantiles; the last one shows exemplars."""
    return [
        Query(quantile(q, histogram, where=where), f"p{q * 100:g}", exemplars=exemplars and q == qs[-1]) for q in qs
    ]


def rate(counter: str, by: str = "") -> str:
    """Return the expression of events in a second, for each value of the labels `by`."""
    return f"sum{f' by ({by})' if by else ''} (rate({counter}[$__rate_interval]))"


def _thresholds(bounds: Sequence[Bound], base: str) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(None, base), *(model.Threshold(bound.value, bound.colour) for bound in bounds)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
