"""The difference of two sides, and how far it scatters, for many cases at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_SPREAD = 1e-4
"""No launches repeat better than this relative to their time: where several are equal to the last
digit, the clock or the rounding of a file says so, not the machine."""

Floats = NDArray[np.float64]


class Differences(NamedTuple):
    """Of several cases, one element each."""

    log_ratio: Floats
    """Of B over A."""
    variance: Floats
    """Of one launch."""
    unit: Floats
    """Squared standard error of `log_ratio` over `variance`: 1/n_a + 1/n_b where launches are
    independent."""
    degrees: Floats
    """Degrees of freedom that `variance` has."""


def compare_means(a: Floats, b: Floats) -> Differences:
    """Return how means over launches differ, both sides with a variance of their own.

    Args:
        a: logarithms, cases by launches, at least two of these.
        b: the same of the other side.

    Welch, Biometrika 34 (1947), with the degrees of freedom of Satterthwaite.
    """
    count_a, count_b = a.shape[1], b.shape[1]
    share_a = _variance(a) / count_a
    share_b = _variance(b) / count_b
    error = share_a + share_b
    degrees = error**2 / (share_a**2 / (count_a - 1) + share_b**2 / (count_b - 1))
    unit = np.full(len(a), 1 / count_a + 1 / count_b)
    return Differences(b.mean(axis=1) - a.mean(axis=1), error / unit, unit, degrees)


def _variance(values: Floats) -> Floats:
    variance: Floats = np.maximum(values.var(axis=1, ddof=1), LEAST_SPREAD**2)
    return variance
