"""Figures of times and rates against size, as benchmarks declare them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.contracts import Figure as FigureSpec
from bench.contracts import Quantity
from bench.judge.statistics import summarise
from bench.judge.table import is_back_to_back
from bench.measure.profiles import profile_of, size_axis_of
from bench.report.axes import set_count_axis, set_linear_axis, set_log_axis, set_size_axis
from bench.report.style import (
    Series,
    Transform,
    add_legend,
    as_microseconds,
    as_rate,
    draw_series,
    new_figure,
    split_series,
)


class _Scale(NamedTuple):
    """How a quantity is drawn: its numbers, the words and the unit of its axis."""

    transform: Transform
    words: str
    unit: str
    log: bool = False
    back_to_back: bool | None = None
    """Whether only operations back to back, or only those apart, are drawn; None for all."""


SCALES: dict[Quantity, _Scale] = {
    "times": _Scale(as_microseconds, "time", "µs", log=True, back_to_back=False),
    "rates": _Scale(as_rate("gbytes_per_s"), "rate", "GB/s"),
    "message rates": _Scale(as_rate("messages_per_s", 1e-6), "messages", "million/s"),
    "bus bandwidths": _Scale(
        as_rate("busbw_gbytes_per_s"), "bus bandwidth", "GB/s", back_to_back=True
    ),
}
"""By what a figure draws; products have a file of their own."""


def draw_curves(figure: FigureSpec, members: Sequence[str], table: pd.DataFrame) -> Figure | None:
    """Draw the benchmarks that declare a figure against their sizes, in the panels they name."""
    scale = SCALES[figure.draws]
    lines = table[table["benchmark"].isin(members) & (table["size"] > 0)]
    if scale.back_to_back is not None:
        lines = lines[is_back_to_back(lines) == scale.back_to_back]
    points = summarise(lines)
    points = points[scale.transform(points, points["t_s"]).notna()]
    panel_of = {name: profile_of(name).panel for name in members}
    places = points["benchmark"].map(panel_of)
    panels = [points[places == panel] for panel in sorted(set(panel_of.values()))]
    y_label = f"{figure.y_label or scale.words} ({scale.unit})"
    axis = size_axis_of(members[0])
    set_x_axis = set_size_axis if axis in (None, "bytes") else set_count_axis
    return _against_size(
        table, panels, scale, y_label, lambda axes, sizes: set_x_axis(axes, sizes, figure.x_label)
    )


def _against_size(
    table: pd.DataFrame,
    panels: list[pd.DataFrame],
    scale: _Scale,
    y_label: str,
    set_x_axis: Callable[[Axes, "pd.Series[float]"], None],
) -> Figure | None:
    """Draw one panel for each set of points that is not empty, over a common size axis."""
    panels = [points for points in panels if len(points)]
    if not panels:
        return None
    figure = new_figure(len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    drawn: list[Series] = []
    for axes, points in zip(grid, panels, strict=True):
        curves = split_series(points, table, several=len(panels) > 1, first=len(drawn))
        for series in curves:
            draw_series(axes, series, scale.transform)
        if scale.log:
            set_log_axis(axes, y_label)
        else:
            set_linear_axis(axes, y_label, curves, scale.transform)
        drawn += curves
    set_x_axis(grid[-1], pd.concat(panels)["size"])
    add_legend(figure, drawn)
    return figure
