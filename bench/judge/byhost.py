"""The hosts of a run beside each other: bandwidth between them, and latency."""

from statistics import median_low

import pandas as pd

from bench.core.hostnames import host_of
from bench.judge.hosts import Line, Matrix, make_matrices
from bench.judge.params import PARAM
from bench.judge.table import measured
from bench.measure.profiles import comparing

BUFFERS = PARAM + "buffers"


def matrices(table: pd.DataFrame) -> list[Matrix]:
    """Return the bandwidth between the hosts of one run, in each kind of memory."""
    lines = measured(table)
    lines = lines[
        lines["benchmark"].isin(comparing("rates")) & lines["src"].notna() & lines["dst"].notna()
    ]
    columns = (
        lines["src"],
        lines["dst"],
        lines["bytes"],
        lines["window"].fillna(1),
        lines["src_memory"].fillna("host"),
        lines["path"].fillna("direct"),
        lines["gbytes_per_s"] * 1e9,
        lines["pairs"].fillna(1),
        _buffers(lines),
    )
    return make_matrices(Line(*line) for line in zip(*columns, strict=True))


def _buffers(lines: pd.DataFrame) -> "pd.Series[str]":
    """Return whether messages in flight had buffers of their own or shared one."""
    if BUFFERS not in lines:
        return pd.Series("own", index=lines.index)
    return lines[BUFFERS].fillna("own")


def latencies(table: pd.DataFrame) -> tuple[float | None, dict[str, float]]:
    """Return the smallest message between pairs, in bytes, and its seconds by host.

    A host's are the middle one of its pairs, the lower one of an even number: a pair has two hosts,
    and either may be the slow one. Pairs measured one at a time are preferred to rounds of them.
    """
    lines = measured(table)
    lines = lines[lines["benchmark"].isin(comparing("latencies"))]
    if lines.empty:
        return None, {}
    size = float(lines["bytes"].min())
    lines = lines[lines["bytes"] == size]
    at_once = lines["pairs"].fillna(1)
    lines = lines[at_once == at_once.min()]
    found: dict[str, list[float]] = {}
    for end in ("src", "dst"):
        for place, seconds in zip(lines[end], lines["t_median_s"], strict=True):
            found.setdefault(host_of(str(place)), []).append(float(seconds))
    return size, {host: median_low(seconds) for host, seconds in found.items()}
