"""One product C[m, n] = A[m, k] W[k, n] spread over ranks, with W split by its rows or columns.

    row     rank r has its rows of W and columns of A; partial products are summed (allreduce)
    column  rank r has its columns of W and all of A; columns of C are stacked (allgather)

Both ways end with all of C on every rank.
"""

import time
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Measurement,
    MessageLoops,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule
from bench.measure.axes import (
    DTYPES,
    MEMBERS,
    MEMORY,
    MOST_BYTES,
    THREADS,
    four_digits,
    whole,
    word,
)
from bench.measure.matmul import Matmul
from bench.measure.product import call_overhead_s
from bench.measure.product_check import ProductCheck

_NOTED = 400
"""Operations whose parts are kept: as many as there are samples at most."""
_BLOCK_BYTES = 32 * 2**20
"""Factors are made in blocks of so much, since no rank need have room for all of W."""
_OVERHEAD_SAMPLES = 101

Dtype = type[np.float32] | type[np.float64]


class SplitMatmul:
    """The product; every rank starts together, and the slowest one is the time."""

    name = "split_matmul"
    title = "one matrix product spread over all ranks"
    axes = (
        *(axis for axis in Matmul.axes if axis.name in ("batch", "k", "n")),
        AxisSpec(
            name="dtype",
            kind=str,
            default=("fp32",),
            choices=tuple(DTYPES),
            in_id=True,
            advice="type of all three matrices",
        ),
        AxisSpec(
            name="split",
            kind=str,
            default=("row", "column"),
            choices=("row", "column"),
            in_id=True,
            advice="dimension of the weights that is shared out: sums of parts, or parts stacked",
        ),
        THREADS,
        MEMORY,
        MEMBERS,
    )
    rank_agg = "max"
    tolerance = 0.02
    size_axis = "batch"
    pairwise = False
    profile = Profile(family="matmul", bound="split product")

    def work(self, case: Case) -> Work:
        """2 m n k FLOP, all ranks together."""
        return Work(flop=2 * whole(case, "batch") * whole(case, "n") * whole(case, "k"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """The batch is m; how parts travel is the MPI library's choice."""
        return {"m": whole(case, "batch"), "algorithm": "library"}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        if context.message_loops is None:
            return "needs MPI: its parts lie on several ranks"
        memory = word(case, "memory")
        if memory != "host":
            return f"no {memory} memory here: products on a GPU are not split over ranks yet"
        ranks = whole(case, "ranks")
        axis = "k" if word(case, "split") == "row" else "n"
        if _part(whole(case, axis), ranks - 1, ranks) == slice(0, 0):
            return f"{axis} = {whole(case, axis)} leaves a rank of {ranks} without a part"
        if _gathered_bytes(case) > MOST_BYTES:
            return f"the product is larger than the {MOST_BYTES} bytes of one MPI call"
        return None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Make this rank's parts of the factors, of the same numbers on any number of ranks."""
        return _Parts(case, context)


class _Parts:
    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        world = context.communicator
        self._loops = context.need_message_loops()
        self.timing_layer = f"numpy+{self._loops.name}"
        self.params: dict[str, Axis] = {"blas": context.blas, "threads": context.threads}
        self._noted: deque[tuple[float, float]] = deque(maxlen=_NOTED)
        m, n, k = (whole(case, axis) for axis in ("batch", "n", "k"))
        dtype = DTYPES[word(case, "dtype")]
        self._by_row = word(case, "split") == "row"
        depth, width = slice(0, k), slice(0, n)
        if self._by_row:
            depth = _part(k, world.rank, world.size)
        else:
            width = _part(n, world.rank, world.size)
        self._check = ProductCheck(m, n, k, word(case, "dtype"))
        self._factors = _make_factors((m, n, k), depth, width, dtype, self._check)
        self._shape = (m, n)
        self._received = context.memories[word(case, "memory")].allocate(_gathered_bytes(case))
        schedule = Schedule()
        schedule.meet(world.rank, world.size)
        self._meet = schedule.cut()
        if self._by_row:
            self._own = np.empty((m, n), dtype)
            source = self._own.ctypes.data
            schedule.allreduce(source, self._received.address, m * n, word(case, "dtype"))
        else:
            # Stacked in memory, columns follow each other: C lies transposed.
            self._own = np.zeros((_width(n, world.size), m), dtype)
            source = self._own.ctypes.data
            schedule.allgather(source, self._received.address, self._own.nbytes)
        self._join = schedule.cut()
        self.overhead_s = _overhead_s(self._loops)

    def run(self, seconds: Seconds, loops: int) -> None:
        for sample in range(len(seconds)):
            total = 0.0
            for _ in range(loops):
                computing, joining = self._multiply()
                self._noted.append((computing, joining))
                total += computing + joining
            seconds[sample] = total / loops
        self.params |= self._part_facts()

    def verify(self, seed: int) -> Checked:
        self._own.fill(np.nan)
        self._received.write(np.full(self._received.nbytes, 0xFF, np.uint8))  # not a number
        self._multiply()
        m, n = self._shape
        received = self._received.read().view(self._own.dtype)
        product = received.reshape(m, n) if self._by_row else received.reshape(-1, m)[:n].T
        checked = self._check.compare(product)
        self.params["check_s"] = four_digits(self._check.seconds)
        return checked

    def _part_facts(self) -> dict[str, Axis]:
        """Return what computing and joining took on this rank, as medians so far."""
        computing, joining = np.median(np.array(self._noted), axis=0).tolist()
        return {
            "t_comp_s": four_digits(computing),
            "t_comm_s": four_digits(joining),
            "comm_percent": four_digits(100 * joining / (computing + joining)),
        }

    def _multiply(self) -> tuple[float, float]:
        """Return the seconds of this rank's product, and of joining it with the others'."""
        factors, follow, clock = self._factors, self._loops.follow, time.perf_counter_ns
        nothing = one_sample()
        follow(nothing, 1, self._meet)
        begin = clock()
        if self._by_row:
            np.matmul(factors.left, factors.right, out=self._own)
        else:
            own = self._own[: factors.right.shape[1]]
            np.matmul(factors.right.T, factors.left.T, out=own)
        middle = clock()
        follow(nothing, 1, self._join)
        return (middle - begin) * 1e-9, (clock() - middle) * 1e-9


class _Factors(NamedTuple):
    """This rank's parts of A and W."""

    left: NDArray[Any]
    right: NDArray[Any]


def _make_factors(
    shape: tuple[int, int, int], depth: slice, width: slice, dtype: Dtype, check: ProductCheck
) -> _Factors:
    """Return the columns `depth` of A and, of W, the rows `depth` and the columns `width`.

    The numbers are the same on every rank and for any split.

    Args:
        shape: m, n and k.
        check: is handed all of both factors.
    """
    m, n, k = shape
    left, right = [], []
    # Random data: zeros draw less power and let clocks rise.
    random = np.random.default_rng(0)
    height = max(1, _BLOCK_BYTES // ((m + n) * np.dtype(dtype).itemsize))
    for first in range(0, k, height):
        here = slice(first, min(first + height, k))
        block = random.standard_normal((here.stop - first, m + n), dtype)
        check.add(block[:, :m].T, block[:, m:])
        mine = slice(max(depth.start - first, 0), max(depth.stop - first, 0))
        left.append(block[mine, :m].copy())
        right.append(block[mine, m:][:, width].copy())
    parts = np.ascontiguousarray(np.concatenate(left).T), np.concatenate(right)
    return _Factors(*parts)


def _part(length: int, rank: int, ranks: int) -> slice:
    """Return the part of a dimension that a rank has; all but the last are equal."""
    width = _width(length, ranks)
    first, last = rank * width, min((rank + 1) * width, length)
    return slice(first, last) if first < last else slice(0, 0)


def _width(length: int, ranks: int) -> int:
    """Return the width of a part: a rank's share, rounded up."""
    return -(-length // ranks)


def _gathered_bytes(case: Case) -> int:
    """Return the bytes of C, with what pads the last rank's columns to the width of the others."""
    n, ranks = whole(case, "n"), whole(case, "ranks")
    columns = n if word(case, "split") == "row" else _width(n, ranks) * ranks
    return whole(case, "batch") * columns * np.dtype(DTYPES[word(case, "dtype")]).itemsize


def _overhead_s(loops: MessageLoops) -> float:
    """Return the seconds of an empty product and an empty schedule."""
    empty, nothing = Schedule().cut(), one_sample()
    samples = np.empty(_OVERHEAD_SAMPLES)
    for i in range(len(samples)):
        begin = time.perf_counter_ns()
        loops.follow(nothing, 1, empty)
        samples[i] = (time.perf_counter_ns() - begin) * 1e-9
    return call_overhead_s() + float(np.median(samples))


BENCHMARKS: tuple[Measurement, ...] = (SplitMatmul(),)
