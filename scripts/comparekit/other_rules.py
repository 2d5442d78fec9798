"""What others decide by, on the same launches: cases by launches of A, and of B."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Called = NDArray[np.int64]
"""Of each case 1 where B is called slower, -1 where faster, else 0."""

THRESHOLD = 0.05


def rank_test(a: Floats, b: Floats) -> Called:
    """Mann and Whitney's at 1 %, of each case for itself, with no margin."""
    found = stats.mannwhitneyu(a, b, axis=1)
    return _signs(a, b) * (found.pvalue < 0.01)


def overlapping_intervals(a: Floats, b: Floats) -> Called:
    """95 % intervals of the means over launches that do not overlap."""
    ends = []
    for side in (a, b):
        count = side.shape[1]
        half = stats.t.ppf(0.975, count - 1) * side.std(axis=1, ddof=1) / np.sqrt(count)
        ends.append((side.mean(axis=1) - half, side.mean(axis=1) + half))
    (low_a, high_a), (low_b, high_b) = ends
    return (low_b > high_a).astype(int) - (high_b < low_a).astype(int)


def threshold(a: Floats, b: Floats) -> Called:
    """Medians of all launches that differ by more than 5 %."""
    return _beyond(np.median(b, axis=1) - np.median(a, axis=1))


def measure_again(a: Floats, b: Floats) -> Called:
    """One launch against the baseline's median; where 5 % off, twice more, and their median.

    The recipe of aws-parallelcluster's CI (number 7565, 2026-08); of B it takes three launches.
    """
    baseline = np.median(a, axis=1)
    first = _beyond(b[:, 0] - baseline)
    return np.where(first != 0, _beyond(np.median(b[:, :3], axis=1) - baseline), 0)


RULES: dict[str, Callable[[Floats, Floats], Called]] = {
    "rank test at 1 %": rank_test,
    "95 % intervals apart": overlapping_intervals,
    "medians 5 % apart": threshold,
    "5 % off, measured again twice": measure_again,
}


def _signs(a: Floats, b: Floats) -> Called:
    return np.sign(np.median(b, axis=1) - np.median(a, axis=1)).astype(int)


def _beyond(log_ratio: Floats) -> Called:
    edge = np.log1p(THRESHOLD)
    return (log_ratio > edge).astype(int) - (log_ratio < -edge).astype(int)
