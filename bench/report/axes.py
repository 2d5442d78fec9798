"""Axes with plain labels: sizes in IEC units, batches, and numbers without powers of ten."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bench.core.records import Stage
from bench.core.units import format_bytes, format_number
from bench.report.style import GREY, Series, Transform

MOST_ROOF = 2.5
"""Times the highest point that a bound may lie above it and still be drawn."""

BATCH = "batch (rows of the left matrix)"


def set_size_axis(axes: Axes, sizes: "pd.Series[float]", label: str) -> None:
    """Make x logarithmic with sizes in IEC units, at most eight of them."""
    low, high = float(sizes.min()), float(sizes.max())
    axes.set_xscale("log", base=2)
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    step = max(1, math.ceil((last - first) / 7))
    ticks = [2.0**power for power in range(first, last + 1, step)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([format_bytes(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(low / 1.4, high * 1.4)
    axes.set_xlabel(label)


def set_count_axis(axes: Axes, counts: "pd.Series[float]", label: str = BATCH) -> None:
    """Make x logarithmic with plain powers of two."""
    low, high = float(counts.min()), float(counts.max())
    axes.set_xscale("log", base=2)
    ticks = [2**power for power in range(int(math.log2(low)), math.ceil(math.log2(high)) + 1)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(low / 1.25, high * 1.25)
    axes.set_xlabel(label)


def set_linear_axis(axes: Axes, label: str, curves: Sequence[Series], transform: Transform) -> None:
    """Make y go from zero to the highest point or prediction, with room above.

    Intervals may reach half as high again; beyond, they and the bands leave the panel, so that a
    wide band does not press the measurements together. So do bounds that are far above, but their
    value is written.
    """
    points = pd.concat([series.points for series in curves])
    held_out = points["predicted_s"].where(points["stage"] != Stage.CALIBRATE)
    shown = pd.concat([transform(points, points["t_s"]), transform(points, held_out)])
    ends = pd.concat([transform(points, points[end]) for end in ("t_low_s", "t_high_s")])
    highest = float(shown.max())
    roofs = transform(points, points["bound_s"]).dropna()
    far = roofs > MOST_ROOF * highest
    if far.any():
        least, most = (format_number(float(end)) for end in (roofs[far].min(), roofs[far].max()))
        text = f"bound{'' if least == most else 's from'} {least}, above the panel"
        axes.text(1, 1.01, text, transform=axes.transAxes, ha="right", va="bottom", color=GREY)
    highest = max([highest, *roofs[~far]])
    axes.set_ylim(0, 1.06 * max(highest, min(float(ends.max(skipna=True)), 1.5 * highest)))
    axes.set_ylabel(label)


def set_log_axis(axes: Axes, label: str) -> None:
    """Make y logarithmic with plain numbers: decades, or 1-2-5 where they are few."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    steps = (1,) if decades > 3 else (1, 2, 5) if decades > 0.6 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{tick:,.10g}" for tick in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(label)
