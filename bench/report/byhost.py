"""The hosts of a run beside each other: a heat map of their pairs, and a table that judges them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.core.units import format_bytes, format_rate, format_seconds
from bench.judge.byhost import latencies, matrices
from bench.judge.hosts import HostRates, Matrix, Way, compare_hosts
from bench.report.data import RunData
from bench.report.page import Block, Paragraph, Table
from bench.report.style import GREY, INK, WIDTH_IN, plain

NAME = "hosts"
"""Stem of the figure's files, and anchor of the section."""
MOST_PANELS = 4
MOST_NUMBERS = 12
"""Hosts up to which a number fits into every square."""
MOST_NAMES = 48
"""Hosts up to which every row has its name."""
_COLOURS = "cividis"
"""Even steps in grey, and to the colour-blind (Nunez, Anderton and Renslow, 2018); slow is dark."""
_NOTE = (
    "What a host sends is the median over those "
    "it sends to; an even number has its higher middle one taken, since the slow end of a pair may "
    "be the other. A host stands out where it is over 10 % off the median of all hosts, and beyond "
    "3.5 times their scatter (scaled median absolute deviation)."
)


class _Panel(NamedTuple):
    run: str
    matrix: Matrix


def between_hosts(table: pd.DataFrame) -> Figure | None:
    """Draw bandwidth from each host to each other one, a panel for each run and kind of memory."""
    panels = _panels(table)[:MOST_PANELS]
    if not panels:
        return None
    heights = [_height_in(panel.matrix) for panel in panels]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    several = table["run"].nunique() > 1
    for axes, panel in zip(grid, panels, strict=True):
        _draw(figure, axes, panel.matrix)
        if len(panels) > 1:
            axes.set_title(plain(f"{panel.run} " if several else "") + panel.matrix.kind)
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return how to read the map, which pair is slowest, and what is left out."""
    panels = _panels(table)
    if not panels:
        return ""
    matrix = panels[0].matrix
    (source, target), least = min(matrix.rates.items(), key=lambda pair: pair[1])
    text = (
        f"Bandwidth from each host (row) to each other one (column), {matrix.kind}; darker is "
        "slower. A host that sends slowly is a dark row, one that receives slowly a dark column; a "
        "frame marks those that stand out."
    )
    if table["run"].nunique() == 1:
        text += f" Slowest: {source} to {target}, {format_rate(least, 'B/s')}."
    if len(panels) > MOST_PANELS:
        text += f" Of {len(panels)} maps the first {MOST_PANELS} are drawn."
    return text


def host_table(run: RunData) -> Iterator[Block]:
    """Yield, for each kind of memory, a line per host: what it sends, receives, and the verdict."""
    size, seconds = latencies(run.table)
    for matrix in matrices(run.table):
        hosts = compare_hosts(matrix)
        odd = [host for host in hosts if host.text]
        lines = [f"{host.host} stands out: it {host.text}." for host in odd]
        yield Paragraph(" ".join(lines) or f"No host stands out ({matrix.kind}).")
        header = ["Host", "Sends", "Of the others", "Receives", "Of the others"]
        if size is not None:
            header.append(f"Latency, {format_bytes(size)}")
        rows = (_row(host, seconds if size is not None else None) for host in hosts)
        yield Table((*header, "Verdict"), tuple(rows), words=frozenset({0, len(header)}))
        yield Paragraph(f"{_how(matrix)} {_NOTE}")


def _how(matrix: Matrix) -> str:
    if matrix.at_once == 1:
        return "Each pair was measured alone, in both directions."
    return (
        f"Rounds of {matrix.at_once} disjoint pairs were measured, each round in both directions: "
        "its pairs share switches, and what else their paths have in common."
    )


def _row(host: HostRates, seconds: dict[str, float] | None) -> tuple[str, ...]:
    cells = [host.host, *_way(host.sends), *_way(host.receives)]
    if seconds is not None:
        known = seconds.get(host.host)
        cells.append("not measured" if known is None else format_seconds(known))
    return (*cells, "stands out" if host.text else "")


def _way(way: Way | None) -> tuple[str, str]:
    if way is None:
        return "not measured", ""
    return format_rate(way.rate, "B/s"), f"{100 * way.share:.0f} %"


def _panels(table: pd.DataFrame) -> list[_Panel]:
    runs = table.groupby("run", sort=False)
    return [_Panel(str(run), matrix) for run, lines in runs for matrix in matrices(lines)]


def _height_in(matrix: Matrix) -> float:
    """Return the height of a panel: squares large enough to be seen at a glance."""
    return 0.8 + min(3.9, 0.8 * len(matrix.hosts))


def _draw(figure: Figure, axes: Axes, matrix: Matrix) -> None:
    hosts = matrix.hosts
    factor, unit = _scale(max(matrix.rates.values()))
    values = np.full((len(hosts), len(hosts)), np.nan)
    place = {host: number for number, host in enumerate(hosts)}
    for (source, target), rate in matrix.rates.items():
        values[place[source], place[target]] = rate * factor
    # From zero: a per cent of scatter must not look like a fault.
    top = float(np.nanmax(values))
    image = axes.imshow(values, cmap=_COLOURS, vmin=0, vmax=top, aspect="equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _name_hosts(axes, hosts)
    if len(hosts) <= MOST_NUMBERS:
        _write_numbers(axes, values, top)
    _frame_odd(axes, matrix)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.03)
    bar.set_label(f"bandwidth ({unit})")
    bar.outline.set_visible(False)


def _scale(rate: float) -> tuple[float, str]:
    return (1e-9, "GB/s") if rate >= 1e9 else (1e-6, "MB/s")


def _name_hosts(axes: Axes, hosts: tuple[str, ...]) -> None:
    step = math.ceil(len(hosts) / MOST_NAMES)
    places = range(0, len(hosts), step)
    names = [plain(hosts[place], 16) for place in places]
    upright = max(map(len, names)) * len(names) > MOST_NAMES
    axes.set_xticks(places, names, rotation=90 if upright else 0)
    axes.set_yticks(places, names)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("to")
    axes.set_ylabel("from")
    edges = np.arange(len(hosts) - 1) + 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)


def _write_numbers(axes: Axes, values: np.ndarray, top: float) -> None:
    colours = mpl.colormaps[_COLOURS]
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if row == column:
            continue
        known = bool(np.isfinite(value))
        text = f"{value:.3g}" if known else "none"
        dark = known and float(np.dot(colours(value / top)[:3], (0.3, 0.59, 0.11))) < 0.5
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            size=8.5,
            color="white" if dark else INK if known else GREY,
        )


def _frame_odd(axes: Axes, matrix: Matrix) -> None:
    """Frame the row of a host that sends unlike the others, the column where it receives so."""
    count = len(matrix.hosts)
    for place, host in enumerate(compare_hosts(matrix)):
        for way, corner, size in (
            (host.sends, (-0.5, place - 0.5), (count, 1)),
            (host.receives, (place - 0.5, -0.5), (1, count)),
        ):
            if way is not None and way.stands_out:
                frame = Rectangle(corner, *size, fill=False, ec=INK, lw=2, clip_on=False)
                axes.add_patch(frame)
