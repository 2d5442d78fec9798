"""Whether messages travel while a rank computes: both alone, then both at once, in turn.

    alone     post, wait                 t_comm
    alone     compute                    t_comp
    at once   post, compute, wait        t, the time of the row

Three definitions are in use, so each has its own name (`overlaps`).
"""

import time
from collections import deque
from typing import NamedTuple

import numpy as np

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Measurement,
    Operation,
    Peer,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule, Steps
from bench.measure.axes import BYTES, MEMORY, PAIR, four_digits, whole, with_default, word
from bench.measure.pair import pair_ranks
from bench.measure.product_check import ProductCheck

EDGES = (16, 32, 64, 128)
"""Edges of the matrices that are multiplied: 3 to 200 KB, so that a core's own caches hold them."""
LEAST_PRODUCTS = 32
"""At least so many make up the computation, to be near the time that is asked for."""
MOST_PRODUCT_S = 100e-6
TEST_EVERY_S = 100e-6
"""Time between two calls of MPI where a rank makes any."""
_COMM_TRIES, _PRODUCT_TRIES = 9, 31
_NOTED = 400
"""Operations whose times are kept: as many as there are samples at most."""


class Overlap:
    """Exchange between two ranks, which compute meanwhile."""

    name = "overlap"
    title = "messages both ways between two ranks that compute meanwhile"
    axes = (
        with_default(BYTES, 2**20),
        AxisSpec(
            name="ratio_percent",
            kind=int,
            default=(50, 100, 200),
            least=1,
            most=10_000,
            in_id=True,
            advice="time of the computation alone, in percent of that of the messages alone",
        ),
        AxisSpec(
            name="progress",
            kind=str,
            default=("none", "test"),
            choices=("none", "test"),
            in_id=True,
            advice="whether MPI is called between pieces of the computation (MPI_Testall)",
        ),
        MEMORY,
        PAIR,
    )
    rank_agg = "rank0"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = True
    profile = Profile(family="overlap", bound="both ways")

    def work(self, case: Case) -> Work:
        """One message each way; no rate, since the time holds the computation."""
        return Work(bytes=whole(case, "bytes"))

    def columns(self, case: Case) -> dict[str, Axis]:
        """One pair, both ways."""
        del case
        return {"direction": "bi", "pairs": 1}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        if context.message_loops is None:
            return "needs MPI: it passes messages between two ranks"
        if word(case, "memory") != "host":
            return f"overlap with messages in {word(case, 'memory')} memory is not measured yet"
        return None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate buffers; how much is computed follows from the first messages."""
        return _Overlapped(case, context)


class Times(NamedTuple):
    """One operation each way, in seconds."""

    comm: float
    comp: float
    both: float
    comp_in_both: float
    """The computation while messages are on their way."""


def overlaps(comm: float, comp: float, both: float) -> dict[str, float]:
    """Return the overlap by each definition in use, 1 where the shorter one costs nothing.

    - `overlap_min`: what was saved, of the most that could be.
    - `overlap_max`: the same, of the longer time (IMB-NBC, Intel MPI Benchmarks 2021).
    - `overlap_omb`: the share of the messages' time that was hidden (OSU Micro-Benchmarks 7).

    They are clipped to 0 to 1; those that end in `_raw` are not.
    """
    saved = comm + comp - both
    raw = {
        "overlap_min": saved / min(comm, comp),
        "overlap_max": saved / max(comm, comp),
        "overlap_omb": saved / comm,  # 1 - (both - comp) / comm, without its rounding
    }
    clipped = {name: min(1.0, max(0.0, value)) for name, value in raw.items()}
    return clipped | {f"{name}_raw": value for name, value in raw.items()}


class _Computation:
    """Products of small matrices: NumPy lets go of the interpreter's lock while it multiplies."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._factors = {
            edge: random.standard_normal((2, edge, edge), np.float32) for edge in EDGES
        }
        self._products = {edge: np.empty((edge, edge), np.float32) for edge in EDGES}
        self._seconds = {edge: self._time_product(edge) for edge in EDGES}
        self.edge, self.count, self.between_tests = EDGES[0], 1, 1

    def plan(self, seconds: float) -> None:
        """Choose how many products of which size take so long."""
        most_s = min(seconds / LEAST_PRODUCTS, MOST_PRODUCT_S)
        fitting = [edge for edge in EDGES if self._seconds[edge] <= most_s]
        self.edge = fitting[-1] if fitting else EDGES[0]
        self.count = max(1, round(seconds / self._seconds[self.edge]))
        self.between_tests = max(1, round(TEST_EVERY_S / self._seconds[self.edge]))

    def multiply(self, times: int) -> float:
        """Return the seconds of so many products."""
        left, right = self._factors[self.edge]
        product = self._products[self.edge]
        begin = time.perf_counter_ns()
        for _ in range(times):
            np.matmul(left, right, out=product)
        return (time.perf_counter_ns() - begin) * 1e-9

    def poison(self) -> None:
        """Fill the product with what no product is."""
        self._products[self.edge].fill(np.nan)

    def check(self) -> Checked:
        """Compare the product."""
        left, right = self._factors[self.edge]
        check = ProductCheck(self.edge, self.edge, self.edge, "fp32")
        check.add(left, right)
        return check.compare(self._products[self.edge])

    def _time_product(self, edge: int) -> float:
        self.edge = edge
        return float(np.median([self.multiply(1) for _ in range(_PRODUCT_TRIES)]))


class _Overlapped:
    def __init__(self, case: Case, context: Context) -> None:
        self.loops = context.need_message_loops()
        self.timing_layer = f"numpy+{self.loops.name}"
        self.overhead_s = self.loops.overhead_s
        world = context.communicator
        first, last = pair_ranks(case, world.size)
        self.rank = world.rank
        self.idle = world.rank not in (first, last)
        self._peer = Peer(last if world.rank == first else first, world.rank == first)
        self.params: dict[str, Axis] = {"idle_ranks": world.size - 2} if world.size > 2 else {}
        memory, nbytes = context.memories["host"], whole(case, "bytes")
        self._send, self._receive = (memory.allocate(1 if self.idle else nbytes) for _ in range(2))
        self._ratio = whole(case, "ratio_percent") / 100
        self._tests = word(case, "progress") == "test"
        self._computation: _Computation | None = None
        self._noted: deque[Times] = deque(maxlen=_NOTED)
        other = self._peer.rank
        schedule = Schedule()
        schedule.exchange(0, 0, other, 0, 0, other)
        self._meet = schedule.cut()
        schedule.start_receive(self._receive.address, nbytes, other)
        schedule.start_send(self._send.address, nbytes, other)
        self._post = schedule.cut()
        schedule.test()
        self._test = schedule.cut()
        schedule.wait()
        self._wait = schedule.cut()
        self._requests = self.loops.requests(self._wait.requests)

    def run(self, seconds: Seconds, loops: int) -> None:
        computation = self._computation or self._choose_computation()
        for sample in range(len(seconds)):
            total = 0.0
            for _ in range(loops):
                times = self._take_turns(computation)
                self._noted.append(times)
                total += times.both
            seconds[sample] = total / loops
        self.params |= self._facts(computation)

    def verify(self, seed: int) -> Checked:
        computation = self._computation or self._choose_computation()
        computation.poison()
        self._send.fill(2 * seed + self._peer.leads)
        arriving = 2 * seed + (not self._peer.leads)
        self._receive.poison(arriving)
        self.run(one_sample(), 1)
        product = computation.check()
        return Checked(
            self._receive.nbytes + product.bytes_checked,
            self._receive.count_wrong(arriving) + product.bytes_wrong,
        )

    def _take_turns(self, computation: _Computation) -> Times:
        """Return the times of messages alone, computation alone, and both, right in turn."""
        comm = self._communicate()
        self._follow(self._meet)
        comp = computation.multiply(computation.count)
        self._follow(self._meet)
        begin = time.perf_counter_ns()
        self._follow(self._post)
        comp_in_both = self._compute_meanwhile(computation)
        self._follow(self._wait)
        both = (time.perf_counter_ns() - begin) * 1e-9
        return Times(comm, comp, both, comp_in_both)

    def _communicate(self) -> float:
        """Return the seconds of the messages alone, in the same calls as with a computation."""
        self._follow(self._meet)
        begin = time.perf_counter_ns()
        self._follow(self._post)
        self._follow(self._wait)
        return (time.perf_counter_ns() - begin) * 1e-9

    def _compute_meanwhile(self, computation: _Computation) -> float:
        """Return the seconds of the computation, without those of calls of MPI in between."""
        if not self._tests:
            return computation.multiply(computation.count)
        seconds, left = 0.0, computation.count
        while left:
            piece = min(left, computation.between_tests)
            seconds += computation.multiply(piece)
            left -= piece
            self._follow(self._test)
        return seconds

    def _choose_computation(self) -> _Computation:
        """Size the computation by the messages alone; the leader's choice is that of both ranks."""
        computation = _Computation()
        comm = float(np.median([self._communicate() for _ in range(_COMM_TRIES)]))
        computation.plan(self._ratio * comm)
        agreed = np.array(
            [computation.edge, computation.count, computation.between_tests], np.int64
        )
        schedule = Schedule()
        pass_on = schedule.send if self._peer.leads else schedule.receive
        pass_on(agreed.ctypes.data, agreed.nbytes, self._peer.rank)
        self._follow(schedule.cut())
        computation.edge, computation.count, computation.between_tests = agreed.tolist()
        self._computation = computation
        return computation

    def _follow(self, steps: Steps) -> None:
        self.loops.follow(one_sample(), 1, steps, self._requests)

    def _facts(self, computation: _Computation) -> dict[str, Axis]:
        """Return the medians so far, and what follows from them."""
        comm, comp, both, comp_in_both = np.median(np.array(self._noted), axis=0).tolist()
        shares = {
            "t_comm_s": comm,
            "t_comp_s": comp,
            "t_both_s": both,
            "comp_inflation": comp_in_both / comp,
            **overlaps(comm, comp, both),
        }
        tests = -(-computation.count // computation.between_tests) if self._tests else 0
        return {"tests": tests, **{name: four_digits(value) for name, value in shares.items()}}


BENCHMARKS: tuple[Measurement, ...] = (Overlap(),)
