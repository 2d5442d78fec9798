"""One product C[m, n] = A[m, k] W[k, n] by NumPy's BLAS, m being the batch."""

import time

import numpy as np
from numpy.typing import NDArray

from bench.contracts import AxisSpec, Checked, Context, Operation, Seconds, one_sample
from bench.measure.axes import EACH, MEMORY, whole, word
from bench.record import Axis, Case, Work

DTYPES: dict[str, type[np.float32] | type[np.float64]] = {
    "fp32": np.float32,
    "fp64": np.float64,
}
_MOST_CHECKED = 64
Indices = NDArray[np.intp]
_OVERHEAD_SAMPLES = 101
_OVERHEAD_LOOPS = 100


def _shape(name: str, default: int, advice: str) -> AxisSpec:
    return AxisSpec(
        name=name, kind=int, default=(default,), least=1, most=2**20, in_id=True, advice=advice
    )


class Matmul:
    """The product."""

    name = "matmul"
    title = "matrix product against batch size"
    axes = (
        _shape("batch", 128, "rows of the activations, m"),
        _shape("k", 1000, "rows of the weights"),
        _shape("n", 1000, "columns of the weights"),
        AxisSpec(
            name="dtype",
            kind=str,
            default=("fp32",),
            choices=tuple(DTYPES),
            in_id=True,
            advice="type of all three matrices",
        ),
        AxisSpec(
            name="threads",
            kind=int,
            default=(0,),
            least=0,
            most=4096,
            advice="BLAS threads of a rank; 0 shares out the cores of a node among its ranks",
        ),
        MEMORY,
        EACH,
    )
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "batch"
    pairwise = False

    def work(self, case: Case) -> Work:
        """2 m n k FLOP on every rank."""
        product = 2 * whole(case, "batch") * whole(case, "n") * whole(case, "k")
        return Work(flop=product * whole(case, "ranks"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """The batch is m."""
        return {"m": whole(case, "batch")}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        memory = word(case, "memory")
        if memory != "host":
            return f"no {memory} memory here: it needs a GPU and CuPy"
        return None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate the matrices and fill the factors with normal random numbers."""
        return _Product(case, context)


class _Product:
    idle = False
    timing_layer = "numpy"

    def __init__(self, case: Case, context: Context) -> None:
        dtype = DTYPES[word(case, "dtype")]
        m, n, k = (whole(case, axis) for axis in ("batch", "n", "k"))
        # Random data: zeros draw less power and let clocks rise.
        random = np.random.default_rng(context.communicator.rank)
        self._left = random.standard_normal((m, k), dtype)
        self._right = random.standard_normal((k, n), dtype)
        self._product = np.empty((m, n), dtype)
        self.params: dict[str, Axis] = {"blas": context.blas, "threads": context.threads}
        self.overhead_s = _call_overhead_s()

    def run(self, seconds: Seconds, loops: int) -> None:
        left, right, product, clock = self._left, self._right, self._product, time.perf_counter_ns
        for sample in range(len(seconds)):
            begin = clock()
            for _ in range(loops):
                np.matmul(left, right, out=product)
            seconds[sample] = (clock() - begin) * 1e-9 / loops

    def verify(self, seed: int) -> Checked:
        self._product.fill(np.nan)
        self.run(one_sample(), 1)
        rows, columns = (_spread(length) for length in self._product.shape)
        sample = np.ix_(rows, columns)
        # What was never written is seen everywhere, a wrong sum in the sample.
        wrong = np.isnan(self._product)
        checked = wrong.copy()
        checked[sample] = True
        wrong[sample] |= self._differs(rows, columns)
        size = self._product.itemsize
        return Checked(int(np.count_nonzero(checked)) * size, int(np.count_nonzero(wrong)) * size)

    def _differs(self, rows: Indices, columns: Indices) -> NDArray[np.bool_]:
        """Compare a sample of the product with sums in float64; rounding grows with k."""
        left = self._left[rows].astype(np.float64)
        right = self._right[:, columns].astype(np.float64)
        error = np.abs(self._product[np.ix_(rows, columns)] - left @ right)
        rounding = np.finfo(self._product.dtype).eps * left.shape[1]
        close: NDArray[np.bool_] = error <= rounding * np.abs(left).max() * np.abs(right).max()
        return ~close


def _spread(length: int) -> Indices:
    """Return up to 64 indices from the first to the last, so that every edge tile is seen."""
    return np.unique(np.linspace(0, length - 1, _MOST_CHECKED).astype(np.intp))


def _call_overhead_s() -> float:
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
