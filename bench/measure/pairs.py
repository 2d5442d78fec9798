"""Latency and bandwidth between every two ranks: one pair at a time, or rounds of disjoint ones.

Each pair is a case of its own, so that a slow host shows in all its pairs. One pair at a time
shares nothing with another, and takes time that grows with the square of the ranks. A round
measures every rank in one pair at once, so the time grows with the ranks; its pairs share what
their paths share: switches, and the cores and NICs of a host where it has several ranks.
"""

import itertools
from collections.abc import Iterator

import msgspec

from bench.contracts import (
    AxisSpec,
    Headline,
    Measurement,
    Profile,
)
from bench.core.records import Axis, Case
from bench.measure.axes import BYTES, PAIR, ROUTE, WINDOWS, whole, with_default, word
from bench.measure.bandwidth import Bandwidth
from bench.measure.bibandwidth import Bibandwidth
from bench.measure.latency import Latency

MOST_RANKS = 256
"""65,280 ordered pairs: some hours, one after the other."""
_RANKS = msgspec.structs.replace(
    PAIR,
    most=MOST_RANKS,
    advice="world size; every two ranks are a case",
)
AT_ONCE = AxisSpec(
    name="at_once",
    kind=str,
    default=("pair",),
    choices=("pair", "round"),
    advice="what is measured at a time: one pair while the others sleep, or a round of disjoint "
    "pairs of all ranks",
)


class _EveryPair:
    """Every two ranks are a case of their own."""

    ordered: bool
    """Whether both orders of two ranks are cases."""

    def count_cases(self, ranks: int, gpus: int) -> int:
        """Return the number of pairs."""
        del gpus
        return ranks * (ranks - 1) // (1 if self.ordered else 2)

    def each_case(self, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
        """Add `src_rank` and `dst_rank`: the rank that sends first and the one that receives."""
        choose = itertools.permutations if self.ordered else itertools.combinations
        for source, target in choose(range(int(axes["ranks"])), 2):
            yield dict(sorted({**axes, "src_rank": source, "dst_rank": target}.items()))


class PairsLatency(_EveryPair, Latency):
    """The ping-pong of each two ranks; a round trip has no direction, so each pair comes once."""

    name = "pairs_latency"
    title = "half a round trip of one message, between every two ranks"
    axes: tuple[AxisSpec, ...] = (AT_ONCE, BYTES, *ROUTE, _RANKS)
    rank_agg = "max"
    ordered = False
    profile = Profile(
        family="point to point", bound="ping-pong", part="message", compares_hosts="latencies"
    )

    def columns(self, case: Case) -> dict[str, Axis]:
        """As many pairs as are measured at a time."""
        return {**super().columns(case), "pairs": _pairs_at_once(case)}


class PairsBandwidth(_EveryPair, Bandwidth):
    """The one-way window from each rank to each other one, so that sender and receiver differ."""

    name = "pairs_bandwidth"
    title = "a window of messages one way, from every rank to every other"
    axes: tuple[AxisSpec, ...] = (AT_ONCE, with_default(BYTES, 2**20), *ROUTE, *WINDOWS, _RANKS)
    rank_agg = "max"
    ordered = True
    profile = Profile(
        family="point to point",
        bound="one way",
        part="window",
        compares_hosts="rates",
        headline=Headline(pick="ends of pairs", what="Bandwidth one way", rate="gbytes_per_s"),
    )

    def columns(self, case: Case) -> dict[str, Axis]:
        """As many pairs as are measured at a time."""
        return {**super().columns(case), "pairs": _pairs_at_once(case)}


class PairsBibandwidth(_EveryPair, Bibandwidth):
    """The windows both ways at once between each two ranks."""

    name = "pairs_bibandwidth"
    title = "windows of messages both ways at once, between every two ranks"
    axes: tuple[AxisSpec, ...] = (AT_ONCE, with_default(BYTES, 2**20), *ROUTE, *WINDOWS, _RANKS)
    ordered = False
    profile = Profile(
        family="point to point",
        bound="both ways",
        part="crossing",
        headline=Headline(pick="ends of pairs", what="Bandwidth both ways", rate="gbytes_per_s"),
    )

    def columns(self, case: Case) -> dict[str, Axis]:
        """As many pairs as are measured at a time."""
        return {**super().columns(case), "pairs": _pairs_at_once(case)}


def _pairs_at_once(case: Case) -> int:
    return whole(case, "ranks") // 2 if word(case, "at_once") == "round" else 1


def round_of(case: Case) -> tuple[object, ...] | None:
    """Return what the cases of one round have in common, or None for a case on its own.

    Rounds are those of a round-robin tournament (circle method): in each, every rank has one
    partner, or of an odd number one rank has none; n - 1 rounds of n ranks, n of an odd number,
    hold every pair once. Where both orders are cases, each order is a round of its own.
    """
    if case.axes.get(AT_ONCE.name) != "round":
        return None
    source, target = whole(case, "src_rank"), whole(case, "dst_rank")
    rest = (item for item in case.axes.items() if item[0] not in ("src_rank", "dst_rank"))
    number = round_number(source, target, whole(case, "ranks"))
    return (case.benchmark, *rest, number, source < target)


def round_number(one: int, other: int, ranks: int) -> int:
    """Return the number of the round, from 0, in which two of so many ranks meet."""
    rounds = ranks - 1 if ranks % 2 == 0 else ranks
    low, high = min(one, other), max(one, other)
    # Of an even number the last rank sits in the middle of the circle, and meets whoever would
    # have no partner.
    return (2 * low if high == rounds else low + high) % rounds


BENCHMARKS: tuple[Measurement, ...] = (PairsLatency(), PairsBandwidth(), PairsBibandwidth())
