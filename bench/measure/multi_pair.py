"""Several pairs of ranks at once, one window each: what they share, and whether in turn or fairly.

The same bytes take the same time whether a NIC serves its ranks one after the other or all at once;
only the moments at which single pairs end distinguish the two.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.contracts import (
    AxisSpec,
    Context,
    Measurement,
    Profile,
    Seconds,
)
from bench.core.records import Axis, Case
from bench.measure.axes import four_digits, whole, word
from bench.measure.library import LIBRARY
from bench.measure.transfers import (
    AT_ONCE,
    AXES,
    MOST_RANKS,
    OpenRanks,
    Route,
    Transfers,
    ranks_axis,
)

MOST_LISTED = 8
"""Pairs up to which the moments at which they end stand in `completions`."""
QUARTER = 0.25
"""Of the way from fair to in turn: as far as measured ends may be from either and still count."""


class MultiPair(OpenRanks, Transfers):
    """The windows of all pairs at once; the slowest sender is the time."""

    name = "multi_pair"
    title = "windows of messages one way between several pairs of ranks at once"
    axes = (
        *AXES,
        LIBRARY,
        AxisSpec(
            name="pairs",
            kind=int,
            default=(1,),
            least=1,
            most=MOST_RANKS // 2,
            in_id=True,
            advice="pairs that send at once",
        ),
        AxisSpec(
            name="pattern",
            kind=str,
            default=("bisection",),
            choices=("bisection", "farthest", "neighbours"),
            advice="who sends to whom of n ranks: i to i + n/2, i to n-1-i, or 2i to 2i+1",
        ),
        ranks_axis(0, 0, "world size; 0 is two ranks a pair, and more than that sleep"),
    )

    profile = Profile(
        family=AT_ONCE, bound="routes", part="senders", composition="senders", turns_pages=True
    )

    def taking_part(self, axes: dict[str, Axis]) -> int:
        """Two ranks a pair."""
        return 2 * int(axes["pairs"])

    def routes(self, case: Case) -> list[Route]:
        """Return the pairs, by the pattern over the whole world."""
        ranks = whole(case, "ranks")
        pairs, pattern = range(whole(case, "pairs")), word(case, "pattern")
        if pattern == "neighbours":
            return [Route(2 * i, 2 * i + 1) for i in pairs]
        if pattern == "farthest":
            return [Route(i, ranks - 1 - i) for i in pairs]
        return [Route(i, i + ranks // 2) for i in pairs]

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        pairs, ranks = whole(case, "pairs"), whole(case, "ranks")
        if 2 * pairs > ranks:
            return f"needs {2 * pairs} ranks for {pairs} pairs; there are {ranks}"
        return super().unsupported(case, context)

    def compare_ranks(self, case: Case, samples: Mapping[int, Seconds]) -> dict[str, Axis]:
        """Return the rates of single pairs, and how their ends fell."""
        seconds = np.array([samples[rank] for rank in sorted(samples)])
        rates = whole(case, "bytes") / np.median(seconds, axis=1) / 1e9
        found: dict[str, Axis] = {
            "pair_max_gbytes_per_s": four_digits(float(rates.max())),
            "pair_median_gbytes_per_s": four_digits(float(np.median(rates))),
            "pair_min_gbytes_per_s": four_digits(float(rates.min())),
        }
        if len(seconds) < 2:
            return found
        ends = completions(seconds)
        found["completion"] = judge(ends)
        if len(ends) <= MOST_LISTED:
            found["completions"] = " ".join(f"{end:.3f}" for end in ends)
        return found


def completions(seconds: Seconds) -> list[float]:
    """Return when the first, second, ... pair ended, as a share of when the last one did.

    Args:
        seconds: of each pair and sample, shape (pairs, samples). Pairs may take turns in another
            order each time, so each sample is sorted before the median over samples is taken.
    """
    rising = np.sort(seconds, axis=0)
    shares: list[float] = np.median(rising / rising[-1], axis=1).tolist()
    return shares


def judge(ends: Sequence[float]) -> str:
    """Return `fair`, `in_turn` or `between`.

    All p pairs end together (1, 1, ..., 1) where they share fairly, and at 1/p, 2/p, ..., 1 where
    one is served after the other. Each end may be off by a quarter of the way between the two
    where that is longest, from 1/p to 1.
    """
    pairs = len(ends)
    leeway = QUARTER * (1 - 1 / pairs)
    if all(end >= 1 - leeway for end in ends):
        return "fair"
    if all(abs(end - (i + 1) / pairs) <= leeway for i, end in enumerate(ends)):
        return "in_turn"
    return "between"


BENCHMARKS: tuple[Measurement, ...] = (MultiPair(),)
