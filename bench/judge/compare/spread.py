"""The difference of two sides, and how far it scatters, for many cases at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_SPREAD = 1e-4
"""No launches repeat better than this relative to their time: where several are equal to the last
digit, the clock or the rounding of a file says so, not the machine."""

_TRIMMED = 0.2
"""Part of the launches at each end that is left out where a kind has outliers."""

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


def compare_trimmed(a: Floats, b: Floats) -> Differences:
    """Return how the means of the middle 60 % of launches differ.

    Yuen, Biometrika 61 (1974): the variance is that of the launches with the outer ones moved to
    the nearest of the middle ones.
    """
    (mean_a, share_a, degrees_a), (mean_b, share_b, degrees_b) = map(_trim, (a, b))
    error = share_a + share_b
    degrees = error**2 / (share_a**2 / degrees_a + share_b**2 / degrees_b)
    unit = np.full(len(a), 1 / a.shape[1] + 1 / b.shape[1])
    return Differences(mean_b - mean_a, error / unit, unit, degrees)


def _trim(values: Floats) -> tuple[Floats, Floats, float]:
    """Return the mean of the middle launches, its squared error, and its degrees of freedom."""
    count = values.shape[1]
    off = int(_TRIMMED * count)
    left = count - 2 * off
    ordered = np.sort(values, axis=1)
    ordered[:, :off] = ordered[:, off : off + 1]
    ordered[:, count - off :] = ordered[:, count - off - 1 : count - off]
    error = (count - 1) * _variance(ordered) / (left * (left - 1))
    return ordered[:, off : count - off].mean(axis=1), error, left - 1.0


def _variance(values: Floats) -> Floats:
    variance: Floats = np.maximum(values.var(axis=1, ddof=1), LEAST_SPREAD**2)
    return variance
