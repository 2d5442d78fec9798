"""Copies between GPUs that one process drives: a pair, one to all others, all others to one.

Every copy has a stream of its own, and all begin together. The first rank of each node makes
them. One rank for each GPU, and messages between them, is what `pairs_bandwidth` in device memory
measures.
"""

import itertools
from collections.abc import Iterator

import msgspec

from bench.contracts import (
    AxisSpec,
    Checked,
    Context,
    DrivesGpus,
    KnowsSlot,
    Measurement,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.measure.axes import BYTES, EACH, MEMORY, whole, with_default, word
from bench.measure.moves import (
    DEVICE_EVENTS,
    DIRECTION,
    ENGINE,
    NOT_HELD,
    PATTERN,
    Move,
    describe_timing,
    verify_moves,
)

MOST_GPUS = 64


class PeerCopy:
    """The copies."""

    name = "peer_copy"
    title = "copies between the GPUs of one process: every pair, one to all, all to one"
    axes = (
        with_default(BYTES, 2**26),
        DIRECTION,
        ENGINE,
        PATTERN,
        AxisSpec(
            name="access",
            kind=str,
            default=("write",),
            choices=("write", "read"),
            advice="whose GPU copies: that of the source writes, that of the target reads",
        ),
        AxisSpec(
            name="gpus",
            kind=int,
            default=(2,),
            least=2,
            most=MOST_GPUS,
            in_id=True,
            advice="GPUs that take part",
        ),
        msgspec.structs.replace(MEMORY, default=("device",), choices=("device",)),
        msgspec.structs.replace(
            EACH, advice="world size; the first rank drives all GPUs, the others sleep"
        ),
    )
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "bytes"
    pairwise = False
    profile = Profile(
        family="peer_copy", bound="between GPUs", hands_memory_to_mpi=False, rows="place"
    )

    def count_cases(self, ranks: int, gpus: int) -> int:
        """Every ordered pair of GPUs, at most."""
        del ranks
        return gpus * (gpus - 1)

    def each_case(self, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
        """Add `src_gpu`, `dst_gpu` or both."""
        for ends in _gpu_ends(axes):
            yield dict(sorted({**axes, **ends}.items()))

    def work(self, case: Case) -> Work:
        """All bytes that are copied."""
        total = whole(case, "bytes") * len(routes(case))
        return Work(
            bytes=total,
            bytes_per_rank=total if whole(case, "ranks") == 1 else None,
            bytes_total=total,
            rate_bytes=total,
        )

    def columns(self, case: Case) -> dict[str, Axis]:
        """Nothing beyond the axes."""
        return {}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why the first rank of a node cannot run the case, or None."""
        if not _drives(context):
            return None
        reason = context.memories.lacks("device")
        if reason is not None:
            return reason
        device = context.memories["device"]
        if not isinstance(device, DrivesGpus):
            return "the memory of this device knows no other GPUs"
        reason = device.lacks_gpus(whole(case, "gpus"))
        if reason is not None or word(case, "engine") != "kernel":
            return reason
        apart = [route for route in routes(case) if not device.let_reach(*route)]
        return f"GPU {apart[0][0]} and GPU {apart[0][1]} have no peer access" if apart else None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate sources and targets."""
        return _PeerCopies(case, context) if _drives(context) else _Asleep()


def _drives(context: Context) -> bool:
    """Return whether this rank drives the GPUs of its node: the first one there does."""
    ranks = context.communicator
    return ranks.nodes.index(ranks.nodes[ranks.rank]) == ranks.rank


def routes(case: Case) -> list[tuple[int, int]]:
    """Return the GPUs of source and target of each copy of a case."""
    gpus, pattern = range(whole(case, "gpus")), word(case, "pattern")
    if pattern == "pair":
        ways = [(whole(case, "src_gpu"), whole(case, "dst_gpu"))]
    elif pattern == "one_to_all":
        one = whole(case, "src_gpu")
        ways = [(one, other) for other in gpus if other != one]
    else:
        one = whole(case, "dst_gpu")
        ways = [(other, one) for other in gpus if other != one]
    back = [(target, source) for source, target in ways]
    return ways + back if word(case, "direction") == "bi" else ways


def _gpu_ends(axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
    """Return each pair, which both ways at once has no order, or each GPU that is the one."""
    gpus = range(int(axes["gpus"]))
    if axes["pattern"] == "pair":
        choose = itertools.permutations if axes["direction"] == "uni" else itertools.combinations
        for source, target in choose(gpus, 2):
            yield {"src_gpu": source, "dst_gpu": target}
    else:
        end = "src_gpu" if axes["pattern"] == "one_to_all" else "dst_gpu"
        for one in gpus:
            yield {end: one}


class _PeerCopies:
    idle = False
    sleeps = True
    overhead_s = None

    def __init__(self, case: Case, context: Context) -> None:
        device = context.memories["device"]
        if not isinstance(device, DrivesGpus):
            raise RuntimeError("a copy between GPUs was prepared without them")
        nbytes, writes = whole(case, "bytes"), word(case, "access") == "write"
        ways = routes(case)
        reached = [device.let_reach(*way) for way in ways]
        # One that is read by all at once is one buffer; of several sources each has its place.
        sources = {
            gpu: device.on_gpu(gpu).allocate(nbytes) for gpu in {source for source, _ in ways}
        }
        used = (device.on_gpu(gpu) for gpu in sorted({gpu for way in ways for gpu in way}))
        self.gpus = tuple(memory.pci_address for memory in used if isinstance(memory, KnowsSlot))
        self._moves = [
            Move(
                device.on_gpu(target).allocate(nbytes),
                sources[source],
                source if writes else target,
                not reach,
            )
            for (source, target), reach in zip(ways, reached, strict=True)
        ]
        self._timed = device.open_copies([m.transfer() for m in self._moves], word(case, "engine"))
        self.timing_layer = DEVICE_EVENTS if self._timed.held else NOT_HELD
        self.least_sample = self._timed.least_sample
        self.params: dict[str, Axis] = {
            "peer_access": _access_text(reached),
            **describe_timing(self._timed),
        }

    def run(self, seconds: Seconds, loops: int) -> None:
        for sample in range(len(seconds)):
            seconds[sample] = self._timed.time(loops)

    def verify(self, seed: int) -> Checked:
        return verify_moves(self._moves, lambda: self.run(one_sample(), 1), seed)


def _access_text(reached: list[bool]) -> str:
    if all(reached):
        return "yes"
    return "some" if any(reached) else "no"


class _Asleep:
    """A rank beside the first one of its node."""

    idle = True
    timing_layer = DEVICE_EVENTS
    overhead_s = None

    def __init__(self) -> None:
        self.params: dict[str, Axis] = {}

    def run(self, seconds: Seconds, loops: int) -> None:
        raise RuntimeError("a rank that takes no part was asked to copy")

    def verify(self, seed: int) -> Checked:
        return Checked(0, 0)


BENCHMARKS: tuple[Measurement, ...] = (PeerCopy(),)
