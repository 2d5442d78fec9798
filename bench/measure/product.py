"""What the benchmarks of matrix products share: types, the check of a product, NumPy's overhead."""

import time

import numpy as np
from numpy.typing import NDArray

from bench.contracts import Checked

DTYPES: dict[str, type[np.float32] | type[np.float64]] = {
    "fp32": np.float32,
    "fp64": np.float64,
}
"""Types that NumPy's BLAS multiplies."""

Indices = NDArray[np.intp]

_MOST_CHECKED = 64
_OVERHEAD_SAMPLES = 101
_OVERHEAD_LOOPS = 100


def spread(length: int) -> Indices:
    """Return up to 64 indices from the first to the last, so that every edge tile is seen."""
    return np.unique(np.linspace(0, length - 1, _MOST_CHECKED).astype(np.intp))


def check_product(
    product: NDArray[np.floating], left: NDArray[np.floating], right: NDArray[np.floating]
) -> Checked:
    """Compare a sample of a product with sums in float64; rounding grows with k.

    What was never written is seen everywhere, if the product was filled with NaN before.

    Args:
        product: C[m, n].
        left: the rows `spread(m)` of the left factor, [rows, k].
        right: the columns `spread(n)` of the right factor, [k, columns].
    """
    sample = np.ix_(*(spread(length) for length in product.shape))
    exact = left.astype(np.float64) @ right.astype(np.float64)
    rounding = np.finfo(product.dtype).eps * left.shape[1]
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
