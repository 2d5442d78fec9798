"""Two modes among launches: the same command at 104 ns, and minutes later at 354.

What a launch falls into is settled when it starts (where its memory lies, which core it gets), so
a side with few launches may lie in one mode altogether by chance.
"""

import numpy as np
from numpy.typing import NDArray

from bench.judge.compare.spread import LEAST_SPREAD, Floats

_APART = 8.0
"""So many standard deviations within a mode lie between two."""
LEAST_OFF = 2
"""Launches of both sides that are a mode, and not an outlier."""
_LEAST_APART = 0.02
"""A gap that is smaller, relative to the time, decides nothing that margins of 1 % ask for."""


def count_off(sides: tuple[Floats, Floats]) -> NDArray[np.int64]:
    """Return for each case of a kind how many launches lie in the rarer one of two modes.

    Args:
        sides: logarithms, cases by launches, of both.

    Where one alone lies off it is an outlier, two are a mode. The spread within modes is the larger
    one of the case's own and of the middle case's of the kind.
    """
    widths, withins, offs = zip(*map(_widest_gap, sides), strict=True)
    within = np.sqrt(np.mean(np.square(withins), axis=0))
    within = np.maximum(np.maximum(within, np.median(within)), LEAST_SPREAD)
    least = np.maximum(_APART * within, _LEAST_APART)
    count = np.zeros(len(within), dtype=np.int64)
    for width, off in zip(widths, offs, strict=True):
        count += np.where(width > least, off, 0)
    return count


def _widest_gap(values: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return each case's widest gap, the spread beside it, and the launches on its emptier side."""
    ordered = np.sort(values, axis=1)
    count = ordered.shape[1]
    gaps = np.diff(ordered, axis=1)
    at = gaps.argmax(axis=1)
    rows = np.arange(len(ordered))
    below = np.arange(count) <= at[:, None]
    squares = np.zeros(len(ordered))
    for part in (below, ~below):
        number = part.sum(axis=1)
        mean = (ordered * part).sum(axis=1) / number
        squares += (((ordered - mean[:, None]) * part) ** 2).sum(axis=1)
    within = np.sqrt(squares / max(1, count - 2))
    return gaps[rows, at], within, np.minimum(at + 1, count - at - 1)
