"""Numbers for a step: normal ones for the clock, whole ones for the check.

The whole ones stay exact in single precision through any number of layers: each column of the
weights has a single 1 or -1, so that outputs stay as small as inputs, while products are as dense
for the BLAS as any.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.float64]
MOST_BATCH = 2**18
"""Sums of so many products of two numbers up to 8 stay below 2^24."""
_MOST = 8


class Values(NamedTuple):
    """Of the input, the last output's gradient, and the weights of each layer."""

    source: Whole
    slope: Whole
    weights: list[Whole]


def whole_values(seed: int, batch: int, widths: Sequence[int]) -> Values:
    """Return whole numbers, the same on every rank."""
    random = np.random.default_rng(seed)
    source = random.integers(-_MOST, _MOST + 1, (batch, widths[0])).astype(np.float64)
    slope = random.integers(-_MOST, _MOST + 1, (batch, widths[-1])).astype(np.float64)
    weights = []
    for below, above in pairwise(widths):
        matrix = np.zeros((below, above))
        columns = np.arange(above)
        matrix[random.permutation(below)[columns % below], columns] = random.choice(
            [-1.0, 1.0], above
        )
        weights.append(matrix)
    return Values(source, slope, weights)


def normal_values(seed: int, batch: int, widths: Sequence[int]) -> Values:
    """Return normal numbers; zeros draw less power and let clocks rise."""
    random = np.random.default_rng(seed)
    return Values(
        random.standard_normal((batch, widths[0])),
        random.standard_normal((batch, widths[-1])) / batch,
        [
            random.standard_normal((below, above)) / np.sqrt(below)
            for below, above in pairwise(widths)
        ],
    )


class Truth(NamedTuple):
    """What one rank alone gets, by layer."""

    sources: list[Whole]
    """Inputs of each layer, and the last output."""
    slopes: list[Whole]
    """Gradients of the network's input, and of each layer's output."""


def compute_truth(values: Values) -> Truth:
    """Compute a step in double precision on one rank."""
    sources = [values.source]
    for weights in values.weights:
        sources.append(sources[-1] @ weights)
    slopes = [values.slope]
    for weights in reversed(values.weights):
        slopes.insert(0, slopes[0] @ weights.T)
    return Truth(sources, slopes)
