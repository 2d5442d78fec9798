"""The figures of a report, in order: how each is drawn and its caption."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from bench.report import byhost, captions, curves, products, residuals, scatter
from bench.report.page import Picture
from bench.report.style import render


class Kind(NamedTuple):
    """A figure: the stem of its files, its heading, what draws it and what describes it.

    Both take the table and the samples of all runs on the page.
    """

    name: str
    title: str
    draw: Callable[[pd.DataFrame, pd.DataFrame], Figure | None]
    caption: Callable[[pd.DataFrame, pd.DataFrame], str]


def _of_table(
    name: str,
    title: str,
    draw: Callable[[pd.DataFrame], Figure | None],
    caption: Callable[[pd.DataFrame], str],
) -> Kind:
    """Return a figure that needs no samples."""
    return Kind(name, title, lambda table, _: draw(table), lambda table, _: caption(table))


FIGURES: tuple[Kind, ...] = (
    _of_table(byhost.NAME, "Bandwidth between hosts", byhost.between_hosts, byhost.caption),
    _of_table("latency", "Latency against message size", curves.latency, captions.latency),
    _of_table("bandwidth", "Bandwidth against message size", curves.bandwidth, captions.bandwidth),
    _of_table(
        "message_rate",
        "Message rate against message size",
        curves.message_rate,
        captions.message_rate,
    ),
    _of_table(
        "collectives", "Collective calls against size", curves.collectives, captions.collectives
    ),
    _of_table(
        "collective_rates",
        "Collective calls back to back",
        curves.collective_rates,
        captions.collective_rates,
    ),
    _of_table("memory", "Memory bandwidth against size", curves.memory, captions.memory),
    _of_table("matmul_time", "Matrix product: time", products.product_time, captions.product_time),
    _of_table("matmul_rate", "Matrix product: rate", products.product_rate, captions.product_rate),
    _of_table("residuals", "Errors of the predictions", residuals.residuals, captions.residuals),
    Kind(
        "samples",
        "Noise: the samples of one case",
        scatter.samples_in_order,
        captions.samples_in_order,
    ),
)


def draw_all(table: pd.DataFrame, samples: pd.DataFrame) -> Iterator[Picture]:
    """Draw every figure that the runs have measurements for."""
    for kind in FIGURES:
        drawn = render(partial(kind.draw, table, samples))
        if drawn is not None:
            yield Picture(kind.name, kind.title, kind.caption(table, samples), *drawn)
