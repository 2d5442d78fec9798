"""One product C[m, n] = A[m, k] W[k, n] by NumPy's BLAS, m being the batch."""

import time

import numpy as np

from bench.contracts import AxisSpec, Checked, Context, Operation, Seconds, one_sample
from bench.measure.axes import EACH, MEMORY, whole, word
from bench.measure.product import DTYPES, call_overhead_s, check_product, spread
from bench.record import Axis, Case, Work


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
        self.overhead_s = call_overhead_s()

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
        rows, columns = (spread(length) for length in self._product.shape)
        return check_product(self._product, self._left[rows], self._right[:, columns])
