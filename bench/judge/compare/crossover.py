"""Launches of a crossover: both sides at the same moments, on pairs of hosts that change sides.

Least squares of y = moment + pair + side: what all have in common at a moment, and what sets pairs
apart, is no part of the difference, and costs a degree of freedom for each (Jones and Kenward,
Design and Analysis of Cross-Over Trials, without carry-over: a launch leaves nothing behind). What
is common may jump and swing as it likes from moment to moment, as nothing is asked of its course.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.judge.compare.records import Launches

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LEAST_DEGREES = 2
_RESOLVED = 1e-9
"""Of a side's own share in the design: below it the side is the same as some pairs."""


class CrossedDifference(NamedTuple):
    """Of one case."""

    log_ratio: float
    """Of the seconds of B over those of A."""
    variance: float
    """Of one launch, beyond what its moment and its pair have in common."""
    unit: float
    """Squared standard error of `log_ratio` over `variance`."""
    degrees: float
    """Degrees of freedom that `variance` has."""


def compare_crossed(a: Launches, b: Launches) -> CrossedDifference | None:
    """Return how the sides differ, None where the launches cannot tell sides from pairs.

    Args:
        a: launches of A; `pair` is set.
        b: the same of B.
    """
    if a.pair is None or b.pair is None:
        return None
    side = np.repeat([0.0, 1.0], [len(a.log_s), len(b.log_s)])
    value = np.concatenate([a.log_s, b.log_s])
    shared = np.hstack(
        [
            _columns(np.concatenate([a.block, b.block])),
            _columns(np.concatenate([a.pair, b.pair])),
        ]
    )
    degrees = len(value) - int(np.linalg.matrix_rank(shared)) - 1
    own = _rest(side, shared)
    if degrees < _LEAST_DEGREES or float(own @ own) < _RESOLVED * len(value):
        return None
    unit = 1 / float(own @ own)
    log_ratio = unit * float(own @ value)
    left = _rest(value, shared) - log_ratio * own
    return CrossedDifference(log_ratio, float(left @ left) / degrees, unit, float(degrees))


def _columns(numbers: Integers) -> Floats:
    """Return a column for each number that occurs, 1 where it does."""
    return np.equal(numbers[:, None], np.unique(numbers)).astype(np.float64)


def _rest(values: Floats, shared: Floats) -> Floats:
    """Return what no combination of the columns explains."""
    rest: Floats = values - shared @ np.linalg.lstsq(shared, values, rcond=None)[0]
    return rest
