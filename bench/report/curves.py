"""Figures of times and rates against size; each takes the table and returns a figure or None."""

import pandas as pd
from matplotlib.figure import Figure

from bench.judge.statistics import summarise
from bench.judge.table import ROOTED, UNROOTED, is_back_to_back
from bench.report.axes import set_linear_axis, set_log_axis, set_size_axis
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


def latency(table: pd.DataFrame) -> Figure | None:
    """Draw half a round trip against message size."""
    points = _points(table, ["latency"], as_microseconds)
    return _against_size(table, [points], as_microseconds, "latency (µs)", "message size", log=True)


def bandwidth(table: pd.DataFrame) -> Figure | None:
    """Draw bandwidth one way and both ways against message size."""
    rate = as_rate("gbytes_per_s")
    points = _points(table, ["bandwidth", "bibandwidth"], rate)
    return _against_size(table, [points], rate, "bandwidth (GB/s)", "message size")


def message_rate(table: pd.DataFrame) -> Figure | None:
    """Draw messages per second against message size."""
    rate = as_rate("messages_per_s", 1e-6)
    points = _points(table, ["message_rate"], rate)
    return _against_size(table, [points], rate, "messages (million/s)", "message size")


def collectives(table: pd.DataFrame) -> Figure | None:
    """Draw the time of collective calls against the block of one rank; rooted ones below."""
    alone = table[~is_back_to_back(table)]
    panels = [_points(alone, list(names), as_microseconds) for names in (UNROOTED, ROOTED)]
    return _against_size(
        table, panels, as_microseconds, "slowest rank (µs)", "block of one rank", log=True
    )


def collective_rates(table: pd.DataFrame) -> Figure | None:
    """Draw the bus bandwidth of collective calls back to back; rooted ones below."""
    rate = as_rate("busbw_gbytes_per_s")
    together = table[is_back_to_back(table)]
    panels = [_points(together, list(names), rate) for names in (UNROOTED, ROOTED)]
    return _against_size(table, panels, rate, "bus bandwidth (GB/s)", "block of one rank")


def memory(table: pd.DataFrame) -> Figure | None:
    """Draw the bandwidth of memory copies and stream kernels against the size of a buffer."""
    rate = as_rate("gbytes_per_s")
    panels = [_points(table, [benchmark], rate) for benchmark in ("memcpy", "stream")]
    return _against_size(
        table, panels, rate, "bandwidth (GB/s)", "size of a buffer or array, each rank"
    )


def _points(table: pd.DataFrame, benchmarks: list[str], transform: Transform) -> pd.DataFrame:
    points = summarise(table[table["benchmark"].isin(benchmarks) & (table["size"] > 0)])
    return points[transform(points, points["t_s"]).notna()]


def _against_size(
    table: pd.DataFrame,
    panels: list[pd.DataFrame],
    transform: Transform,
    y_label: str,
    x_label: str,
    log: bool = False,
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
            draw_series(axes, series, transform)
        if log:
            set_log_axis(axes, y_label)
        else:
            set_linear_axis(axes, y_label, curves, transform)
        drawn += curves
    set_size_axis(grid[-1], pd.concat(panels)["size"], x_label)
    add_legend(figure, drawn)
    return figure
