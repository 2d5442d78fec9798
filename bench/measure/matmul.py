"""One product C[m, n] = A[m, k] W[k, n], m being the batch: NumPy's BLAS, or a GPU's library."""

import time
from collections.abc import Callable

import numpy as np

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Figure,
    Headline,
    Measurement,
    Multiplies,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.measure.axes import DTYPES, EACH, MEMORY, THREADS, four_digits, whole, word
from bench.measure.moves import DEVICE_EVENTS, describe_timing
from bench.measure.product import DEVICE_DTYPES, call_overhead_s, count_sets, refuse_sets
from bench.measure.product_check import ProductCheck


def _shape(name: str, default: int, advice: str) -> AxisSpec:
    return AxisSpec(
        name=name, kind=int, default=(default,), least=1, most=2**20, in_id=True, advice=advice
    )


SUSTAINED_S = 10.0
"""In it power control settles: half a second is measured at clocks that nothing holds down yet."""
QUEUED = 64
"""Products that are waited for at once meanwhile, at most; the pause after them is no rest."""
QUEUED_S = 1.0
"""What those take at most, or else one: a runner waits for signs of life."""

TIMES = Figure(
    name="matmul_time",
    title="Matrix product: time",
    draws="product times",
    see="Time of one product of a batch x K matrix with a K x N matrix; lower is better. Where the "
    "curve is flat, more rows are free; where it doubles with the batch, every row costs.",
    numbers="extremes",
)
RATES = Figure(
    name="matmul_rate",
    title="Matrix product: rate",
    draws="product rates",
    see="The same products as work per second; higher is better. The lower panel sets the batches "
    "on both sides of a multiple of 32 side by side: a fall just beyond it is a new tile that is "
    "mostly empty.",
    numbers="step",
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
            choices=(*DTYPES, *DEVICE_DTYPES),
            in_id=True,
            advice="type of all three matrices",
        ),
        THREADS,
        AxisSpec(
            name="cache",
            kind=str,
            default=("hot",),
            choices=("hot", "cold"),
            advice="the same matrices each time, or turns through twice the last cache",
        ),
        MEMORY,
        AxisSpec(
            name="load",
            kind=str,
            default=("burst",),
            choices=("burst", "sustained"),
            advice="samples from an idle GPU, or after 10 s of the same products",
        ),
        EACH,
    )
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "batch"
    pairwise = False
    profile = Profile(
        family="matmul",
        fit="rows",
        bound="product",
        part="product",
        hands_memory_to_mpi=False,
        rows="place",
        headline=Headline(pick="best of each dtype", what="Matrix product, best", rate="tflops"),
        figures=(TIMES, RATES),
    )

    def work(self, case: Case) -> Work:
        """2 m n k FLOP on every rank."""
        product = 2 * whole(case, "batch") * whole(case, "n") * whole(case, "k")
        return Work(flop=product * whole(case, "ranks"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """The batch is m."""
        return {"m": whole(case, "batch")}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        memory, dtype = word(case, "memory"), word(case, "dtype")
        reason = context.memories.lacks(memory)
        if reason is not None:
            return reason
        kind = context.memories[memory]
        if isinstance(kind, Multiplies):
            return kind.lacks_type(dtype) or _too_small_there(case, kind)
        if memory != "host":
            return f"no product is made in {memory} memory: it needs host or device memory"
        if dtype not in DTYPES:
            return f"NumPy multiplies no {dtype}: it needs memory device, or {' or '.join(DTYPES)}"
        if _is_sustained(case):
            return "load sustained heats a GPU: it needs memory device"
        return _too_small(case, context) if word(case, "cache") == "cold" else None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate the matrices and fill the factors with normal random numbers."""
        memory = context.memories[word(case, "memory")]
        return (
            _OnDevice(case, memory, context.alive)
            if isinstance(memory, Multiplies)
            else _Product(case, context)
        )


class _Product:
    idle = False
    timing_layer = "numpy"

    def __init__(self, case: Case, context: Context) -> None:
        dtype = DTYPES[word(case, "dtype")]
        m, n, k = (whole(case, axis) for axis in ("batch", "n", "k"))
        # Random data: zeros draw less power and let clocks rise.
        random = np.random.default_rng(context.communicator.rank)
        left = random.standard_normal((m, k), dtype)
        right = random.standard_normal((k, n), dtype)
        self._sets = [(left, right, np.empty((m, n), dtype))]
        self._turn = 0
        self.params: dict[str, Axis] = {"blas": context.blas, "threads": context.threads}
        if word(case, "cache") == "cold":
            sets = count_sets(_set_bytes(case), context.last_cache_bytes or 0)
            # The same numbers: a cache knows addresses alone.
            self._sets += [
                (left.copy(), right.copy(), np.zeros((m, n), dtype)) for _ in range(1, sets)
            ]
            self.params["sets"] = sets
        self.overhead_s = call_overhead_s()
        self._check = ProductCheck(m, n, k, word(case, "dtype"))
        self._check.add(left, right)

    def run(self, seconds: Seconds, loops: int) -> None:
        sets, clock = self._sets, time.perf_counter_ns
        for sample in range(len(seconds)):
            turns = [sets[(self._turn + i) % len(sets)] for i in range(loops)]
            begin = clock()
            for left, right, product in turns:
                np.matmul(left, right, out=product)
            seconds[sample] = (clock() - begin) * 1e-9 / loops
            self._turn = (self._turn + loops) % len(sets)

    def verify(self, seed: int) -> Checked:
        _, _, product = self._sets[self._turn]
        product.fill(np.nan)
        self.run(one_sample(), 1)
        checked = self._check.compare(product)
        self.params["check_s"] = four_digits(self._check.seconds)
        return checked


class _OnDevice:
    idle = False
    timing_layer = DEVICE_EVENTS
    sleeps = True
    overhead_s = None

    def __init__(self, case: Case, memory: Multiplies, alive: Callable[[], None]) -> None:
        dtype = word(case, "dtype")
        m, n, k = (whole(case, axis) for axis in ("batch", "n", "k"))
        product = memory.open_product(m, n, k, dtype, word(case, "cache") == "cold", alive)
        self._product = product
        self._check = ProductCheck(m, n, k, dtype)
        self._check.add(*product.factors())
        self.params: dict[str, Axis] = {
            "sets": product.sets,
            "gpu_cache_bytes": product.cache_bytes,
            **describe_timing(product),
        }
        self.least_sample = product.least_sample
        self._alive = alive
        self._sustained = _is_sustained(case)
        self._is_cool = False

    def run(self, seconds: Seconds, loops: int) -> None:
        if self._is_cool:
            self._is_cool = False
            self._heat()
        self._product.run(seconds, loops)

    def _heat(self) -> None:
        """Multiply until power control holds the clocks that it will hold for long."""
        until_s = time.perf_counter() + SUSTAINED_S
        seconds, queued = one_sample(), 1
        while time.perf_counter() < until_s:
            self._product.run(seconds, queued)
            self._alive()
            queued = max(1, min(QUEUED, int(QUEUED_S / max(seconds[0], 1e-9))))

    def verify(self, seed: int) -> Checked:
        self._product.poison()
        self.run(one_sample(), 1)
        checked = self._check.compare(self._product.fetch())
        self.params["check_s"] = four_digits(self._check.seconds)
        # The GPU idled while the host compared.
        self._is_cool = self._sustained
        return checked


def _is_sustained(case: Case) -> bool:
    return case.axes.get("load") == "sustained"


def _set_bytes(case: Case) -> int:
    """Return the bytes of both factors and the product."""
    m, n, k = (whole(case, axis) for axis in ("batch", "n", "k"))
    return (m * k + k * n + m * n) * np.dtype(DTYPES[word(case, "dtype")]).itemsize


def _too_small(case: Case, context: Context) -> str | None:
    """Return why turns among matrices cannot outgrow the cache, or None."""
    if context.last_cache_bytes is None:
        return "the size of the last-level cache is not known here"
    return refuse_sets(count_sets(_set_bytes(case), context.last_cache_bytes))


def _too_small_there(case: Case, device: Multiplies) -> str | None:
    """Return the same of a device's cache."""
    if word(case, "cache") != "cold":
        return None
    m, n, k = (whole(case, axis) for axis in ("batch", "n", "k"))
    return device.lacks_sets(m, n, k, word(case, "dtype"))


BENCHMARKS: tuple[Measurement, ...] = (Matmul(),)
