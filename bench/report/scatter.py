"""The figure of noise: every sample of one case, in the order in which it was taken."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.contracts import Seconds
from bench.report.axes import set_log_axis
from bench.report.data import noisy_case
from bench.report.style import GREY, INK, PALETTE, new_figure, plain

RASTER_ABOVE = 1500
"""Points that a browser draws at ease as vectors; more become a picture inside the figure."""


FAR = 4
"""Times the median beyond which a sample needs a logarithmic axis to leave the others visible."""


SamplesOfRuns = Mapping[str, Sequence[Seconds]]
"""By run, the samples of its case of `noisy_case`, launch by launch."""


def shown_samples(lines: pd.DataFrame, samples: SamplesOfRuns) -> Sequence[Seconds]:
    """Return the samples behind the lines of one case, launch by launch."""
    return samples.get(lines["run"].iloc[0], ()) if len(lines) else ()


def samples_in_order(table: pd.DataFrame, samples: SamplesOfRuns) -> Figure | None:
    """Draw the samples of one case in time order, launch after launch, and their distribution."""
    lines = noisy_case(table)
    launches = shown_samples(lines, samples)
    if not launches:
        return None
    unit, factor = _unit(float(np.median(launches[0])))
    name = lines["name"].iloc[0]
    if table["run"].nunique() > 1:
        name = f"{lines['run'].iloc[0]} {name}"
    figure = new_figure()
    order, share = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1.2])
    count = sum(len(seconds) for seconds in launches)
    begin = 0
    for number, seconds in enumerate(launches):
        values = seconds * factor
        colour = PALETTE[number % 2]
        x = np.arange(begin, begin + len(values))
        order.plot(x, values, ".", color=colour, ms=3, rasterized=count > RASTER_ABOVE)
        middle = float(np.median(values))
        order.plot([begin, begin + len(values) - 1], [middle, middle], "-", color=INK, lw=1.1)
        ranks = np.arange(1, len(values) + 1) / len(values)
        share.plot(100 * ranks, np.sort(values), "-", color=colour, lw=1.0, drawstyle="steps-pre")
        begin += len(values)
    order.set_xlabel("sample, in order" + (" (colour: launch)" if len(launches) > 1 else ""))
    share.set_xlabel("samples below (%)")
    share.axvline(50, color=GREY, lw=0.7)
    share.set_xticks([0, 50, 100])
    _set_time_axis(order, np.concatenate(launches) * factor, f"{plain(name)} ({unit})")
    return figure


def _set_time_axis(axes: Axes, values: Seconds, label: str) -> None:
    """Show all samples: on a logarithmic axis where one of them dwarfs the others."""
    middle = float(np.median(values))
    # Never closer than 5 % of the median: calm would look like a storm.
    low, high = min(values.min(), 0.95 * middle), max(values.max(), 1.05 * middle)
    if high > FAR * middle:
        axes.set_ylim(low / 1.2, high * 1.2)
        set_log_axis(axes, label)
        return
    margin = 0.04 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_ylabel(label)


def _unit(seconds: float) -> tuple[str, float]:
    if seconds < 1e-6:
        return "ns", 1e9
    return ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3)
