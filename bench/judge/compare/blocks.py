"""Launches of both sides that share a pair of nodes or a moment, held against each other."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.judge.compare.crossover import compare_crossed
from bench.judge.compare.records import CaseSides
from bench.judge.compare.spread import LEAST_SPREAD


class BlockedDifference(NamedTuple):
    """Of one case; the fields are those of `Differences`."""

    log_ratio: float
    variance: float
    unit: float
    degrees: float
    gain: float
    """Variance without blocks over that with them, the drift between neighbours counted."""


def compare_in_blocks(case: CaseSides) -> BlockedDifference | None:
    """Return how the sides differ within blocks, None where these have too little in common.

    Least squares of the two effects, side and block; blocks that only one side has say nothing.
    A crossover is always taken for what it is.
    """
    if case.a.pair is not None:
        crossed = compare_crossed(case.a, case.b)
        return crossed and BlockedDifference(
            crossed.log_ratio,
            max(crossed.variance, LEAST_SPREAD**2),
            crossed.unit,
            crossed.degrees,
            math.inf,
        )
    side = np.repeat([0.0, 1.0], [len(case.a.log_s), len(case.b.log_s)])
    block = np.concatenate([case.a.block, case.b.block])
    value = np.concatenate([case.a.log_s, case.b.log_s])
    begun = np.concatenate([case.a.begun_s, case.b.begun_s])
    both = np.isin(block, np.intersect1d(case.a.block, case.b.block))
    side, value, begun = side[both], value[both], begun[both]
    _, block, sizes = np.unique(block[both], return_inverse=True, return_counts=True)
    degrees = len(value) - len(sizes) - 1
    if len(sizes) < 2 or degrees < 2:
        return None
    side_apart = side - _means(side, block, sizes)[block]
    value_apart = value - _means(value, block, sizes)[block]
    unit = 1 / float(side_apart @ side_apart)
    log_ratio = unit * float(side_apart @ value_apart)
    left = value_apart - log_ratio * side_apart
    variance = float(left @ left) / degrees
    if (sizes == 2).all():
        variance = max(variance, _between_neighbours(value, block, sizes, begun))
    variance = max(variance, LEAST_SPREAD**2)
    plain = np.concatenate([value[side == 0], value[side == 1]])
    plain[: int((side == 0).sum())] -= value[side == 0].mean()
    plain[int((side == 0).sum()) :] -= value[side == 1].mean()
    whole = float(plain @ plain) / (len(value) - 2)
    return BlockedDifference(log_ratio, variance, unit, degrees, whole / variance)


def _means(
    values: NDArray[np.float64], block: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.bincount(block, values) / sizes


def _between_neighbours(
    value: NDArray[np.float64],
    block: NDArray[np.int64],
    sizes: NDArray[np.int64],
    begun: NDArray[np.float64],
) -> float:
    """Return the variance of one launch, were it what sets neighbouring blocks apart.

    What drifts from block to block drifts within them too: where it does so in step with the
    blocks, all of them may lean to one side by chance, and their differences agree on a change
    that is none.
    """
    means = _means(value, block, sizes)[np.argsort(_means(begun, block, sizes), kind="stable")]
    return float((np.diff(means) ** 2).mean()) / 2
