"""Two naive predictors that a model must beat, through the same calibration cases.

A straight line is what a reader would draw; interpolation is what a table would give. A model
that is no better than these has explained nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Baseline = Callable[[Sequence[float], Sequence[float], float], float]
"""Sizes and seconds of the calibration cases, two at least, and the size to predict."""


def straight_line(sizes: Sequence[float], seconds: Sequence[float], size: float) -> float:
    """Return alpha + size / B at `size`, by ordinary least squares on seconds.

    Absolute residuals let the largest case rule the fit (Hockney, 1994): it is the usual line,
    with its usual fault.
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(seconds, dtype=float)
    slope = float(np.sum((x - x.mean()) * (y - y.mean())) / np.sum((x - x.mean()) ** 2))
    return float(y.mean() + slope * (size - x.mean()))


def log_log(sizes: Sequence[float], seconds: Sequence[float], size: float) -> float:
    """Return the seconds between the two calibration cases nearest to `size`, on log axes.

    Outside their range the last segment is drawn on.
    """
    order = np.argsort(np.asarray(sizes, dtype=float))
    x, y = np.log(np.asarray(sizes)[order]), np.log(np.asarray(seconds)[order])
    right = int(np.clip(np.searchsorted(x, np.log(size)), 1, len(x) - 1))
    slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1])
    return float(np.exp(y[right] + slope * (np.log(size) - x[right])))


BASELINES: dict[str, Baseline] = {
    "straight line": straight_line,
    "interpolation": log_log,
}
