"""Latency and bandwidth between every two ranks, one pair after the other, the others asleep.

Each pair is a case of its own, so that a slow host shows in all its pairs. Pairs never overlap: two
at once would share links, switches or cores with each other, and no pair could be blamed.
"""

import itertools
from collections.abc import Iterator

import msgspec

from bench.measure.axes import BYTES, PAIR, ROUTE, WINDOW, with_default
from bench.measure.bandwidth import Bandwidth
from bench.measure.latency import Latency
from bench.record import Axis

MOST_RANKS = 256
"""65,280 ordered pairs: some hours, one after the other."""
_RANKS = msgspec.structs.replace(
    PAIR,
    most=MOST_RANKS,
    advice="world size; every two ranks are measured in turn, the others sleep",
)


class PairsLatency(Latency):
    """The ping-pong of each two ranks; a round trip has no direction, so each pair comes once."""

    name = "pairs_latency"
    title = "half a round trip of one message, between every two ranks in turn"
    axes = (BYTES, *ROUTE, _RANKS)
    rank_agg = "max"
    ordered = False


class PairsBandwidth(Bandwidth):
    """The one-way window from each rank to each other one, so that sender and receiver differ."""

    name = "pairs_bandwidth"
    title = "a window of messages one way, from every rank to every other in turn"
    axes = (with_default(BYTES, 2**20), *ROUTE, WINDOW, _RANKS)
    rank_agg = "max"
    ordered = True


EVERY_PAIR: dict[str, bool] = {kind.name: kind.ordered for kind in (PairsLatency, PairsBandwidth)}
"""The benchmarks that have a case for every pair of ranks; whether both orders are cases."""


def count_pairs(benchmark: str, ranks: int) -> int:
    """Return into how many cases one combination of axis values expands."""
    if benchmark not in EVERY_PAIR:
        return 1
    return ranks * (ranks - 1) // (1 if EVERY_PAIR[benchmark] else 2)


def each_pair(benchmark: str, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
    """Return the axes of each case that one combination stands for, sorted by name.

    Pairs add `src_rank` and `dst_rank`, the rank that sends first and the one that receives.
    """
    if benchmark not in EVERY_PAIR:
        yield axes
        return
    choose = itertools.permutations if EVERY_PAIR[benchmark] else itertools.combinations
    for source, target in choose(range(int(axes["ranks"])), 2):
        yield dict(sorted({**axes, "src_rank": source, "dst_rank": target}.items()))
