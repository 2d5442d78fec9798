"""What the benchmarks of matrix products share: types, and NumPy's overhead."""

import time

import numpy as np

DEVICE_DTYPES = ("tf32", "fp16", "bf16", "fp8")
"""Types that only devices multiply, with sums in single precision."""

MOST_SETS = 4096
"""Sets of matrices that take turns; Python keeps a list of them."""
_OVERHEAD_SAMPLES = 101
_OVERHEAD_LOOPS = 100


def count_sets(set_bytes: int, cache_bytes: int) -> int:
    """Return how many sets of matrices take turns, so that each finds the cache cold.

    Between two turns of a set pass others of twice the cache: caches throw out what was used
    longest ago only nearly.
    """
    return 1 + max(1, -(-2 * cache_bytes // set_bytes))


def refuse_sets(sets: int, what: str = "matrices") -> str | None:
    """Return why so many sets of matrices, or of something else, are too many, or None."""
    if sets <= MOST_SETS:
        return None
    return f"{sets} sets of such small {what} outgrow the cache; at most {MOST_SETS} take turns"


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
