"""The same launches in three orders: crossover, plain interleaving, and A before B.

Two pairs of hosts are measured at every moment. Where both sides are the same, or the difference is
known and taken off, any launch may be called one of A or of B: so the three orders are held against
each other on one set of launches, under one drift.
"""

import math
import random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from bench.judge.compare.crossover import compare_crossed
from bench.judge.compare.records import Launches
from comparekit.drift import swing_and_step

Floats = NDArray[np.float64]
LEVEL = 0.95
PAIRS = 2


class Answer(NamedTuple):
    """What an order of launches says of B over A; all are logarithms."""

    log_ratio: float
    half: float
    """Of the interval's width."""

    def holds(self, truth: float) -> bool:
        """Return whether the truth lies in the interval."""
        return abs(self.log_ratio - truth) <= self.half


def cross(log_s: Floats, b_on: NDArray[np.int64]) -> Answer:
    """Answer by a crossover.

    Args:
        log_s: logarithms of seconds, moments by two pairs.
        b_on: the pair that ran B, at each moment.
    """
    moments = np.arange(len(log_s))
    sides = [
        Launches(log_s[moments, pair], moments, np.full(len(moments), math.nan), pair)
        for pair in (1 - b_on, b_on)
    ]
    found = compare_crossed(sides[0], sides[1])
    if found is None:
        raise ValueError("these launches are no crossover")
    error = math.sqrt(found.variance * found.unit)
    return Answer(found.log_ratio, float(t.ppf((1 + LEVEL) / 2, found.degrees)) * error)


def interleave(log_s: Floats, seed: int) -> Answer:
    """Answer by neighbours: of every two moments one is A and one B, in random order, on all pairs.

    The interval is Student's t on the differences of neighbours.
    """
    draw = random.Random(seed)  # noqa: S311 - an order, not a secret
    means = log_s.mean(axis=1)
    apart = [
        (after - before) * draw.choice((1, -1))
        for before, after in zip(means[::2], means[1::2], strict=False)
    ]
    error = np.std(apart, ddof=1) / math.sqrt(len(apart))
    return Answer(float(np.mean(apart)), float(t.ppf((1 + LEVEL) / 2, len(apart) - 1) * error))


def follow(log_s: Floats) -> Answer:
    """Answer by A in the first half of the moments and B in the second, on all pairs (Welch)."""
    means = log_s.mean(axis=1)
    half = len(means) // 2
    a, b = means[:half], means[half:]
    share_a, share_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    degrees = (share_a + share_b) ** 2 / (share_a**2 / (len(a) - 1) + share_b**2 / (len(b) - 1))
    error = math.sqrt(share_a + share_b)
    return Answer(float(b.mean() - a.mean()), float(t.ppf((1 + LEVEL) / 2, degrees)) * error)


class Simulated(NamedTuple):
    """Launches that nobody measured: nothing differs between the sides."""

    log_s: Floats
    b_on: NDArray[np.int64]


def simulate(draw: np.random.Generator, launches: int, scatter: float) -> Simulated:
    """Return launches of two pairs under a sine and a step that both have in common.

    Args:
        draw: what chance is.
        launches: of each side, an even number.
        scatter: of one launch by itself, as a share of its time.
    """
    shares = [swing_and_step(launch + 0.5, launches / 2) for launch in range(launches)]
    pairs = draw.normal(0, 0.1, PAIRS)
    scattered = draw.normal(0, scatter, (launches, PAIRS))
    first = draw.integers(0, PAIRS, launches // 2)
    return Simulated(
        pairs + scattered - np.log(shares)[:, None], np.ravel([(pair, 1 - pair) for pair in first])
    )
