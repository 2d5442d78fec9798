"""The exchange of one gradient: its sum over all ranks, for all of them, additions included.

What a data-parallel training step exchanges, alone; `training_step` has the computation as well.
The two are benchmarks of their own since hardly an axis means anything to both.
"""

from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    Measurement,
    Memory,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule, Steps
from bench.measure.axes import BYTES, MEMBERS, MEMORY, whole, word
from bench.measure.exchange import hierarchical, naive, one_bit, ring
from bench.measure.exchange.parts import (
    DTYPE,
    ITEM,
    Addresses,
    RankOnNode,
    exact_sum,
    spread,
    terms,
)
from bench.measure.exchange.phases import Phases
from bench.measure.exchange.traffic import count_traffic

MOST_RANKS = 512
"""Each rank counts the messages of all; and sums of `terms` are exact up to here."""
STRATEGIES = ("naive", "ring", "hierarchical", "library", "one-bit")
NOWHERE = Addresses(0, 0, 0)
STRATEGY = AxisSpec(
    name="strategy",
    kind=str,
    default=STRATEGIES[:4],
    choices=STRATEGIES,
    in_id=True,
    advice="who sends what to whom",
)
POSTING = AxisSpec(
    name="posting",
    kind=str,
    default=("at-once",),
    choices=naive.POSTINGS,
    advice="of naive messages: all at once, or in rounds",
)
RANKS = msgspec.structs.replace(MEMBERS, most=MOST_RANKS)


class Exchange:
    """The sum of a gradient, by the strategy that is asked for."""

    name = "exchange"
    title = "sum of a gradient over all ranks: naive, ring, hierarchical, library, one bit"
    axes = (
        msgspec.structs.replace(
            BYTES, default=(4_000_000,), least=ITEM, advice="gradient of one rank, fp32"
        ),
        STRATEGY,
        POSTING,
        MEMORY,
        RANKS,
    )
    rank_agg = "max"
    tolerance = 0.02
    size_axis = "bytes"
    pairwise = False
    profile = Profile(family="exchange and steps", bound="gradient sum", composition="sum")

    def work(self, case: Case) -> Work:
        """One gradient; what crosses links is the strategy's and in the row's params."""
        nbytes = count_of(case) * ITEM
        return Work(bytes=nbytes, bytes_per_rank=nbytes)

    def columns(self, case: Case) -> dict[str, Axis]:
        """The strategy is the algorithm."""
        return {"algorithm": word(case, "strategy"), "dtype": DTYPE}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        if context.message_loops is None:
            return "needs MPI: it sums over ranks"
        missing = lacks_memory(case, context)
        if missing is not None:
            return missing
        return refuse_posting(case)

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate what is added, the sum, and the strategy's room."""
        if word(case, "strategy") == "one-bit":
            return _OneBit(case, context)
        return _Sum(case, context)


class Strategy(msgspec.Struct, frozen=True):
    """How a gradient is summed up: the room it needs in numbers, and its steps."""

    room: int
    write: Callable[[Schedule, RankOnNode, Addresses, int], None]


def choose(strategy: str, posting: str, place: RankOnNode, count: int) -> Strategy:
    """Return a strategy by name, for one rank and so many numbers."""
    if strategy == "naive":
        return Strategy(naive.room(place, count, posting), partial(naive.write, posting=posting))
    if strategy == "ring":
        return Strategy(0, ring.write)
    if strategy == "hierarchical":
        return Strategy(hierarchical.room(place, count), hierarchical.write)
    return Strategy(0, _call_library)


def _call_library(schedule: Schedule, place: RankOnNode, at: Addresses, count: int) -> None:
    """Leave it to MPI_Allreduce."""
    del place
    schedule.allreduce(at.own, at.total, count, DTYPE)


def count_of(case: Case) -> int:
    """Return the numbers of a gradient."""
    return whole(case, "bytes") // ITEM


def refuse_posting(case: Case) -> str | None:
    """Return why the messages of the strategy cannot be posted as the case wants, or None."""
    if word(case, "posting") != "at-once" and word(case, "strategy") != "naive":
        return "needs strategy naive: no other has its messages posted in rounds or at once"
    return None


def lacks_memory(case: Case, context: Context) -> str | None:
    """Return why numbers cannot be added up where the case wants them, or None."""
    memory = word(case, "memory")
    if memory not in ("host", "pinned"):
        away = f"{memory} memory: sums and products are made in host memory"
        return context.memories.lacks(memory) or f"not in {away}"
    return context.memories.lacks(memory)


class _Sum:
    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        self._loops = context.need_message_loops()
        self.timing_layer, self.overhead_s = self._loops.name, self._loops.overhead_s
        world, count = context.communicator, count_of(case)
        self._place = RankOnNode(world.rank, world.nodes)
        strategy, posting = word(case, "strategy"), word(case, "posting")
        chosen = choose(strategy, posting, self._place, count)
        memory = context.memories[word(case, "memory")]
        self._own, self._total, self._room = (
            memory.allocate(max(1, numbers) * ITEM) for numbers in (count, count, chosen.room)
        )
        at = Addresses(self._own.address, self._total.address, self._room.address)
        self._own.write(terms(0, self._place.rank, count))
        self.params: dict[str, Axis] = {}
        if strategy != "library":
            self.params |= count_traffic(
                self._place.nodes, lambda place: _bare(strategy, posting, place, count)
            ).params()
        schedule = Schedule()
        schedule.meet(world.rank, world.size)
        schedule.begin()
        chosen.write(schedule, self._place, at, count)
        schedule.end()
        self._steps = schedule.cut()

    def run(self, seconds: Seconds, loops: int) -> None:
        self._loops.follow(seconds, loops, self._steps)

    def verify(self, seed: int) -> Checked:
        count = self._own.nbytes // ITEM
        self._own.write(terms(seed, self._place.rank, count))
        for buffer in (self._total, self._room):
            buffer.write(np.full(buffer.nbytes, 0xFF, np.uint8))  # not a number
        self.run(one_sample(), 1)
        expected = exact_sum(seed, self._place.ranks, count)
        wrong = int(np.count_nonzero(self._total.read().view(np.float32) != expected))
        return Checked(self._total.nbytes, wrong * ITEM)


def _bare(strategy: str, posting: str, place: RankOnNode, count: int) -> Steps:
    """Return the steps of any rank without their addresses, to count what they send."""
    schedule = Schedule()
    choose(strategy, posting, place, count).write(schedule, place, NOWHERE, count)
    return schedule.cut()


class _Messages:
    """One bit of each number of every rank's gradient, and the sum of what they mean."""

    def __init__(self, memory: Memory, place: RankOnNode, count: int) -> None:
        self._place, self._count = place, count
        self.nbytes = one_bit.wire_bytes(count)
        """Of one rank's message."""
        self.buffer = memory.allocate(self.nbytes * place.ranks)
        self.total = memory.allocate(count * ITEM)
        self.gradient = terms(0, place.rank, count)
        self.feedback = one_bit.Feedback(count)

    def encode(self) -> None:
        """Write this rank's message."""
        self.feedback.encode(self.gradient, self._rows()[self._place.rank])

    def add_up(self) -> None:
        """Add up all messages."""
        one_bit.add_up(self._rows(), self._count, self.total.read().view(np.float32))

    def _rows(self) -> NDArray[np.uint8]:
        return self.buffer.read().reshape(self._place.ranks, -1)


class _OneBit:
    """Every rank encodes its gradient, a ring hands all messages round, every rank adds them up."""

    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        loops, world = context.need_message_loops(), context.communicator
        self._count = count_of(case)
        self._place = RankOnNode(world.rank, world.nodes)
        # Apart from the phases that hold its methods: a cycle would outlive the case.
        self._messages = _Messages(context.memories[word(case, "memory")], self._place, self._count)
        size = self._messages.nbytes
        meet = Schedule()
        meet.meet(world.rank, world.size)
        bounds = spread([size] * world.size)
        ring_steps = ring_of_bytes(self._place, self._messages.buffer.address, bounds)
        phases = (self._messages.encode, ring_steps, self._messages.add_up)
        self._phases = Phases(loops, phases, meet.cut())
        self.timing_layer, self.overhead_s = f"numpy+{loops.name}", self._phases.overhead_s
        traffic = count_traffic(self._place.nodes, lambda place: ring_of_bytes(place, 0, bounds))
        self.params: dict[str, Axis] = {**traffic.params(), "message_bytes": size}

    def run(self, seconds: Seconds, loops: int) -> None:
        self._phases.run(seconds, loops)
        share = np.median(np.array(self._phases.compute_s) / seconds)
        self.params["compute_percent"] = round(100 * float(share))

    def verify(self, seed: int) -> Checked:
        ranks, messages = self._place.ranks, self._messages
        messages.gradient = terms(seed, self._place.rank, self._count)
        messages.feedback.kept[:] = 0
        for buffer in (messages.buffer, messages.total):
            buffer.write(np.full(buffer.nbytes, 0xFF, np.uint8))
        self._phases.run(one_sample(), 1)
        expected = np.zeros(self._count, np.float32)
        message = np.empty(one_bit.wire_bytes(self._count), np.uint8)
        for rank in range(ranks):
            one_bit.Feedback(self._count).encode(terms(seed, rank, self._count), message)
            expected += one_bit.decode(message, self._count)
        wrong = np.count_nonzero(messages.total.read().view(np.float32) != expected)
        return Checked(messages.total.nbytes, (int(wrong) + messages.feedback.lost) * ITEM)


def ring_of_bytes(place: RankOnNode, address: int, bounds: list[int]) -> Steps:
    """Return the steps that give every rank all blocks of bytes."""
    schedule = Schedule()
    ring.all_gather(schedule, range(place.ranks), place.rank, address, bounds, item=1)
    return schedule.cut()


BENCHMARKS: tuple[Measurement, ...] = (Exchange(),)
