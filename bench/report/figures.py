"""The figures of a report, in order: how each is drawn, and its caption."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from bench.contracts import Figure as FigureSpec
from bench.measure import MEASUREMENTS
from bench.report import byhost, captions, curves, fleet, products, residuals, scatter
from bench.report.page import Picture
from bench.report.scatter import SamplesOfRuns
from bench.report.style import render


class Drawing(NamedTuple):
    """A figure: the stem of its files, its heading, what draws it and what describes it.

    Both take the table of all runs on the page, and the samples of one case of each.
    """

    name: str
    title: str
    draw: Callable[[pd.DataFrame, SamplesOfRuns], Figure | None]
    caption: Callable[[pd.DataFrame, SamplesOfRuns], str]


def _of_table(
    name: str,
    title: str,
    draw: Callable[[pd.DataFrame], Figure | None],
    caption: Callable[[pd.DataFrame], str],
) -> Drawing:
    """Return a figure that needs no samples."""
    return Drawing(name, title, lambda table, _: draw(table), lambda table, _: caption(table))


def _declared() -> Iterator[Drawing]:
    """Yield the figures that benchmarks declare, each where its first benchmark stands."""
    members: dict[FigureSpec, list[str]] = {}
    for name, measurement in MEASUREMENTS.items():
        for figure in measurement.profile.figures:
            members.setdefault(figure, []).append(name)
    for figure, names in members.items():
        if figure.draws == "product times":
            draw = partial(products.product_time, names)
        elif figure.draws == "product rates":
            draw = partial(products.product_rate, names)
        else:
            draw = partial(curves.draw_curves, figure, names)
        caption = partial(captions.declared, figure, names)
        yield _of_table(figure.name, figure.title, draw, caption)


FIGURES: tuple[Drawing, ...] = (
    _of_table(fleet.NAME, "Nodes and GPUs in order", fleet.places_in_order, fleet.caption),
    _of_table(byhost.NAME, "Bandwidth between hosts", byhost.between_hosts, byhost.caption),
    *_declared(),
    _of_table("residuals", "Errors of the predictions", residuals.residuals, captions.residuals),
    Drawing(
        "samples",
        "Noise: the samples of one case",
        scatter.samples_in_order,
        captions.samples_in_order,
    ),
)


def draw_all(table: pd.DataFrame, samples: SamplesOfRuns) -> Iterator[Picture]:
    """Draw every figure that the runs have measurements for."""
    for figure in FIGURES:
        drawn = render(partial(figure.draw, table, samples))
        if drawn is not None:
            yield Picture(figure.name, figure.title, figure.caption(table, samples), *drawn)
