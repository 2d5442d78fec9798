"""A barrier against the number of ranks: a cost of its own, and one for every round of messages.

A dissemination barrier, and any tree of two branches, ends after ceil(log2(n)) rounds in which
every rank waits for one message (Hensgen, Finkel and Manber, 1988).
"""

import math

import msgspec
import numpy as np
from scipy.optimize import nnls

from bench.core.units import format_seconds


class Rounds(msgspec.Struct, frozen=True):
    """t = alpha_s + round_s * ceil(log2(ranks))."""

    alpha_s: float
    round_s: float

    @property
    def formula(self) -> str:
        """The line with its parameters."""
        return (
            f"t = {format_seconds(self.alpha_s)} + "
            f"{format_seconds(self.round_s)} x ceil(log2(ranks))"
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        """The cost of its own, then that of a round."""
        return (self.alpha_s, self.round_s)

    def seconds(self, size: float) -> float:
        """Return the predicted seconds of a barrier of `size` ranks."""
        return self.alpha_s + self.round_s * _count(size)


def fit_rounds(sizes: list[float], seconds: list[float]) -> Rounds:
    """Fit both costs with relative residuals, neither below zero.

    Args:
        sizes: ranks, rising, at least two of them.
        seconds: measured on them, above 0.

    Raises:
        ValueError: where all have the same number of rounds.
    """
    counts = np.array([_count(size) for size in sizes])
    if len(set(counts)) < 2:
        raise ValueError("all calibrated rank counts have the same number of rounds")
    t = np.array(seconds)
    (alpha_s, round_s), _ = nnls(np.stack([1 / t, counts / t], axis=1), np.ones(len(t)))
    return Rounds(float(alpha_s), float(round_s))


def _count(ranks: float) -> int:
    return math.ceil(math.log2(ranks))
