"""Curves of other tools, every second size held out: what interpolation is worth elsewhere.

Intervals of one curve are calibrated on the misses of all the others: what a model has learned
elsewhere, not what it has seen of this machine.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.core.units import format_bytes
from bench.judge.accuracy import Miss
from bench.judge.baseline import BASELINES
from bench.predict.model.conformal import conformal_quantile
from bench.predict.model.interpolation import join_sizes

LEAST_SIZES = 5
"""With fewer, one of the two parities has no curve."""


class Curve(NamedTuple):
    """Sizes in bytes, rising, and the seconds measured at them."""

    name: str
    sizes: tuple[float, ...]
    seconds: tuple[float, ...]
    fastest: float | None = None
    """Bytes per second that the hardware allows; None where that is not known."""


def hold_out(curves: Sequence[Curve]) -> dict[str, list[Miss]]:
    """Predict every second size of each curve from the others, then the others from those.

    Sizes outside of what was fitted are left alone: nothing is extrapolated. Intervals are None
    where the other curves have too few misses.

    Args:
        curves: with names that differ, of `LEAST_SIZES` sizes or more.
    """
    plain = {curve.name: _misses(curve) for curve in curves}
    found: dict[str, list[Miss]] = {}
    for name, misses in plain.items():
        others = [_size_of(miss) for own, rest in plain.items() if own != name for miss in rest]
        width = conformal_quantile(others)
        found[name] = misses if width is None else [_widen(m, math.exp(width)) for m in misses]
    return found


def _misses(curve: Curve) -> list[Miss]:
    found = []
    for first in (0, 1):
        sizes, seconds = list(curve.sizes[first::2]), list(curve.seconds[first::2])
        joined = join_sizes(sizes, seconds)
        held = zip(curve.sizes[1 - first :: 2], curve.seconds[1 - first :: 2], strict=True)
        for size, measured_s in held:
            if not sizes[0] < size < sizes[-1]:
                continue
            baselines = {name: naive(sizes, seconds, size) for name, naive in BASELINES.items()}
            if curve.fastest is not None:
                baselines = {"bound": size / curve.fastest} | baselines
            name = f"{curve.name} {format_bytes(size)}"
            predicted_s = joined.seconds(size)
            found.append(Miss(name, 0, name, predicted_s, measured_s, None, None, baselines))
    return found


def _size_of(miss: Miss) -> float:
    return abs(math.log(miss.predicted_s / miss.measured_s))


def _widen(miss: Miss, factor: float) -> Miss:
    return miss._replace(low_s=miss.predicted_s / factor, high_s=miss.predicted_s * factor)
