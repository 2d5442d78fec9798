"""Figures of matrix products against batch, or None where there are none."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from bench.judge.statistics import summarise
from bench.report.axes import set_count_axis, set_linear_axis, set_log_axis
from bench.report.style import (
    GREY,
    Series,
    Transform,
    add_legend,
    as_microseconds,
    as_rate,
    draw_series,
    new_figure,
    split_series,
)

TILES = (32, 64, 128)
"""Rows of the tiles that matrix kernels work on, as a rule: beyond a multiple a new tile starts."""
MOST_SHAPES = 4
"""Panels of one figure; more shapes are in the tables."""
MOST_NAMED = 15
"""Batches that the lower panel can name side by side; beyond, the edges alone are named."""


def product_time(members: Sequence[str], table: pd.DataFrame) -> Figure | None:
    """Draw the seconds of a product against its batch, one panel per K x N."""
    shapes = _shapes(members, table)
    if not shapes:
        return None
    figure = new_figure(len(shapes))
    grid = figure.subplots(len(shapes), 1, sharex=True, squeeze=False)[:, 0]
    drawn: list[Series] = []
    for axes, (title, points) in zip(grid, shapes, strict=True):
        curves = _split(points, table)
        for series in curves:
            draw_series(axes, series, as_microseconds)
        set_log_axis(axes, "time (µs)")
        axes.set_title(title)
        drawn += curves
    set_count_axis(grid[-1], pd.concat([points for _, points in shapes])["size"])
    add_legend(figure, drawn)
    return figure


def product_rate(members: Sequence[str], table: pd.DataFrame) -> Figure | None:
    """Draw the rate of a product against its batch, and once more at the edges of tiles.

    Two panels per K x N: all batches with the tiles marked, and the neighbours of each tile's
    edge side by side, where a logarithmic axis would draw them on top of each other.
    """
    shapes = _shapes(members, table)
    if not shapes:
        return None
    edges = {title: _edges(points["size"]) for title, points in shapes}
    panels = len(shapes) + sum(1 for found in edges.values() if found)
    figure = new_figure(panels)
    grid = iter(figure.subplots(panels, 1, squeeze=False)[:, 0])
    best = max(points["tflops"].max() for _, points in shapes)
    factor, unit = (1.0, "TFLOP/s") if best >= 0.5 else (1e3, "GFLOP/s")
    rate = as_rate("tflops", factor)
    drawn: list[Series] = []
    for title, points in shapes:
        curves = _split(points, table)
        axes = next(grid)
        for series in curves:
            draw_series(axes, series, rate)
        for tile in TILES:
            axes.axvline(tile, color=GREY, lw=0.7, alpha=0.6, zorder=0.5)
        axes.set_title(title)
        set_count_axis(axes, points["size"])
        set_linear_axis(axes, unit, curves, rate)
        if edges[title]:
            _draw_edges(next(grid), curves, edges[title], rate, unit)
        drawn += curves
    add_legend(figure, drawn)
    return figure


def _shapes(members: Sequence[str], table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the measured points of each K x N, titled, the first few of them."""
    points = summarise(table[table["benchmark"].isin(members) & (table["size"] > 0)])
    points = points[points["tflops"].notna() & points["k"].notna() & points["n"].notna()]
    return [
        (f"K x N = {k:.0f} x {n:.0f}", group)
        for (k, n), group in list(points.groupby(["k", "n"]))[:MOST_SHAPES]
    ]


def _split(points: pd.DataFrame, table: pd.DataFrame) -> list[Series]:
    """Return the curves of one shape, whose title names the shape."""
    shape = f"{points['k'].iloc[0]:.0f} x {points['n'].iloc[0]:.0f} "
    return [
        series._replace(label=series.label.replace(shape, ""))
        for series in split_series(points, table)
    ]


def _edges(batches: "pd.Series[float]") -> list[list[int]]:
    """Return the measured neighbours (E-1, E, E+1) of each tile edge E with two of them."""
    measured = {int(batch) for batch in batches}
    multiples = range(TILES[0], max(measured) + 2, TILES[0])
    groups = ([b for b in (edge - 1, edge, edge + 1) if b in measured] for edge in multiples)
    return [group for group in groups if len(group) > 1]


def _draw_edges(
    axes: Axes, curves: list[Series], groups: list[list[int]], rate: Transform, unit: str
) -> None:
    """Draw the batches of each group side by side, joined so that a step shows as a slope."""
    place: dict[float, float] = {}
    for group in groups:
        # One place left empty between groups.
        start = len(place) + groups.index(group)
        place |= {batch: start + i for i, batch in enumerate(group)}
    for series in curves:
        for group in groups:
            points, launches = (
                lines[lines["size"].isin(group)].assign(size=lambda part: part["size"].map(place))
                for lines in (series.points, series.launches)
            )
            if points.empty:
                continue
            axes.plot(points["size"], rate(points, points["t_s"]), "-", color=series.colour, lw=0.6)
            draw_series(axes, series._replace(points=points, launches=launches), rate)
    named = place if len(place) <= MOST_NAMED else {b: p for b, p in place.items() if b % 32 == 0}
    axes.xaxis.set_major_locator(FixedLocator(list(named.values())))
    axes.xaxis.set_major_formatter(FixedFormatter([str(batch) for batch in named]))
    axes.xaxis.grid(visible=False)
    axes.set_xlabel("batch, at the edges of tiles")
    set_linear_axis(axes, unit, curves, rate)
