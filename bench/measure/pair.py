"""What the benchmarks between two ranks share: the pair, its buffers, and their verification."""

from bench.contracts import (
    Buffer,
    Checked,
    Context,
    KnowsSlot,
    Peer,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case
from bench.core.schedule import Schedule, Steps
from bench.measure.axes import DEVICE_KINDS, memory_key, shares_buffer, whole, word
from bench.measure.library import by_nccl, library_facts, open_library, refuse_nccl, share_of_host
from bench.measure.staging import (
    MOST_PIECES,
    Lane,
    carry_in_chunks,
    carry_whole,
)

MOST_IN_FLIGHT = 64 * 2**20
"""Bytes of one window; more in flight raises no rate, but needs its own buffers on both sides."""


def window_size(case: Case) -> int:
    """Return the messages in flight: what the suite asks for, as far as their buffers fit."""
    if shares_buffer(case):
        return whole(case, "window")
    return max(1, min(whole(case, "window"), MOST_IN_FLIGHT // whole(case, "bytes")))


def unsupported_pair(case: Case, context: Context) -> str | None:
    """Return why two ranks cannot exchange these messages, or None."""
    if context.message_loops is None:
        return "needs MPI: it passes messages between two ranks"
    if by_nccl(case):
        return refuse_nccl(context, {*end_memories(case)})
    world = context.communicator
    for rank, kind in zip(pair_ranks(case, world.size), end_memories(case), strict=True):
        for key in (memory_key(case, kind), staging_key(case, kind)):
            reason = context.memories.lacks(key) if key and rank == world.rank else None
            if reason is not None:
                return reason
    return _unsupported_path(case)


def _unsupported_path(case: Case) -> str | None:
    path, kinds = word(case, "path"), {*end_memories(case)}
    if path != "direct" and not DEVICE_KINDS & kinds:
        there = " and ".join(sorted(kinds))
        return f"path {path} means a copy out of device memory; this is {there} memory"
    if path == "pipelined":
        count = window_size(case) if "window" in case.axes else 1
        pieces = count * -(-whole(case, "bytes") // whole(case, "chunk"))
        if pieces > MOST_PIECES:
            return f"chunks so small that {pieces} are in flight; at most {MOST_PIECES} are"
    return None


def pair_ranks(case: Case, ranks: int) -> tuple[int, int]:
    """Return the ranks that send first and last: those that the case names, or the outermost."""
    if case.axes.get("between") == "neighbours":
        return 0, 1
    return int(case.axes.get("src_rank", 0)), int(case.axes.get("dst_rank", ranks - 1))


def end_memories(case: Case) -> tuple[str, str]:
    """Return the kinds of memory at the rank that sends first and at the other one."""
    source = word(case, "memory")
    return source, str(case.axes.get("dst_memory", source))


def staging_key(case: Case, kind: str) -> str | None:
    """Return the name of the host memory that a kind of memory passes through; None for none.

    A GPU copies at full rate to and from locked pages alone.
    """
    if word(case, "path") in ("direct", "nccl") or kind not in DEVICE_KINDS:
        return None
    return memory_key(case, "pinned" if kind == "device" else "host")


class PairOperation:
    """Base of the operations between two ranks of the job: the first and the last, or a case's."""

    overhead_s: float | None

    def __init__(self, case: Case, context: Context) -> None:
        world = context.communicator
        self.loops = context.need_message_loops()
        self._follows = open_library(case, context)
        self.timing_layer = self._follows.name
        self.overhead_s = self._follows.overhead_s
        self.nbytes = whole(case, "bytes")
        self.rank = world.rank
        first, last = pair_ranks(case, world.size)
        self.idle = world.rank not in (first, last)
        self.peer = Peer(last if world.rank == first else first, world.rank == first)
        self.params: dict[str, Axis] = {**library_facts(case, context)}
        self.direct = word(case, "path") == "direct"
        self._shared = shares_buffer(case)
        self._chunk = whole(case, "chunk") if word(case, "path") == "pipelined" else None
        kind = end_memories(case)[not self.peer.leads]
        self._memory = context.memories["host" if self.idle else memory_key(case, kind)]
        slot = self._memory.pci_address if isinstance(self._memory, KnowsSlot) else None
        self.gpus = () if slot is None else (slot,)
        key = None if self.idle else staging_key(case, kind)
        self._host = context.memories[key] if key else None

    @property
    def host_share(self) -> float | None:
        """Of the time of one operation, that in which the host queued calls of a GPU's library."""
        return share_of_host(self._follows)

    def lane(self, count: int = 1) -> Lane:
        """Return room for messages of one direction, small on ranks that take no part."""
        if self.idle:
            return Lane(self._memory, None, 1)
        return Lane(self._memory, self._host, self.nbytes, count, self._chunk, self._shared)

    def carry(self, schedule: Schedule, out: Lane | None, into: Lane | None) -> None:
        """Write down messages, by way of the host where there is one between."""
        carry = carry_whole if self._chunk is None else carry_in_chunks
        carry(schedule, out, into, self.peer.rank)

    def follow(self, seconds: Seconds, loops: int, steps: Steps) -> None:
        """Time messages that were written down, by the library that the case asks for."""
        self._follows.follow(seconds, loops, steps)

    def check(self, seed: int, send: Buffer | None, receive: Buffer | None) -> Checked:
        """Fill what this rank sends, poison what it receives, run once, compare what arrived."""
        if send is not None:
            send.fill(2 * seed + self.peer.leads)
        if receive is not None:
            receive.poison(2 * seed + (not self.peer.leads))
        self.run(one_sample(), 1)
        if receive is None:
            return Checked(0, 0)
        return Checked(receive.nbytes, receive.count_wrong(2 * seed + (not self.peer.leads)))

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with one time per operation."""
        raise NotImplementedError
