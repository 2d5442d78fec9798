"""The nodes or GPUs of a run beside each other: a figure of their rates in order, and a table."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.units import format_rate
from bench.judge.fleet import FALSE_ALARMS, LEAST_OFF, LEAST_PLACES, Time
from bench.judge.fleet_cases import Fleet, Reached, fleets
from bench.report.data import RunData
from bench.report.page import Block, Fold, Paragraph, Table
from bench.report.style import GREY, INK, PALETTE, WIDTH_IN, plain

NAME = "fleet"
"""Stem of the figure's files, and anchor of the section."""
MOST_PANELS = 6
_MOST_LIMIT = 2.0
"""Times as long as the middle that a place may take unnamed, for silence to mean anything."""
MOST_NAMES = 16
"""Places up to which each has a line with its name; more have a histogram beside them."""
MOST_ODD_NAMES = 6
_BINS = 20
_WELL, _ODD = PALETTE[0], PALETTE[1]
_NOTE = (
    "A place is compared with the others in every case of the benchmark, and the median "
    "over its cases counts: once for the median of its samples, once for their mean, which alone "
    "shows what stops now and then. It is slower than the rest where that is over "
    f"{100 * LEAST_OFF:.0f} % and beyond the limit, which like places, scattered as the others "
    f"are, would pass in one fleet of {1 / FALSE_ALARMS:.0f}."
)


def places_in_order(table: pd.DataFrame) -> Figure | None:
    """Draw what each place reached, the slowest first, a panel for each benchmark and memory."""
    found = fleets(table)[:MOST_PANELS]
    if not found:
        return None
    heights = [_height_in(fleet) for fleet in found]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
    several = table["run"].nunique() > 1
    for part, fleet in zip(parts, found, strict=True):
        title = plain(f"{fleet.run} {fleet.name}" if several else fleet.name, 70)
        if len(fleet.reached) <= MOST_NAMES:
            _draw_named(part.subplots(), fleet, title)
        else:
            rank, count = part.subplots(1, 2, sharey=True, width_ratios=[3, 1.2])
            _draw_many(rank, count, fleet, title)
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return how to read the figure, who stands out, and what is left out."""
    found = fleets(table)
    if not found:
        return ""
    text = (
        "What each node or GPU reached in the same work, the slowest first; more is faster. Filled "
        "marks are rates by the median of the samples, with its 95 % interval where there is one "
        "launch; hollow ones by their mean. Where the two lie apart, a place stopped now and then."
    )
    if any(len(fleet.reached) > MOST_NAMES for fleet in found):
        text += " Bars beside many places count how many of them reach a rate by the mean."
    for fleet in found[:MOST_PANELS]:
        odd = [place for place in fleet.slower if place in {r.place for r in fleet.reached}]
        if odd:
            names = ", ".join(odd[:MOST_ODD_NAMES])
            more = f" and {len(odd) - MOST_ODD_NAMES} more" if len(odd) > MOST_ODD_NAMES else ""
            text += f" Slower than the rest in {_what(fleet)}: {names}{more}."
    if len(found) > MOST_PANELS:
        text += f" Of {len(found)} panels the first {MOST_PANELS} are drawn."
    return text


def place_table(run: RunData) -> Iterator[Block]:
    """Yield for each benchmark a line per place: its rates, how it stands, and the verdict."""
    found = fleets(run.table)
    for fleet in found:
        if len(fleet.reached) < LEAST_PLACES:
            text = f"Of {len(fleet.reached)} places nobody knows which one is odd"
        elif fleet.slower:
            text = f"Slower than the rest: {', '.join(fleet.slower)}"
        else:
            text = _none_is_slower(fleet)
        yield Paragraph(f"{text} ({_what(fleet)}, {len(fleet.reached)} places).")
        header = (
            "Place", "By the median", "Time, of the middle", "Limit",
            "By the mean", "Time, of the middle", "Limit", "Verdict",
        )  # fmt: skip
        rows = tuple(_row(fleet, one) for one in fleet.reached)
        table = Table(header, rows, words=frozenset({0, 7}))
        many = len(rows) > MOST_NAMES
        yield Fold(f"All {len(rows)} places in {fleet.name}", (table,)) if many else table
    if found:
        yield Paragraph(_NOTE)


def _none_is_slower(fleet: Fleet) -> str:
    """Return that no place stands out, unless places scatter so much that nobody could tell."""
    least = {
        which: min((one.limit for one in fleet.standings[which].values()), default=math.inf)
        for which in fleet.standings
    }
    if max(least.values()) <= _MOST_LIMIT:
        return "No place is slower than the rest"
    which, limit = max(least.items(), key=lambda item: item[1])
    return (
        f"Cannot tell: places scatter so much that by the {which} only one that takes {limit:.3g} "
        "times as long as the middle would be named"
    )


def _what(fleet: Fleet) -> str:
    return f"{fleet.benchmark} in {fleet.memory}" if fleet.memory else fleet.benchmark


def _row(fleet: Fleet, one: Reached) -> tuple[str, ...]:
    return (
        one.place,
        format_rate(one.median, fleet.unit),
        *_standing(fleet, one.place, "median"),
        format_rate(one.mean, fleet.unit),
        *_standing(fleet, one.place, "mean"),
        "slower than the rest" if one.place in fleet.slower else "",
    )


def _standing(fleet: Fleet, place: str, which: Time) -> tuple[str, str]:
    standing = fleet.standings[which].get(place)
    if standing is None:
        return "", ""
    # Of one that is as fast as the others the limit says nothing: the odd one is among those.
    doubtful = standing.ratio > 1 + LEAST_OFF
    return f"x{standing.ratio:.3g}", f"x{standing.limit:.3g}" if doubtful else ""


def _height_in(fleet: Fleet) -> float:
    return 1.0 + 0.24 * len(fleet.reached) if len(fleet.reached) <= MOST_NAMES else 2.8


def _scale(fleet: Fleet) -> tuple[float, str]:
    """Return the factor and the unit of an axis whose numbers are short."""
    most = max(max(one.median, one.mean) for one in fleet.reached)
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if most >= factor:
            return 1 / factor, f"{prefix}{fleet.unit}"
    return 1.0, str(fleet.unit)


def _draw_named(axes: Axes, fleet: Fleet, title: str) -> None:
    """Draw a line for each place, its name at the left."""
    factor, unit = _scale(fleet)
    reached = fleet.reached[::-1]  # the slowest on top
    for y, one in enumerate(reached):
        colour = _ODD if one.place in fleet.slower else _WELL
        median, mean = one.median * factor, one.mean * factor
        axes.plot([median, mean], [y, y], "-", color=colour, lw=1, alpha=0.6, zorder=2)
        axes.plot(mean, y, "o", mfc="white", mec=colour, ms=5.5, zorder=3)
        if math.isfinite(one.low) and math.isfinite(one.high):
            ends = [one.low * factor, one.high * factor]
            axes.plot(ends, [y, y], "-", color=colour, lw=2.6, solid_capstyle="butt", zorder=3)
        axes.plot(median, y, "o", color=colour, ms=4.5, zorder=4)
    axes.set_yticks(range(len(reached)), [plain(one.place, 24) for one in reached])
    for label, one in zip(axes.get_yticklabels(), reached, strict=True):
        if one.place in fleet.slower:
            label.set_color(_ODD)
            label.set_fontweight("bold")
    axes.set_ylim(-0.6, len(reached) - 0.4)
    # From zero: a per cent of scatter must not look like a fault.
    axes.set_xlim(left=0)
    axes.margins(x=0.08)
    axes.set_xlabel(unit)
    axes.set_title(title)


def _draw_many(axes: Axes, count: Axes, fleet: Fleet, title: str) -> None:
    """Draw all places in order, those that stand out with their names, and how they spread."""
    factor, unit = _scale(fleet)
    means = np.array([one.mean for one in fleet.reached]) * factor
    medians = np.array([one.median for one in fleet.reached]) * factor
    odd = np.array([one.place in fleet.slower for one in fleet.reached])
    order = np.arange(1, len(means) + 1)
    for mask, colour in ((~odd, _WELL), (odd, _ODD)):
        axes.plot(order[mask], medians[mask], ".", color=colour, ms=4, zorder=3)
        axes.plot(order[mask], means[mask], "o", mfc="none", mec=colour, ms=4, zorder=2)
    for number, place in enumerate(np.flatnonzero(odd)[:MOST_ODD_NAMES]):
        axes.annotate(
            plain(fleet.reached[place].place, 24),
            (order[place], means[place]),
            xytext=(14 + 3 * number, -3 - 2 * number),
            textcoords="offset points",
            color=_ODD,
            size=8.5,
            va="center",
        )
    axes.set_xlim(0, len(means) + 1)
    axes.set_ylim(0, 1.08 * max(float(means.max()), float(medians.max())))
    axes.set_xlabel("places, the slowest first")
    axes.set_ylabel(unit)
    axes.set_title(title)
    bins = np.linspace(0, axes.get_ylim()[1], 2 * _BINS + 1).tolist()
    stacks = [means[~odd], means[odd]]
    count.hist(stacks, bins, orientation="horizontal", stacked=True, color=[_WELL, _ODD])
    count.set_xlabel("places")
    count.axhline(float(np.median(means)), color=INK, lw=0.8, ls=(0, (1, 2)))
    count.tick_params(axis="y", color=GREY, length=0)
