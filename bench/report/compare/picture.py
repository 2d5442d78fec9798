"""The picture of a comparison: how fast B is beside A, case by case, and the margin as a band.

Changed cases have a row each, with their name; the others share what room is left, since of many
that are the same it matters that they are, and not which they are.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.core.verdict import Outcome
from bench.judge.compare.comparison import Comparison, Held, Result
from bench.judge.compare.records import Aspect
from bench.judge.compare.words import case_text, count_text, percent_text
from bench.report.page import Picture
from bench.report.style import GREY, INK, PALETTE, plain, render

WIDTH_IN = 7.6
"""Names of cases stand beside their marks."""
MOST_NAMED = 44
"""Rows with a name: the worst and the best of more."""
_ROW_IN = 0.19
_THIN_IN = 0.055
_MOST_THIN_IN = 6.0
"""All rows without a name."""
_NAME_ALL = 30
"""Up to so many cases, every one has its name."""
_FRAME_IN = 1.25
"""Axis, title and legend."""
_LEAST_SPAN = math.log(1.03)
"""Half of the axis at least, so that noise of a thousandth looks like what it is."""
_MOST_BEYOND = 1.6
"""Times as far as the furthest middle that the widest intervals may stretch the axis."""

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
"""Between ticks, where the axis spans less than `_MOST_LINEAR` times; else they are doublings."""
_MOST_LINEAR = 4.0
_MOST_TICKS = 8

_ORDER = (Outcome.SLOWER, Outcome.FASTER, Outcome.SAME, Outcome.CANNOT_TELL)
_LOOKS = {
    Outcome.SLOWER: (PALETTE[1], "<"),
    Outcome.FASTER: (PALETTE[0], ">"),
    Outcome.SAME: (PALETTE[2], "o"),
    Outcome.CANNOT_TELL: (GREY, "o"),
}
"""Colour and marker of each word; of CANNOT TELL the marker is hollow."""


class Bar(NamedTuple):
    """One row of the picture."""

    result: Result
    is_named: bool
    y_in: float
    """Of its middle, from the top of the axes."""


def draw(comparison: Comparison, stem: str) -> Iterator[Picture]:
    """Yield a picture of each side that was held against the baseline."""
    several = len(comparison.held) > 1
    for place, held in enumerate(comparison.held, start=1):
        drawn = render(partial(_draw, comparison, held))
        if drawn is not None:
            name = f"{stem}-{place}" if several else stem
            title = f"{held.side.label} against {comparison.baseline.label}"
            yield Picture(name, title, caption(comparison, held), *drawn)


def caption(comparison: Comparison, held: Held) -> str:
    """Return how to read the picture."""
    a, b = comparison.baseline.label, held.side.label
    levels = held.of(Aspect.LEVEL)
    text = (
        f"How many times as fast {b} is as {a}, the slowest case first. The bars of all cases hold "
        f"the truth in {percent_text(1 - comparison.level)} of comparisons; the grey band is the "
        f"margin of {percent_text(comparison.margin)}. A changed case is one whose bar lies wholly "
        "beyond the band. Whether a case is the same is asked of it alone, which takes less than "
        "its bar."
    )
    nameless = sum(not bar.is_named for bar in lay_out(levels))
    if nameless:
        text += f" {count_text(nameless)} without a name are in the tables below."
    if any(one.answer.low is None for one in levels):
        text += " Marks without a bar have too few launches for one."
    if len(held.results) > len(levels):
        text += " Tails and ranks are in the tables alone."
    return text


def lay_out(results: Sequence[Result]) -> list[Bar]:
    """Return where each result stands, the slowest at the top."""
    ordered = sorted(results, key=lambda one: one.ratio, reverse=True)
    named = _named(ordered)
    thin = len(ordered) - len(named)
    thin_in = min(_THIN_IN, _MOST_THIN_IN / thin) if thin else 0.0
    bars, top_in = [], 0.0
    for place, result in enumerate(ordered):
        height_in = _ROW_IN if place in named else thin_in
        bars.append(Bar(result, place in named, top_in + height_in / 2))
        top_in += height_in
    return bars


def _named(ordered: Sequence[Result]) -> set[int]:
    """Return the places of those with a name: all of a few, else those that changed."""
    if len(ordered) <= _NAME_ALL:
        return set(range(len(ordered)))
    changed = [place for place, one in enumerate(ordered) if one.is_changed]
    half = MOST_NAMED // 2
    return {*changed[:half], *changed[-half:]} if len(changed) > MOST_NAMED else {*changed}


def _draw(comparison: Comparison, held: Held) -> Figure | None:
    bars = lay_out(held.of(Aspect.LEVEL))
    if not bars:
        return None
    last = bars[-1]
    height_in = last.y_in + (_ROW_IN if last.is_named else _THIN_IN) / 2 + _ROW_IN
    figure = Figure(figsize=(WIDTH_IN, height_in + _FRAME_IN), layout="constrained")
    axes = figure.subplots()
    _draw_band(axes, comparison.margin)
    for outcome in _ORDER:
        _draw_bars(axes, outcome, [bar for bar in bars if bar.result.answer.outcome is outcome])
    ends = _ends(bars, comparison.margin)
    axes.set_xlim(*ends)
    axes.set_ylim(height_in - _ROW_IN / 2, -_ROW_IN / 2)
    _label(axes, bars, ends, held.side.label, comparison.baseline.label)
    _add_legend(figure, bars, comparison.margin)
    return figure


def _ends(bars: Sequence[Bar], margin: float) -> tuple[float, float]:
    """Return the ends of the axis, as logarithms of the speed.

    All middles are inside it, and intervals as they usually are; a few may be so wide that nothing
    else could be seen, and run out of it.
    """
    least = max(2.5 * math.log1p(margin), _LEAST_SPAN)
    found = []
    for sign in (-1, 1):
        middles = [-sign * math.log(bar.result.ratio) for bar in bars]
        intervals = [
            -sign * math.log(end)
            for bar in bars
            for end in (bar.result.answer.low, bar.result.answer.high)
            if end is not None and end > 0 and math.isfinite(end)
        ]
        middle = max(least, *middles)
        usual = 1.2 * median(intervals) if intervals else 0.0
        most = max(_MOST_BEYOND * middle, usual)
        furthest = max(middle, min(max(intervals, default=0.0), most))
        found.append(sign * 1.08 * furthest)
    # The shorter side has room for its word, and 1 is never at the edge.
    left, right = found
    return min(left, -right / 4), max(right, -left / 4)


def _draw_band(axes: Axes, margin: float) -> None:
    axes.axvspan(-math.log1p(margin), math.log1p(margin), color="#d9d9d9", lw=0, zorder=0.5)
    axes.axvline(0, color=GREY, lw=0.8, zorder=0.6)


def _draw_bars(axes: Axes, outcome: Outcome, bars: Sequence[Bar]) -> None:
    colour, marker = _LOOKS[outcome]
    fill = "white" if outcome is Outcome.CANNOT_TELL else colour
    known = [
        (bar.y_in, -math.log(high), -math.log(low))
        for bar in bars
        if (low := bar.result.answer.low) and (high := bar.result.answer.high)
    ]
    if known:
        y, left, right = zip(*known, strict=True)
        axes.hlines(y, left, right, color=colour, lw=1.4, alpha=0.75, zorder=2)
    for is_named, size in ((True, 5.0), (False, 2.6)):
        own = [bar for bar in bars if bar.is_named is is_named]
        x = [-math.log(bar.result.ratio) for bar in own]
        y_in = [bar.y_in for bar in own]
        axes.plot(x, y_in, marker, color=colour, mfc=fill, ms=size, mew=1, zorder=3)


def _label(axes: Axes, bars: Sequence[Bar], ends: tuple[float, float], b: str, a: str) -> None:
    named = [bar for bar in bars if bar.is_named]
    axes.set_yticks([bar.y_in for bar in named])
    axes.set_yticklabels(
        [plain(case_text(bar.result), 60) for bar in named],
        fontsize=8,
    )
    for tick, bar in zip(axes.get_yticklabels(), named, strict=True):
        tick.set_color(INK if bar.result.is_changed else GREY)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    ticks = _ticks(*ends)
    axes.set_xticks([math.log(speed) for speed in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{math.exp(at):.4g}"))
    axes.set_xlabel(plain(f"speed of {b}, times that of {a}", 80))
    axes.set_title("slower", loc="left", color=_LOOKS[Outcome.SLOWER][0], fontsize=9)
    axes.set_title("faster", loc="right", color=_LOOKS[Outcome.FASTER][0], fontsize=9)


def _ticks(left: float, right: float) -> list[float]:
    """Return round speeds between two logarithms of speeds, 1 among them."""
    low, high = math.exp(left), math.exp(right)
    if high / low < _MOST_LINEAR:
        step = next(one for one in _STEPS if (high - low) / one <= _MOST_TICKS)
        places = range(math.ceil((low - 1) / step), math.floor((high - 1) / step) + 1)
        return [1 + step * place for place in places]
    doublings = math.ceil((right - left) / math.log(2) / _MOST_TICKS)
    step = doublings * math.log(2)
    return [
        math.exp(step * place)
        for place in range(math.ceil(left / step), math.floor(right / step) + 1)
    ]


def _add_legend(figure: Figure, bars: Sequence[Bar], margin: float) -> None:
    handles: list[Line2D | Patch] = []
    for outcome in _ORDER:
        count = sum(bar.result.answer.outcome is outcome for bar in bars)
        colour, marker = _LOOKS[outcome]
        fill = "white" if outcome is Outcome.CANNOT_TELL else colour
        if count:
            label = f"{outcome}: {count}"
            handles.append(Line2D([], [], color=colour, marker=marker, mfc=fill, ms=5, label=label))
    handles.append(Patch(color="#d9d9d9", label=f"margin of {percent_text(margin)}"))
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False)
