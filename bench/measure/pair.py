"""What the benchmarks between two ranks share: the pair, its buffers, and their verification."""

from bench.contracts import Buffer, Checked, Context, MessageLoops, Peer, Seconds, one_sample
from bench.measure.axes import whole, word
from bench.record import Axis, Case

MOST_IN_FLIGHT = 64 * 2**20
"""Bytes of one window; more in flight raises no rate, but needs its own buffers on both sides."""


def window_size(case: Case) -> int:
    """Return the messages in flight: what the suite asks for, as far as they fit."""
    return max(1, min(whole(case, "window"), MOST_IN_FLIGHT // whole(case, "bytes")))


def unsupported_pair(case: Case, context: Context) -> str | None:
    """Return why two ranks cannot exchange these messages, or None."""
    if context.message_loops is None:
        return "needs MPI: it passes messages between two ranks"
    memory = word(case, "memory")
    if memory not in context.memories:
        return f"no {memory} memory here: it needs a GPU and CuPy"
    if word(case, "path") != "direct" and memory == "host":
        return f"path {word(case, 'path')} means a copy out of device memory; this is host memory"
    return None


def pair_ranks(case: Case, ranks: int) -> tuple[int, int]:
    """Return the ranks that send first and last: those that the case names, or the outermost."""
    return int(case.axes.get("src_rank", 0)), int(case.axes.get("dst_rank", ranks - 1))


class PairOperation:
    """Base of the operations between two ranks of the job: the first and the last, or a case's."""

    overhead_s: float | None

    def __init__(self, case: Case, context: Context) -> None:
        if context.message_loops is None:
            raise RuntimeError("a pair was prepared without MPI")
        world = context.communicator
        self.loops: MessageLoops = context.message_loops
        self.timing_layer = self.loops.name
        self.overhead_s = self.loops.overhead_s
        self.nbytes = whole(case, "bytes")
        self.rank = world.rank
        first, last = pair_ranks(case, world.size)
        self.idle = world.rank not in (first, last)
        self.peer = Peer(last if world.rank == first else first, world.rank == first)
        self.params: dict[str, Axis] = {"idle_ranks": world.size - 2} if world.size > 2 else {}
        self._memory = context.memories[word(case, "memory")]

    def allocate(self, nbytes: int) -> Buffer:
        """Return a buffer, small on ranks that take no part."""
        return self._memory.allocate(1 if self.idle else nbytes)

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
