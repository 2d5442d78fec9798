"""The sum of a buffer over all ranks, given to all of them (MPI_Allreduce)."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Operation,
    Seconds,
    one_sample,
)
from bench.measure.axes import BYTES, MEMORY, whole, word
from bench.rates import allreduce_bus_factor
from bench.record import Axis, Case, Work
from bench.schedule import Schedule

DTYPES: dict[str, type[np.float32] | type[np.float64]] = {
    "fp32": np.float32,
    "fp64": np.float64,
}
_PERIOD = 1021
"""Numbers of a buffer repeat after so many: a prime shares no period with the powers of two that
libraries cut messages at."""
_OWN = 61
"""Ranks add numbers of their own below this, so that none can stand in for its neighbour."""
_MOST_RANKS = 15_000
"""Sums of whole numbers stay below 2**24, where single precision holds them to the last bit."""


class Allreduce:
    """The sum; every rank starts together and the slowest one is the time."""

    name = "allreduce"
    title = "the sum of a buffer over all ranks, given to all of them"
    axes = (
        msgspec.structs.replace(
            BYTES, default=(2**20,), least=8, advice="buffer of one rank, in whole numbers of dtype"
        ),
        AxisSpec(
            name="dtype",
            kind=str,
            default=("fp32",),
            choices=tuple(DTYPES),
            advice="type of the numbers",
        ),
        MEMORY,
        AxisSpec(
            name="ranks",
            kind=int,
            default=(2,),
            least=2,
            most=_MOST_RANKS,
            advice="world size; every rank takes part",
        ),
    )
    rank_agg = "max"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = False

    def work(self, case: Case) -> Work:
        """One buffer: what a rank gives and gets is all there is, so per rank and total agree."""
        nbytes = _count(case) * _itemsize(case)
        return Work(
            bytes=nbytes,
            bytes_per_rank=nbytes,
            bytes_total=nbytes,
            rate_bytes=nbytes,
            bus_bytes=nbytes * allreduce_bus_factor(whole(case, "ranks")),
        )

    def columns(self, case: Case) -> dict[str, Axis]:
        """The algorithm is whichever the MPI library chooses; settings are in the facts."""
        del case
        return {"algorithm": "library"}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        if context.message_loops is None:
            return "needs MPI: it sums over ranks"
        return context.memories.lacks(word(case, "memory"))

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate separate buffers for what a rank adds and for the sum."""
        return _Sum(case, context)


class _Sum:
    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        if context.message_loops is None:
            raise RuntimeError("a sum over ranks was prepared without MPI")
        world = context.communicator
        self._loops = context.message_loops
        self.timing_layer = self._loops.name
        self.overhead_s = self._loops.overhead_s
        self._dtype = DTYPES[word(case, "dtype")]
        self._rank, self._ranks = world.rank, world.size
        memory = context.memories[word(case, "memory")]
        nbytes = _count(case) * _itemsize(case)
        self._send, self._receive = memory.allocate(nbytes), memory.allocate(nbytes)
        self._fill(seed=0)
        factor = allreduce_bus_factor(world.size)
        self.params: dict[str, Axis] = {"busbw_factor": round(factor, 4)}
        schedule = Schedule()
        schedule.meet(world.rank, world.size)
        schedule.begin()
        schedule.allreduce(
            self._send.address, self._receive.address, _count(case), word(case, "dtype")
        )
        schedule.end()
        self._steps = schedule.cut()

    def run(self, seconds: Seconds, loops: int) -> None:
        self._loops.follow(seconds, loops, self._steps)

    def verify(self, seed: int) -> Checked:
        self._fill(seed)
        self._receive.write(np.full(self._receive.nbytes, 0xFF, np.uint8))  # not a number
        self.run(one_sample(), 1)
        # Sums of whole numbers are the same in whichever order an algorithm adds.
        total = self._ranks * _common(seed) + sum(_own(rank) for rank in range(self._ranks))
        result = self._receive.read().view(self._dtype)
        wrong = int(np.count_nonzero(result != np.resize(total.astype(self._dtype), result.size)))
        return Checked(self._receive.nbytes, wrong * result.itemsize)

    def _fill(self, seed: int) -> None:
        terms = _common(seed) + _own(self._rank)
        count = self._send.nbytes // np.dtype(self._dtype).itemsize
        self._send.write(np.resize(terms.astype(self._dtype), count))


def _common(seed: int) -> NDArray[np.int64]:
    """Return one period of what every rank adds, another number at each place."""
    return (np.arange(_PERIOD, dtype=np.int64) + 389 * seed) % _PERIOD


def _own(rank: int) -> int:
    """Return what one rank adds to that everywhere: never nothing."""
    return 1 + rank % _OWN


def _count(case: Case) -> int:
    return whole(case, "bytes") // _itemsize(case)


def _itemsize(case: Case) -> int:
    return np.dtype(DTYPES[word(case, "dtype")]).itemsize
