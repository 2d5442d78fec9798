"""A schedule: what one rank does, call by call, so that no benchmark needs a loop of its own.

A measurement writes down the sends, receives, copies and collective calls of one operation; a
timing layer follows them, between `begin` and `end` with the clock running. A table of integers
can be followed by compiled code, 1 to 3 ns a step.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TYPES = ("byte", "fp32", "fp64")
"""Types of the elements that collective calls count, by their number in a step."""
COPY_FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_void_p,
)
"""memcpyAsync(target, source, bytes, kind, stream) of a GPU's runtime."""
SYNCHRONIZE_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
"""streamSynchronize(stream)."""
ANY_DIRECTION = 4
"""cudaMemcpyDefault and hipMemcpyDefault: the addresses themselves show where they lie."""
MOST_QUEUED = 2**14
"""Copies that a device made of host memory holds between two synchronisations."""
OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation: what it answers to one more."""
POISON_BYTES = 4096
"""One byte of so many, and the last one, is poisoned in the target of a queued copy."""


class Code(IntEnum):
    """What a step calls."""

    BEGIN = 0
    END = 1
    STAMP = 2
    SEND = 3
    RECV = 4
    ISEND = 5
    IRECV = 6
    WAITALL = 7
    COPY = 8
    SYNCHRONIZE = 9
    ADD = 10
    BARRIER = 11
    ALLREDUCE = 12
    REDUCE_SCATTER = 13
    ALLGATHER = 14
    ALLTOALL = 15
    BROADCAST = 16
    SCATTER = 17
    GATHER = 18
    TEST = 19


class DeviceCopies(NamedTuple):
    """How data moves to and from a device: C functions with the signatures of the CUDA runtime."""

    copy: int
    """Address of memcpyAsync(target, source, bytes, kind, stream)."""
    synchronize: int
    """Address of streamSynchronize(stream)."""
    stream: int


class Steps(NamedTuple):
    """What was written down, for a timing layer."""

    table: NDArray[np.int64]
    """One row a step: code and up to five arguments, zeros after them."""
    requests: int
    """Most requests that are open at a time."""
    stamps: int
    """Moments that are noted, after the clock began."""


class Schedule:
    """Writes the steps of one rank down, in order. Addresses and sizes are of bytes."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, ...]] = []
        self._open = 0
        self._most_open = 1
        self._stamps = 0

    def begin(self) -> None:
        """Start the clock; what came before is not timed."""
        self._add(Code.BEGIN)

    def end(self) -> None:
        """Stop the clock."""
        self._add(Code.END)

    def stamp(self) -> None:
        """Note the time since the clock began."""
        self._add(Code.STAMP, self._stamps)
        self._stamps += 1

    def send(self, address: int, nbytes: int, peer: int) -> None:
        """Send a message, and go on when its buffer may be used again."""
        self._add(Code.SEND, address, nbytes, peer)

    def receive(self, address: int, nbytes: int, peer: int) -> None:
        """Wait for a message."""
        self._add(Code.RECV, address, nbytes, peer)

    def start_send(self, address: int, nbytes: int, peer: int) -> None:
        """Have a message sent while the rank goes on."""
        self._add(Code.ISEND, address, nbytes, peer, self._request())

    def start_receive(self, address: int, nbytes: int, peer: int) -> None:
        """Have a message received while the rank goes on."""
        self._add(Code.IRECV, address, nbytes, peer, self._request())

    def wait(self) -> None:
        """Wait for every message that was started."""
        if self._open:
            self._add(Code.WAITALL, 0, self._open)
        self._open = 0

    def test(self) -> None:
        """Let the library carry on with the messages that were started, without waiting."""
        if self._open:
            self._add(Code.TEST, 0, self._open)

    def wait_for(self, first: int, count: int) -> None:
        """Wait for some of the messages that were started, counted from 0 in their order.

        They stay open until `wait`, which finds them done.
        """
        if count:
            self._add(Code.WAITALL, first, count)

    def exchange(
        self, send: int, send_nbytes: int, target: int, receive: int, nbytes: int, source: int
    ) -> None:
        """Send one message and receive another at the same time."""
        self.start_receive(receive, nbytes, source)
        self.start_send(send, send_nbytes, target)
        self.wait()

    def copy(self, device: DeviceCopies, target: int, source: int, nbytes: int) -> None:
        """Queue a copy on a device's stream; it is done only after `synchronize`."""
        self._add(Code.COPY, target, source, nbytes, device.copy, device.stream)

    def synchronize(self, device: DeviceCopies) -> None:
        """Wait until all that was queued is done."""
        self._add(Code.SYNCHRONIZE, device.synchronize, device.stream)

    def add(self, target: int, source: int, count: int, dtype: str) -> None:
        """Add numbers in host memory to others there (MPI_Reduce_local)."""
        self._add(Code.ADD, source, target, count, TYPES.index(dtype))

    def meet(self, rank: int, ranks: int) -> None:
        """Let no rank go on before all have come, in log2(ranks) rounds (dissemination).

        An MPI library's own barrier may let ranks go far apart, and the time of a collective would
        hold the difference (Hunold and Carpen-Amarie, 2016).
        """
        self.meet_among(range(ranks), rank)

    def meet_among(self, members: Sequence[int], rank: int) -> None:
        """Let no rank of these go on before all of them have come; `rank` is one of them."""
        own, count = members.index(rank), len(members)
        distance = 1
        while distance < count:
            target = members[(own + distance) % count]
            self.exchange(0, 0, target, 0, 0, members[(own - distance) % count])
            distance *= 2

    def barrier(self) -> None:
        """Call the library's barrier."""
        self._add(Code.BARRIER)

    def allreduce(self, send: int, receive: int, count: int, dtype: str) -> None:
        """Sum `count` numbers over all ranks, for all of them."""
        self._add(Code.ALLREDUCE, send, receive, count, TYPES.index(dtype))

    def reduce_scatter(self, send: int, receive: int, count: int, dtype: str) -> None:
        """Sum ranks times `count` numbers; every rank receives `count` of them."""
        self._add(Code.REDUCE_SCATTER, send, receive, count, TYPES.index(dtype))

    def allgather(self, send: int, receive: int, nbytes: int) -> None:
        """Give `nbytes` of every rank to all of them."""
        self._add(Code.ALLGATHER, send, receive, nbytes)

    def alltoall(self, send: int, receive: int, nbytes: int) -> None:
        """Send `nbytes` from every rank to every other one."""
        self._add(Code.ALLTOALL, send, receive, nbytes)

    def broadcast(self, address: int, nbytes: int, root: int) -> None:
        """Give the root's bytes to all ranks."""
        self._add(Code.BROADCAST, address, nbytes, root)

    def scatter(self, send: int, receive: int, nbytes: int, root: int) -> None:
        """Give every rank its `nbytes` of the root's."""
        self._add(Code.SCATTER, send, receive, nbytes, root)

    def gather(self, send: int, receive: int, nbytes: int, root: int) -> None:
        """Give the root `nbytes` of every rank."""
        self._add(Code.GATHER, send, receive, nbytes, root)

    def cut(self) -> Steps:
        """Return what was written down since the last cut; open requests stay open.

        Between two cuts a rank can compute while its messages are on their way.
        """
        table = np.zeros((len(self._rows), 6), np.int64)
        for row, values in zip(table, self._rows, strict=True):
            row[: len(values)] = values
        self._rows.clear()
        return Steps(table, self._most_open, self._stamps)

    def _request(self) -> int:
        """Return the number of the request that a step opens."""
        self._open += 1
        self._most_open = max(self._most_open, self._open)
        return self._open - 1

    def _add(self, code: Code, *arguments: int) -> None:
        self._rows.append((code, *arguments))
