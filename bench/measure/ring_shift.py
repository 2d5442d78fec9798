"""Every rank sends to the one some ranks further on and receives from the one as far back, at once.

It loads all links in both directions, as mpiGraph does. A rank times what it receives; what it
sends is timed where it arrives, since a sender that waits for an answer would wait for its own
slow source as well.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from bench.contracts import (
    Measurement,
    Profile,
    Seconds,
)
from bench.core.records import Axis, Case
from bench.measure.axes import four_digits, whole
from bench.measure.transfers import AT_ONCE, AXES, Route, Transfers, ranks_axis

MOST_RANKS = 1024


class RingShift(Transfers):
    """One distance of the ring; the slowest rank is the time."""

    name = "ring_shift"
    title = "every rank to the one some ranks on, at once, for every distance"
    axes = (*AXES, ranks_axis(2, 2, "world size; every distance from 1 on is a case"))
    acknowledged = False
    profile = Profile(family=AT_ONCE, bound="routes")

    def count_cases(self, ranks: int, gpus: int) -> int:
        """Every distance of the ring."""
        del gpus
        return ranks - 1

    def each_case(self, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
        """Add the `distance`."""
        for distance in range(1, int(axes["ranks"])):
            yield dict(sorted({**axes, "distance": distance}.items()))

    def routes(self, case: Case) -> list[Route]:
        """Return each rank and the one that is so far on, around the ring."""
        ranks, distance = whole(case, "ranks"), whole(case, "distance")
        return [Route(rank, (rank + distance) % ranks) for rank in range(ranks)]

    def timekeepers(self, case: Case) -> Collection[int]:
        """Every rank receives."""
        return range(whole(case, "ranks"))

    def compare_ranks(self, case: Case, samples: Mapping[int, Seconds]) -> dict[str, Axis]:
        """Return the rates of single ranks, and which route was the slowest."""
        times = {rank: float(np.median(seconds)) for rank, seconds in samples.items()}
        rates = [whole(case, "bytes") / seconds / 1e9 for seconds in times.values()]
        slowest = max(times, key=times.__getitem__)
        source = (slowest - whole(case, "distance")) % whole(case, "ranks")
        return {
            "rank_max_gbytes_per_s": four_digits(max(rates)),
            "rank_median_gbytes_per_s": four_digits(float(np.median(rates))),
            "rank_min_gbytes_per_s": four_digits(min(rates)),
            "slowest_route": f"{source}-{slowest}",
        }


BENCHMARKS: tuple[Measurement, ...] = (RingShift(),)
