"""Collective calls over all ranks of a job, each a benchmark of its own, and the barrier.

`coll_latency`: the ranks leave a barrier of small messages together, and one call is timed.
`coll_throughput`: so many calls follow each other between two looks at the clock, and may overlap.
They are two numbers: a rank whose part is done goes on to the next call. In both the slowest rank
of each sample is the time.
"""

from collections.abc import Collection, Iterator, Mapping

import msgspec
import numpy as np

from bench.contracts import (
    AxisSpec,
    Buffer,
    Checked,
    Context,
    Figure,
    Headline,
    Measurement,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import Schedule, Steps
from bench.measure.axes import BYTES, DTYPES, MEMBERS, MEMORY, four_digits, whole, word
from bench.measure.blocks import KINDS, MOST_SUMMED_RANKS, Array, Blocks, CollectiveKind
from bench.measure.library import (
    LIBRARY,
    by_nccl,
    library_facts,
    open_library,
    refuse_nccl,
    share_of_host,
)

CALLS = 16
"""Calls between two looks at the clock of `coll_throughput`; in turns of all roots where they
rotate."""
MOST_COUNT = 2**31 - 1
"""MPI counts the elements of a block in a C int, and libraries those of all ranks."""

MODE = AxisSpec(
    name="mode",
    kind=str,
    default=("latency",),
    choices=("latency", "throughput"),
    advice="one call after a barrier, or calls back to back",
)
ROOT = AxisSpec(
    name="root",
    kind=str,
    default=("fixed",),
    choices=("fixed", "rotating"),
    advice="rank 0 in every call, or each rank in turn",
)
DTYPE = AxisSpec(
    name="dtype",
    kind=str,
    default=("fp32",),
    choices=tuple(DTYPES),
    advice="type of the numbers",
)

TIMES = Figure(
    name="collectives",
    title="Collective calls against size",
    draws="times",
    x_label="block of one rank",
    y_label="slowest rank",
    see="One collective call: the ranks start together, and the slowest is the time; lower is "
    "better. A block is what one rank gives, or what is its own of the result.",
    numbers="ends",
    subject="An allreduce",
)
RATES = Figure(
    name="collective_rates",
    title="Collective calls back to back",
    draws="bus bandwidths",
    x_label="block of one rank",
    see="Collective calls that follow each other between two looks at the clock; higher is better. "
    "Bus bandwidth is bytes / time with the factor of each call (busbw_factor in the rows), so "
    "that it compares with the rate of a link.",
    numbers="best case",
)


class Collective:
    """One kind of call."""

    rank_agg = "max"
    tolerance = 0.02
    pairwise = False

    def __init__(self, kind: CollectiveKind) -> None:
        self.kind = kind
        self.name = kind.name
        self.title = kind.title
        self.size_axis = "bytes" if kind.moves else "ranks"
        self.axes = tuple(_axes(kind))
        self.profile = _moving(kind) if kind.moves else _BARRIER

    def work(self, case: Case) -> Work:
        """Return the bytes of one rank's block, and of the blocks of all ranks side by side."""
        if not self.kind.moves:
            return Work()
        ranks, block = whole(case, "ranks"), _block_bytes(self.kind, case)
        total = block * (ranks if self.kind.apart or self.kind.joined else 1)
        return Work(
            bytes=block,
            bytes_per_rank=block,
            bytes_total=total,
            rate_bytes=total,
            bus_bytes=total * self.kind.bus_factor(ranks),
        )

    def columns(self, case: Case) -> dict[str, Axis]:
        """The algorithm is whichever the library chooses; settings are in the facts."""
        del case
        return {"algorithm": "library"}

    def timekeepers(self, case: Case) -> Collection[int]:
        """Return all ranks."""
        return range(whole(case, "ranks"))

    def compare_ranks(self, case: Case, samples: Mapping[int, Seconds]) -> dict[str, Axis]:
        """Return how far apart ranks end a call of one root: the median of slowest less fastest.

        Each is timed from its own exit of the barrier, whose skew is in it.
        """
        one_call = word(case, "mode") == "latency" and case.axes.get("root") != "rotating"
        if not one_call or len(samples) < 2:
            return {}
        seconds = np.array(list(samples.values()))
        skew = float(np.median(seconds.max(axis=0) - seconds.min(axis=0)))
        return {"exit_skew_s": four_digits(skew)}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        if by_nccl(case):
            if not self.kind.moves:
                return "NCCL and RCCL have no barrier; use library = mpi"
            return refuse_nccl(context, {word(case, "memory")})
        if context.message_loops is None:
            return "needs MPI: every rank takes part"
        if not self.kind.moves:
            return None
        memory = word(case, "memory")
        if (lack := context.memories.lacks(memory)) is not None:
            return lack
        count = self._total_count(case)
        if count > MOST_COUNT:
            return (
                f"needs {count} elements over all ranks; MPI libraries count up to {MOST_COUNT} "
                "in a C int"
            )
        return None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate separate buffers for what a rank gives and for what it gets."""
        return _Calls(self.kind, case, context)

    def _total_count(self, case: Case) -> int:
        return (self.work(case).bytes_total or 0) // _itemsize(self.kind, case)


class _Calls:
    idle = False

    def __init__(self, kind: CollectiveKind, case: Case, context: Context) -> None:
        world = context.communicator
        self._loops = open_library(case, context)
        self.timing_layer = self._loops.name
        self.overhead_s = self._loops.overhead_s
        self._kind = kind
        rotating = kind.rooted and word(case, "root") == "rotating"
        self._roots = range(world.size if rotating else 1)
        self._blocks = Blocks(
            kind, world.rank, world.size, _block_bytes(kind, case), _dtype(kind, case)
        )
        self._alive = context.alive
        self._allocate(case, context)
        self._count = self._blocks.nbytes // self._blocks.dtype.itemsize
        self._dtype = word(case, "dtype") if kind.reduces else "byte"
        self._each = [self._one_call(root) for root in self._roots]
        throughput = word(case, "mode") == "throughput"
        self._steps, self._calls = self._timed(world.rank, world.size, throughput)
        self.params: dict[str, Axis] = {
            "metric": "coll_throughput" if throughput else "coll_latency",
            **library_facts(case, context),
        }
        if throughput:
            self.params["calls"] = self._calls
        if kind.moves:
            self.params["busbw_factor"] = round(kind.bus_factor(world.size), 4)

    @property
    def host_share(self) -> float | None:
        """Of the time of one operation, that in which the host queued calls of a GPU's library."""
        return share_of_host(self._loops)

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with one time per call."""
        self._loops.follow(seconds, loops, self._steps)
        seconds /= self._calls

    def verify(self, seed: int) -> Checked:
        """Call once with each root, and compare every element that this rank gets."""
        checked = [self._verify_root(root, steps, seed) for root, steps in enumerate(self._each)]
        return Checked(*(sum(parts) for parts in zip(*checked, strict=True)))

    def _verify_root(self, root: int, steps: Steps, seed: int) -> Checked:
        for part, wanted in self._pair(self._receive, self._blocks.wanted(root, seed)):
            part.write(np.invert(wanted.view(np.uint8)))
        for part, given in self._pair(self._send, self._blocks.given(root, seed)):
            part.write(given)
        self._loops.follow(one_sample(), 1, steps)
        compared = wrong = 0
        for part, wanted in self._pair(self._receive, self._blocks.wanted(root, seed)):
            differ = np.count_nonzero(part.read().view(wanted.dtype) != wanted)
            compared += wanted.nbytes
            wrong += int(differ) * wanted.itemsize
        return Checked(compared, wrong)

    def _pair(self, buffer: Buffer, pieces: Iterator[Array]) -> Iterator[tuple[Buffer, Array]]:
        """Return the parts of a buffer in order, each with the piece that belongs there."""
        offset = 0
        for piece in pieces:
            yield buffer.part(offset, piece.nbytes), piece
            offset += piece.nbytes
            self._alive()

    def _allocate(self, case: Case, context: Context) -> None:
        """A rank that never gives, or never gets, has one byte there: only the root is asked."""
        memory = context.memories[str(case.axes.get("memory", "host"))]
        given = max(self._blocks.given_bytes(root) for root in self._roots)
        wanted = max(self._blocks.wanted_bytes(root) for root in self._roots)
        self._send: Buffer = memory.allocate(max(1, given, wanted if self._kind.one_buffer else 1))
        self._receive = self._send if self._kind.one_buffer else memory.allocate(max(1, wanted))

    def _timed(self, rank: int, ranks: int, throughput: bool) -> tuple[Steps, int]:
        """Return what is timed, and how many calls that is; every root has equally many."""
        schedule = Schedule()
        turns = -(-CALLS // len(self._roots)) if throughput else 1
        calls = [root for _ in range(turns) for root in self._roots]
        groups = [calls] if throughput else [[root] for root in calls]
        for group in groups:
            schedule.meet(rank, ranks)
            schedule.begin()
            for root in group:
                self._call(schedule, root)
            schedule.end()
        return schedule.cut(), len(calls)

    def _one_call(self, root: int) -> Steps:
        schedule = Schedule()
        self._call(schedule, root)
        return schedule.cut()

    def _call(self, schedule: Schedule, root: int) -> None:
        send, receive, count = self._send.address, self._receive.address, self._count
        match self._kind.operation:
            case "all-reduce":
                schedule.allreduce(send, receive, count, self._dtype)
            case "reduce-scatter":
                schedule.reduce_scatter(send, receive, count, self._dtype)
            case "all-gather":
                schedule.allgather(send, receive, count)
            case "all-to-all":
                schedule.alltoall(send, receive, count)
            case "broadcast":
                schedule.broadcast(send, count, root)
            case "scatter":
                schedule.scatter(send, receive, count, root)
            case "gather":
                schedule.gather(send, receive, count, root)
            case _:
                schedule.barrier()


def _moving(kind: CollectiveKind) -> Profile:
    """Return the profile of a call that moves data; those with a root are drawn below others."""
    what = f"{kind.name.replace('_', ' ').capitalize()}, bus bandwidth"
    return Profile(
        family="collectives",
        bound="collective",
        operation=kind.operation,
        composition="call",
        headline=Headline(pick="best", what=what, rate="busbw_gbytes_per_s"),
        figures=(TIMES, RATES),
        panel=int(kind.rooted),
    )


_BARRIER = Profile(
    family="barrier",
    fit="rounds",
    bound="no data",
    operation="barrier",
    headline=Headline(pick="most ranks", what="Barrier"),
)


def _axes(kind: CollectiveKind) -> Iterator[AxisSpec]:
    yield from (MODE, LIBRARY)
    most = MOST_SUMMED_RANKS if kind.reduces else MEMBERS.most
    # A barrier has no size: its curve runs along the ranks.
    yield msgspec.structs.replace(MEMBERS, most=most, in_id=not kind.moves)
    if kind.moves:
        size = (
            "block of one rank, in whole numbers of dtype" if kind.reduces else "block of one rank"
        )
        yield msgspec.structs.replace(
            BYTES, default=(2**20,), least=8 if kind.reduces else 1, advice=size
        )
        yield MEMORY
    if kind.rooted:
        yield ROOT
    if kind.reduces:
        yield DTYPE


def _dtype(kind: CollectiveKind, case: Case) -> type[np.float32] | type[np.float64] | None:
    return DTYPES[word(case, "dtype")] if kind.reduces else None


def _itemsize(kind: CollectiveKind, case: Case) -> int:
    return np.dtype(_dtype(kind, case) or np.uint8).itemsize


def _block_bytes(kind: CollectiveKind, case: Case) -> int:
    """Return the bytes of a block, in whole elements; a barrier has none."""
    size = _itemsize(kind, case)
    return whole(case, "bytes") // size * size if kind.moves else 0


BENCHMARKS: tuple[Measurement, ...] = tuple(Collective(kind) for kind in KINDS)
