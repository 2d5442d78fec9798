"""How figures look: one palette, one set of line styles, one legend, no global state.

Measured, calibration and predicted points never share a style: filled markers are measured and
held out, hollow ones measured and calibrated on, dashed lines predicted, dotted grey a bound.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.errors import printable
from bench.core.records import Stage
from bench.judge.statistics import BETWEEN, WITHIN
from bench.judge.table import measured

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito, "Color Universal Design", 2008: distinct to colour-blind readers too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""A second way to distinguish series, for print without colour."""
INK = "#1a1a1a"
GREY = "#767676"
WIDTH_IN = 5.4
"""Width of every figure: two fit side by side on a desk, one on a phone with letters to read."""
PANEL_IN = 3.1
"""Height of a figure with one panel and its legend."""
LEGEND_ROW_IN = 0.19
"""Height that each row of the legend adds beyond the second."""
LOWER_PANEL_IN = 2.0
"""Height that each further panel adds."""

SETTINGS: Any = {
    # Texts come from files: a dollar sign in one must not start a formula.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    # Letters become outlines: the same on every machine, and no font is fetched.
    "svg.fonttype": "path",
    # Names inside the SVG would be random otherwise, and every build would differ.
    "svg.hashsalt": "clusterbench",
}

Transform = Callable[[pd.DataFrame, "pd.Series[float]"], "pd.Series[float]"]
"""Points and seconds of theirs, to what the y axis shows."""


class Series(NamedTuple):
    """One curve: its points, its launches, and how it is marked."""

    label: str
    colour: str
    marker: str
    points: pd.DataFrame
    launches: pd.DataFrame


def new_figure(panels: int = 1) -> Figure:
    """Return an empty figure of the common width; the legend goes below its panels."""
    height_in = PANEL_IN + LOWER_PANEL_IN * (panels - 1)
    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def render(draw: Callable[[], Figure | None]) -> tuple[bytes, bytes] | None:
    """Return a figure as SVG and PNG, the same bytes at every build; None where there is none."""
    with mpl.rc_context(SETTINGS):
        figure = draw()
        if figure is None:
            return None
        # Lay out once: every save would do it again.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def plain(text: object, limit: int = 40) -> str:
    """Return text that the font can draw: what is not ASCII or not printable is escaped."""
    return printable(printable(text, limit).encode("ascii", "backslashreplace").decode(), limit)


def look(place: int) -> tuple[str, str]:
    """Return colour and marker of the series at this place; no two of the first 42 are the same."""
    return PALETTE[place % len(PALETTE)], MARKERS[(place + place // len(PALETTE)) % len(MARKERS)]


def as_microseconds(_points: pd.DataFrame, seconds: "pd.Series[float]") -> "pd.Series[float]":
    """Return seconds as microseconds."""
    return seconds * 1e6


def as_rate(column: str, factor: float = 1.0) -> Transform:
    """Return the transform to a rate: it scales with the inverse of time."""
    return lambda points, seconds: factor * points[column] * points["t_s"] / seconds


def split_series(
    points: pd.DataFrame, table: pd.DataFrame, several: bool = False, first: int = 0
) -> list[Series]:
    """Return the curves of `points`, named by what distinguishes them.

    `several` means that the figure holds other benchmarks too; colours start at number `first`.
    """
    found: list[Series] = []
    several_runs = points["run"].nunique() > 1
    several_benchmarks = several or points["benchmark"].nunique() > 1
    launches = measured(table).groupby(["run", "series"])
    for (run, series), group in points.groupby(["run", "series"], sort=False):
        line = group.iloc[0]
        parts = [str(run)] if several_runs else []
        parts += [str(line["benchmark"]).replace("_", " ")] if several_benchmarks else []
        parts += [str(line["label"])] if isinstance(line["label"], str) else []
        colour, marker = look(first + len(found))
        found.append(
            Series(
                label=plain(" ".join(parts)) or "measured",
                colour=colour,
                marker=marker,
                points=group.sort_values("size"),
                launches=launches.get_group((run, series)),
            )
        )
    return found


def has_dots(points: pd.DataFrame) -> "pd.Series[bool]":
    """Return which points show their launches: several, but too few for an interval."""
    return (points["launches"] > 1) & ~points["interval"].isin([BETWEEN])


def draw_series(axes: Axes, series: Series, transform: Transform) -> None:
    """Draw what was measured, what was predicted, and the bound."""
    points = series.points
    predicted = points[points["predicted_s"].notna() & (points["stage"] != Stage.CALIBRATE)]
    if len(predicted):
        low, high = (transform(predicted, predicted[c]) for c in ("low_s", "high_s"))
        axes.fill_between(predicted["size"], low, high, color=series.colour, alpha=0.15, lw=0)
        line = transform(predicted, predicted["predicted_s"])
        axes.plot(predicted["size"], line, "--", color=series.colour, lw=1.3, zorder=2)
    bounded = points[points["bound_s"].notna()]
    if len(bounded):
        bound = transform(bounded, bounded["bound_s"])
        axes.plot(bounded["size"], bound, ":", color=GREY, lw=1.5, zorder=1.5)
    _draw_launches(axes, series, transform)
    _draw_measured(axes, series, transform)


def _draw_launches(axes: Axes, series: Series, transform: Transform) -> None:
    """Launches as dots, where there are several but too few for an interval."""
    points = series.points
    few = points[has_dots(points)]
    if few.empty:
        return
    dots = series.launches.merge(few[["case", "t_s"]], on="case")
    # The rates of a line belong to its own median, so that is what they are scaled by.
    dots["t_s"] = dots["t_median_s"]
    values = transform(dots, dots["t_median_s"])
    axes.plot(dots["size"], values, ".", color=series.colour, ms=2.5, alpha=0.5, zorder=3)


def _draw_measured(axes: Axes, series: Series, transform: Transform) -> None:
    points = series.points
    values = transform(points, points["t_s"])
    ends = pd.concat(
        [transform(points, points["t_low_s"]), transform(points, points["t_high_s"])], axis=1
    )
    known = ends.notna().all(axis=1)
    if known.any():
        # The interval of a median may exclude it by rounding; a bar has no negative length.
        below = (values - ends.min(axis=1)).clip(lower=0)[known]
        above = (ends.max(axis=1) - values).clip(lower=0)[known]
        axes.errorbar(
            points["size"][known],
            values[known],
            yerr=np.vstack([below, above]),
            fmt="none",
            ecolor=series.colour,
            elinewidth=1,
            capsize=2,
            zorder=3,
        )
    calibration = points["stage"] == Stage.CALIBRATE
    for chosen, fill in ((calibration, "white"), (~calibration, series.colour)):
        axes.plot(
            points["size"][chosen],
            values[chosen],
            series.marker,
            color=series.colour,
            mfc=fill,
            ms=4.5,
            mew=1.1,
            zorder=4,
        )


def add_legend(figure: Figure, series: Sequence[Series]) -> None:
    """Put the key below the axes, where it covers nothing: curves first, then styles."""
    named = {(s.label, s.colour, s.marker): s for s in series}
    handles = [
        Line2D([], [], color=s.colour, marker=s.marker, ls="", ms=5, label=s.label)
        for s in named.values()
        if len(named) > 1
    ]
    points = pd.concat([s.points for s in series])
    put_legend(figure, [*handles, *_style_handles(points)])


def put_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put these keys below the axes, in as many columns as their labels leave room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    # Three labels of 24 letters fill the width of a figure.
    columns = max(1, min(3, 72 // max(longest, 1)))
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_IN * max(0, rows - 2))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, frameon=False)


def _style_handles(points: pd.DataFrame) -> list[Line2D]:
    """Return keys for the styles that these points use, in grey: they hold for every colour."""
    calibration = points["stage"] == Stage.CALIBRATE
    styles: list[tuple[bool, dict[str, Any], str]] = [
        (bool((~calibration).any()), {"marker": "o", "ls": "", "ms": 5}, "measured"),
        (
            bool(calibration.any()),
            {"marker": "o", "ls": "", "ms": 5, "mfc": "white"},
            "measured, calibration",
        ),
        (
            bool((points["predicted_s"].notna() & ~calibration).any()),
            {"ls": "--"},
            "predicted, with band",
        ),
        (bool(points["bound_s"].notna().any()), {"ls": ":"}, "bound"),
        (
            bool(has_dots(points).any()),
            {"marker": ".", "ls": "", "ms": 3},
            "one launch",
        ),
        (
            bool(points["interval"].isin([BETWEEN, WITHIN]).any()),
            {"marker": "|", "ls": "", "ms": 9},
            "95 % interval",
        ),
    ]
    return [Line2D([], [], color=GREY, label=label, **look) for used, look, label in styles if used]
