"""A machine that drifts while all of A is measured before B changes what the comparison asks about.

No number of launches tells such a drift from a change. But a drift shows within the sides too:
launches are then more like their neighbours in time than like others of their side, in all cases
together. That is von Neumann's ratio (Ann. Math. Stat. 12, 1941), of all cases at once.
Where both sides take turns the drift cancels instead, see `blocks`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.judge.compare.records import CaseSides, Launches
from bench.judge.compare.shared_variance import count_independent
from bench.judge.compare.spread import LEAST_SPREAD, Floats

_SIGMAS = 1.645
"""Below the ratio of launches without drift: one comparison of twenty is suspected in error."""
_SIGMAS_OF_ONE = 2.326
"""The same of one case for itself: of one in a hundred."""
_MOST_BELOW = 0.1
"""So far below it a comparison is suspected however few launches and cases it has, since few ones
cannot show that there is no drift."""
_IN_TURNS = 0.5
"""Sides take turns that change places at least so often, per launch of a side."""
_LEAST = 3
"""Launches of a side that have neighbours and others."""


class Drift(NamedTuple):
    """What a drift may do to a case whose sides were measured one after the other."""

    error: float
    """How far it may put the sides apart, in logarithms; a standard deviation."""
    seen: bool
    """Whether it shows, else `error` is what one too small to show may do."""


def find_drift(cases: Sequence[CaseSides]) -> dict[int, Drift]:
    """Return what a drift may do, by the case's place.

    Nothing is returned of cases whose times nobody knows and of crossovers, and of none at all
    where the sides took turns.
    """
    shapes: dict[tuple[int, int], list[int]] = {}
    for place, case in enumerate(cases):
        counts = len(case.a.log_s), len(case.b.log_s)
        crossed = case.a.pair is not None
        timed = np.isfinite(case.a.begun_s).all() and np.isfinite(case.b.begun_s).all()
        if min(counts) >= _LEAST and timed and not crossed:
            shapes.setdefault(counts, []).append(place)
    if not any(_in_order([cases[place] for place in places]) for places in shapes.values()):
        return {}
    ratios: dict[int, float] = {}
    still: dict[int, float] = {}
    moved: dict[int, float] = {}
    launches = 0.0
    for counts, places in shapes.items():
        sides = [
            _by_time([side[place] for place in places])
            for side in ([case.a for case in cases], [case.b for case in cases])
        ]
        ratios |= dict(zip(places, _ratio_of_neighbours(sides).tolist(), strict=True))
        moved |= dict(zip(places, _apart(sides).tolist(), strict=True))
        still |= dict(zip(places, _small_drift(sides).tolist(), strict=True))
        launches += sum(counts) * count_independent(np.concatenate(sides, axis=1))
    chance = 1 / math.sqrt(launches)
    below = 1 - float(np.mean(list(ratios.values())))
    all_drift = below > min(_SIGMAS * chance, _MOST_BELOW)
    hidden = math.sqrt(max(0.0, below) + chance / 2)
    found = {}
    for place, ratio in ratios.items():
        case = cases[place]
        own = _SIGMAS_OF_ONE / math.sqrt(len(case.a.log_s) + len(case.b.log_s))
        seen = all_drift or 1 - ratio > own
        found[place] = Drift(moved[place] if seen else hidden * still[place], seen)
    return found


def _in_order(cases: Sequence[CaseSides]) -> bool:
    """Return whether of any case one side was measured after the other, not in turns with it."""
    begun = np.stack([np.concatenate([case.a.begun_s, case.b.begun_s]) for case in cases])
    count_a = len(cases[0].a.begun_s)
    is_a = np.argsort(begun, axis=1, kind="stable") < count_a
    changes = (np.diff(is_a, axis=1)).sum(axis=1)
    return bool((changes < _IN_TURNS * min(count_a, begun.shape[1] - count_a)).any())


def _ratio_of_neighbours(sides: Sequence[Floats]) -> Floats:
    """Return half the mean square of steps over the variance; 1 where launches are independent."""
    squares = sum(((side**2).sum(axis=1) for side in sides), np.zeros(len(sides[0])))
    steps = sum(
        ((np.diff(side, axis=1) ** 2).sum(axis=1) for side in sides), np.zeros(len(squares))
    )
    return np.asarray((steps / 2 + LEAST_SPREAD**2) / (squares + LEAST_SPREAD**2))


def _small_drift(sides: Sequence[Floats]) -> Floats:
    """Return how far a random walk puts the sides apart that makes up all of their variance.

    Of variance w from launch to launch it makes up w (n + 1) / 6 of that within n launches, and the
    means of two sides that follow each other differ by 2 n w / 3.
    """
    count = sum(side.shape[1] for side in sides)
    squares = sum(((side**2).sum(axis=1) for side in sides), np.zeros(len(sides[0])))
    each = count / len(sides)
    return np.asarray(np.sqrt(squares / (count - 2) * 4 * each / (each + 1)))


def _apart(sides: Sequence[Floats]) -> Floats:
    """Return twice what halves of a side differ by: they lie half as far apart as the sides do."""
    squares = np.zeros(len(sides[0]))
    for side in sides:
        half = side.shape[1] // 2
        first, last = side[:, :half], side[:, side.shape[1] - half :]
        squares += (last.mean(axis=1) - first.mean(axis=1)) ** 2
    return np.asarray(2 * np.sqrt(squares / len(sides)))


def _by_time(sides: Sequence[Launches]) -> Floats:
    """Return the launches of cases in the order in which they began, less what blocks differ by."""
    values = np.stack([side.log_s for side in sides])
    order = np.argsort(np.stack([side.begun_s for side in sides]), axis=1, kind="stable")
    for row, side in zip(values, sides, strict=True):
        if side.block.any():
            _, block, sizes = np.unique(side.block, return_inverse=True, return_counts=True)
            if (sizes > 1).all():
                row -= (np.bincount(block, row) / sizes)[block]
    values = np.take_along_axis(values, order, axis=1)
    centred: Floats = values - values.mean(axis=1, keepdims=True)
    return centred
