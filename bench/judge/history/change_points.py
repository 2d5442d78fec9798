"""Where the level of a series changed: E-divisive means with t-tests, as in Hunter.

Fleming, Kolodzej, Li, McSherry and others, "Hunter: Using Change Point Detection to Hunt for
Performance Regressions", ICPE 2023 (now Apache Otava); the statistic is that of Matteson and James,
"A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data", 2014, whose
part behind a point may end anywhere, so that a level that comes and goes hides no end of it. In
place of their permutations stands a t-test, so the same series has the same change points. What
is done otherwise than in Hunter: a test counts all places that were tried, its null is a change of
the margin rather than none, lone outliers are drawn to their neighbours, and too few points for
their mere order to mean anything are no state.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

Levels = NDArray[np.float64]
"""Logarithms of seconds, one of each run, in order."""

WEAK = 10.0
"""A point so many times less sure than asked for may split a series for others to be found; it is
kept only where it is sure once all are there."""
_NEIGHBOURS = 5
_FAR = 6.0
"""Scaled median absolute deviations from the median of its neighbours that make a lone outlier."""
_LONE = 20
"""Points among which one outlier is lone; more of them are a second mode, which is usual here."""
_TO_SIGMA = 1.4826


class ChangePoint(NamedTuple):
    """A change of level."""

    place: int
    """The first point of the new level."""
    change: float
    """Of the logarithm: new level less old one."""
    probability: float
    """That places without a change beyond the margin have one as clear, at most."""


def find_change_points(
    levels: Levels, margin: float = 0.0, error_rate: float = 0.01
) -> list[ChangePoint]:
    """Return the changes of a series in order, each by more than the margin.

    Args:
        levels: one of each run.
        margin: of the logarithm, that a change must exceed.
        error_rate: of series without a change, at most this share has one found.
    """
    if least_runs(error_rate) > len(levels):
        return []
    calm = draw_outliers(levels)
    tested = _Tested(calm, margin, count_pairs(len(levels)))
    places = _split(tested, 0, len(calm), error_rate)
    return _merge(tested, sorted(places), error_rate)


def least_runs(error_rate: float) -> int:
    """Return how many points a series needs: fewer are in any order by chance too often."""
    count = 2
    while count * _chance_of_order(count // 2, count - count // 2) > error_rate:
        count += 1
    return count


def count_pairs(count: int) -> int:
    """Return how many stretches of so many points are tried, of which the clearest is tested."""
    return count * (count - 1) // 2


def draw_outliers(levels: Levels) -> Levels:
    """Return the series with lone outliers, one in 20 at most, drawn to their neighbours.

    Each point is held against the median of five, itself among them: a step passes that unharmed.
    """
    calm = levels.copy()
    half = _NEIGHBOURS // 2
    for _ in range(max(1, len(levels) // _LONE)):
        middle = ndimage.median_filter(calm, _NEIGHBOURS, mode="nearest")
        # At both ends the last five stand for the neighbours.
        middle[:half], middle[-half:] = middle[half], middle[-half - 1]
        off = np.abs(calm - middle)
        worst = int(off.argmax())
        # A fifth of all are their own median: the usual distance is that of the others.
        if off[worst] == 0 or off[worst] <= _FAR * _TO_SIGMA * np.median(off[off > 0]):
            break
        calm[worst] = middle[worst]
    return calm


class _Tested:
    """A series, and what is tested on it."""

    def __init__(self, levels: Levels, margin: float, pairs: int) -> None:
        self.levels = levels
        self.margin = margin
        self.pairs = pairs
        self.distances = np.zeros((len(levels) + 1,) * 2)
        apart = np.abs(levels[:, None] - levels[None, :])
        self.distances[1:, 1:] = apart.cumsum(axis=0).cumsum(axis=1)

    def test(self, begin: int, place: int, end: int) -> ChangePoint:
        """Test the points from `begin` on against those from `place` on, up to `end`."""
        before, after = self.levels[begin:place], self.levels[place:end]
        change = float(after.mean() - before.mean())
        beyond = max(abs(change) - self.margin, 0.0)
        counts = len(before), len(after)
        chance = len(self.levels) * _chance_of_order(*counts)
        if min(counts) < 2:
            return ChangePoint(place, change, 1.0)
        spreads = float(before.var(ddof=1)), float(after.var(ddof=1))
        pooled, apart = (
            stats.ttest_ind_from_stats(
                beyond, math.sqrt(spreads[0]), counts[0], 0.0, math.sqrt(spreads[1]), counts[1],
                equal_var=alike,
            ).pvalue
            for alike in (True, False)
        )  # fmt: skip
        # Points that do not scatter at all: any change of theirs is one.
        if not any(spreads):
            pooled = apart = 0.0 if beyond > 0 else 1.0
        sure = max(min(1.0, pooled * self.pairs), apart, chance)
        return ChangePoint(place, change, float(sure))

    def clearest(self, begin: int, end: int) -> tuple[int, int] | None:
        """Return the place where the points from `begin` to `end` differ most, and up to where.

        Two states of points are as far apart as distances between them exceed those within them.
        """
        if end - begin < 4:
            return None
        places, ends = (grid.ravel() for grid in np.mgrid[begin + 2 : end - 1, begin + 4 : end + 1])
        fits = ends - places >= 2
        places, ends = places[fits], ends[fits]
        m, n = places - begin, ends - places
        sums = self.distances
        first = sums[places, places] - 2 * sums[begin, places] + sums[begin, begin]
        second = sums[ends, ends] - 2 * sums[places, ends] + sums[places, places]
        both = sums[ends, ends] - 2 * sums[begin, ends] + sums[begin, begin]
        between = both - first - second
        apart = between / (m * n) - first / (m * (m - 1)) - second / (n * (n - 1))
        best = int(np.argmax(apart * m * n / (m + n)))
        return int(places[best]), int(ends[best])


def _split(tested: _Tested, begin: int, end: int, error_rate: float) -> list[int]:
    """Return places between which the points are alike, the unsure ones among them."""
    found = tested.clearest(begin, end)
    if found is None:
        return []
    place, upto = found
    if tested.test(begin, place, upto).probability > WEAK * error_rate:
        return []
    rest = (_split(tested, begin, place, error_rate), _split(tested, place, end, error_rate))
    return [place, *rest[0], *rest[1]]


def _merge(tested: _Tested, places: list[int], error_rate: float) -> list[ChangePoint]:
    """Take out the least sure place until all are sure, held against the states beside them."""
    while places:
        edges = [0, *places, len(tested.levels)]
        points = [tested.test(*edges[i : i + 3]) for i in range(len(places))]
        weakest = max(points, key=lambda point: (point.probability, -abs(point.change)))
        if weakest.probability <= error_rate:
            return points
        places = [place for place in places if place != weakest.place]
    return []


def _chance_of_order(before: int, after: int) -> float:
    """Return how often points without a state part at one place as clearly as can be.

    Whatever they are like: a case of two modes passes every test of means by chance.
    """
    return 2 / math.comb(before + after, after)
