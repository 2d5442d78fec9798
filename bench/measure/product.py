"""What the benchmarks of matrix products share: types, and NumPy's overhead."""

import time

import numpy as np

DEVICE_DTYPES = ("tf32", "fp16", "bf16", "fp8")
"""Types that only devices multiply, with sums in single precision."""

_OVERHEAD_SAMPLES = 101
_OVERHEAD_LOOPS = 100


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
