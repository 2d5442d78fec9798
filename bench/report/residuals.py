"""The figure of errors: predicted over measured on held-out cases, against size and batch."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bench.core.records import Stage
from bench.judge.statistics import summarise
from bench.measure import MEASUREMENTS
from bench.measure.profiles import profile_of, size_axis_of
from bench.report.axes import BATCH, set_count_axis, set_size_axis
from bench.report.style import (
    GREY,
    look,
    new_figure,
    plain,
    put_legend,
)

BAND = 10
"""Per cent either side of zero that are shaded, as a measure for the eye."""
LINEAR = 50
"""Per cent up to which the axis is linear in the error."""


def residuals(table: pd.DataFrame) -> Figure | None:
    """Draw predicted / measured - 1 in per cent; calibration cases are not shown."""
    points = summarise(table[(table["stage"] != Stage.CALIBRATE) & (table["tier"] == "C")])
    points = points[points["predicted_s"].notna() & (points["size"] > 0)]
    panels = _panels(points)
    if not panels:
        return None
    figure = new_figure(len(panels))
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    handles: list[Line2D] = []
    for axes, (part, counted) in zip(grid, panels, strict=True):
        handles += _draw(axes, part, first=len(handles))
        if counted is None:
            set_size_axis(axes, part["size"], "message or buffer size")
        else:
            set_count_axis(axes, part["size"], counted)
    put_legend(figure, handles)
    return figure


def _panels(points: pd.DataFrame) -> list[tuple[pd.DataFrame, str | None]]:
    """Return the points of each panel, and what is counted along it, None where it is bytes.

    Messages and buffers come first, then other sizes as benchmarks have them; fits along the rows
    of a product last, each type of number for itself.
    """
    names = points["benchmark"]
    axis = names.map(size_axis_of).fillna("bytes")
    is_product = names.map(lambda name: profile_of(name).fit == "rows").astype(bool)
    points = points.assign(curve=names.where(~is_product, points["dtype"] + " " + names))
    counted = [one.size_axis for one in MEASUREMENTS.values() if one.size_axis != "bytes"]
    panels: list[tuple[pd.DataFrame, str | None]] = [
        (points[(axis == "bytes") & ~is_product], None),
        *((points[(axis == name) & ~is_product], name) for name in dict.fromkeys(counted)),
        (points[is_product], BATCH),
    ]
    return [panel for panel in panels if len(panel[0])]


def _draw(axes: Axes, points: pd.DataFrame, first: int) -> list[Line2D]:
    """Draw one panel, a colour for each curve (and run); return the keys."""
    errors = 100 * (points["predicted_s"] / points["t_s"] - 1)
    axes.axhspan(-BAND, BAND, color=GREY, alpha=0.13, lw=0)
    axes.axhline(0, color=GREY, lw=0.9)
    handles: list[Line2D] = []
    several_runs = points["run"].nunique() > 1
    for (run, value), group in points.groupby(["run", "curve"], sort=False):
        words = str(value).replace("_", " ")
        label = f"{run} {words}" if several_runs else words
        colour, marker = look(first + len(handles))
        axes.plot(group["size"], errors[group.index], marker, color=colour, ms=4.5, alpha=0.85)
        handles.append(Line2D([], [], color=colour, marker=marker, ls="", ms=5, label=plain(label)))
    _set_error_axis(axes, float(errors.min()), float(errors.max()))
    return handles


def _set_error_axis(axes: Axes, low: float, high: float) -> None:
    """Make y linear in the error where all are small, else linear in the logarithm of the ratio.

    On a logarithmic axis twice too slow and twice too fast are as far from zero.
    """
    axes.set_ylabel("error of prediction (%)")
    low, high = min(low, -1.5 * BAND), max(high, 1.5 * BAND)
    if low >= -LINEAR and high <= LINEAR:
        margin = 0.06 * (high - low)
        axes.set_ylim(low - margin, high + margin)
        return
    axes.set_yscale("function", functions=(_to_octaves, _from_octaves))
    first, last = math.floor(_to_octaves(low)), math.ceil(_to_octaves(high))
    axes.set_ylim(_from_octaves(first), _from_octaves(last))
    step = max(1, math.ceil((last - first) / 7))
    # Multiples of the step, so that zero is always among them.
    octaves = range(-(-first // step) * step, last + 1, step)
    axes.yaxis.set_major_locator(FixedLocator([_from_octaves(octave) for octave in octaves]))
    labels = [f"{_from_octaves(octave):+,.3g}" if octave else "0" for octave in octaves]
    axes.yaxis.set_major_formatter(FixedFormatter(labels))
    axes.yaxis.set_minor_locator(NullLocator())


def _to_octaves(error: Any) -> Any:
    """Return log2(predicted / measured) of errors in per cent; -100 % has none."""
    return np.log2(np.maximum(1 + np.asarray(error) / 100, 1e-12))


def _from_octaves(octaves: Any) -> Any:
    return 100 * (np.exp2(octaves) - 1)
