"""What the benchmarks of matrix products share: types, the check of a product, NumPy's overhead."""

import time

import numpy as np
from numpy.typing import NDArray

from bench.contracts import Checked

DEVICE_DTYPES = ("tf32", "fp16", "bf16", "fp8")
"""Types that only devices multiply, with sums in single precision."""
DEVICE_UNITS = {"tf32": 2.0**-10, "fp16": 2.0**-10, "bf16": 2.0**-7}
"""Distance from 1 to the next number of what a device rounds factors or products to."""

Indices = NDArray[np.intp]

_MOST_CHECKED = 64
_OVERHEAD_SAMPLES = 101
_OVERHEAD_LOOPS = 100


def spread(length: int) -> Indices:
    """Return up to 64 indices from the first to the last, so that every edge tile is seen."""
    return np.unique(np.linspace(0, length - 1, _MOST_CHECKED).astype(np.intp))


def check_product(
    product: NDArray[np.floating],
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    unit: float | None = None,
) -> Checked:
    """Compare a sample of a product with sums in float64; rounding grows with k.

    What was never written is seen everywhere, if the product was filled with NaN before.

    Args:
        product: C[m, n].
        left: the rows `spread(m)` of the left factor, [rows, k].
        right: the columns `spread(n)` of the right factor, [k, columns].
        unit: distance from 1 to the next number of what the product was made in; None for that
            of its own type.
    """
    sample = np.ix_(*(spread(length) for length in product.shape))
    exact = left.astype(np.float64) @ right.astype(np.float64)
    rounding = (np.finfo(product.dtype).eps if unit is None else unit) * left.shape[1]
    tolerance = rounding * np.abs(left).max() * np.abs(right).max()
    wrong = np.isnan(product)
    checked = wrong.copy()
    checked[sample] = True
    wrong[sample] |= ~(np.abs(product[sample] - exact) <= tolerance)
    size = product.itemsize
    return Checked(int(np.count_nonzero(checked)) * size, int(np.count_nonzero(wrong)) * size)


def call_overhead_s() -> float:
    """Return the seconds of a product of two numbers: NumPy's dispatch, and no arithmetic."""
    one = np.ones((1, 1))
    out = np.empty((1, 1))
    samples = []
    for _ in range(_OVERHEAD_SAMPLES):
        begin = time.perf_counter_ns()
        for _ in range(_OVERHEAD_LOOPS):
            np.matmul(one, one, out=out)
        samples.append((time.perf_counter_ns() - begin) * 1e-9 / _OVERHEAD_LOOPS)
    return float(np.median(samples))
