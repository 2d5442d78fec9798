"""Cases of one kind may tell each other how far launches scatter, as far as they agree on it.

Six launches know their own spread to a third only, and so an interval from them alone must be wide.
Where the variances of a kind's cases differ no more than chance lets them, they are estimates of
the same one; where they differ more, each counts for less to its neighbours. How much is estimated
from the variances themselves (empirical Bayes: Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004).

Three things make it more careful than Smyth's. The prior's weight is the least that the variances
allow, not the likeliest. Launches that all cases of a kind have in common may be disturbed in all
of them alike: then their variances are one estimate, not many. And a case keeps its own variance
where that is far larger: an outlier among its launches must widen its own interval.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import polygamma, psi
from scipy.stats import chi2, f

from bench.judge.compare.spread import Differences, Floats

_DOUBT = 0.1
"""With this chance the prior's weight is less than estimated."""
_ODD = 0.01
"""So rarely a case that is like the others is taken for one that is not."""
LEAST_OF_OWN = 0.75
"""Of its own variance a case keeps this part at least, however small that of the others is."""
_MOST_DEGREES = 200.0


class Prior(NamedTuple):
    """What the cases of a kind say of the variance of another one."""

    variance: float
    degrees: float
    """Worth so many degrees of freedom; 0 where nothing is shared."""


def find_prior(variance: Floats, degrees: Floats, independent: float) -> Prior:
    """Return what the variances of a kind's cases have in common.

    Args:
        variance: one for each case.
        degrees: of freedom, of each.
        independent: as how many cases these count whose launches are disturbed together.
    """
    count = len(variance)
    if count < 2:
        return Prior(float("nan"), 0.0)
    half = degrees / 2
    logs = np.log(variance) - psi(half) + np.log(half)
    centre = float(logs.mean())
    # The largest variance of logarithms that would have been seen this small.
    worst = float(((logs - centre) ** 2).sum()) / chi2.ppf(_DOUBT, count - 1)
    between = worst - float(polygamma(1, half).mean())
    own = min(_degrees_of(between), _MOST_DEGREES)
    shared = min(own, float(degrees.mean()) * max(0.0, independent - 1))
    if shared <= 0:
        return Prior(float("nan"), 0.0)
    return Prior(float(np.exp(centre + psi(own / 2) - np.log(own / 2))), shared)


def moderate(found: Differences, prior: Prior) -> Differences:
    """Return the differences with the variance and the degrees of freedom that they have then."""
    if prior.degrees == 0:
        return found
    own, degrees = found.variance, found.degrees
    total = degrees + prior.degrees
    shared = (prior.degrees * prior.variance + degrees * own) / total
    alone = own > prior.variance * f.isf(_ODD, degrees, prior.degrees)
    return found._replace(
        variance=np.where(alone, own, np.maximum(shared, LEAST_OF_OWN * own)),
        degrees=np.where(alone, degrees, total),
    )


def count_independent(residuals: Floats) -> float:
    """Return as how many cases these count whose launches may be disturbed together.

    Args:
        residuals: cases by launches, each launch at the same place in every case.

    Variances of two cases correlate as the square of what their residuals do.
    """
    count, launches = residuals.shape
    if count < 2 or launches < 4:
        return 1.0
    spread = np.sqrt((residuals**2).sum(axis=1, keepdims=True))
    unit = residuals / np.where(spread > 0, spread, 1.0)
    # Mean square correlation of all pairs, without their matrix: that of launches is smaller.
    squares = float(((unit.T @ unit) ** 2).sum())
    mean = (squares - count) / (count * (count - 1))
    chance = 1 / (launches - 2)
    common = min(1.0, max(0.0, (mean - chance) / (1 - chance)))
    return float(count / (1 + (count - 1) * common))


def _degrees_of(between: float) -> float:
    """Return the degrees of freedom whose trigamma of the half is this (Newton on its inverse)."""
    if between <= 0:
        return float("inf")
    x = 0.5 + 1 / between
    for _ in range(20):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / between) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return 2 * x
