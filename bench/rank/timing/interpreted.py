"""Timing loops without a compiler: the interpreter is inside the sample, and rows name that layer.

Each class measures what it adds to one operation. Nothing is subtracted from a measurement.
"""

import ctypes
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contracts import STREAM_SCALAR, Peer, Seconds, Slots
from bench.core.schedule import (
    ANY_DIRECTION,
    COPY_FUNCTION,
    MOST_QUEUED,
    OUT_OF_MEMORY,
    POISON_BYTES,
    SYNCHRONIZE_FUNCTION,
    Code,
    DeviceCopies,
    Steps,
)

_TAG = 7
_OVERHEAD_SAMPLES = 101
_OVERHEAD_LOOPS = 100


class Mpi4pyMessageLoops:
    """Message loops that call mpi4py for every message.

    Args:
        mpi: the `mpi4py.MPI` module.
    """

    name = "mpi4py"

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._world = mpi.COMM_WORLD
        self.overhead_s = self._measure_overhead()

    def pingpong(
        self, seconds: Seconds, loops: int, send: int, receive: int, nbytes: int, peer: Peer
    ) -> None:
        """Time half a round trip of one message."""
        outgoing, incoming = self._message(send, nbytes), self._message(receive, nbytes)
        world, other = self._world, peer.rank
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            if peer.leads:
                for _ in range(loops):
                    world.Send(outgoing, other, _TAG)
                    world.Recv(incoming, other, _TAG)
            else:
                for _ in range(loops):
                    world.Recv(incoming, other, _TAG)
                    world.Send(outgoing, other, _TAG)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops / 2

    def window(self, seconds: Seconds, loops: int, slots: Slots, peer: Peer) -> None:
        """Time messages from the leader, all in flight, and one reply; per message."""
        messages, reply = self._messages(slots), self._message(slots.address, 0)
        world, other, wait = self._world, peer.rank, self._mpi.Request.Waitall
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                if peer.leads:
                    wait([world.Isend(message, other, _TAG) for message in messages])
                    world.Recv(reply, other, _TAG)
                else:
                    wait([world.Irecv(message, other, _TAG) for message in messages])
                    world.Send(reply, other, _TAG)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops / slots.window

    def exchange_window(
        self, seconds: Seconds, loops: int, send: Slots, receive: Slots, peer: Peer
    ) -> None:
        """Time messages each way at once, as many as each side has slots; per pair of messages."""
        outgoing, incoming = self._messages(send), self._messages(receive)
        world, other = self._world, peer.rank
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                requests = [world.Irecv(message, other, _TAG) for message in incoming]
                requests += [world.Isend(message, other, _TAG) for message in outgoing]
                self._mpi.Request.Waitall(requests)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops / send.window

    def requests(self, count: int) -> NDArray[Any]:
        """Return room for `count` open requests."""
        return np.full(max(1, count), None, dtype=object)

    def follow(
        self,
        seconds: Seconds,
        loops: int,
        steps: Steps,
        requests: NDArray[Any] | None = None,
        stamps: NDArray[np.float64] | None = None,
    ) -> None:
        """Time the steps of this rank between their `begin` and `end`."""
        room = self.requests(steps.requests) if requests is None else requests
        noted = np.empty((len(seconds), steps.stamps)) if stamps is None else stamps
        actions = [
            (Code(int(code)), self._action(Code(int(code)), rest, room))
            for code, *rest in steps.table.tolist()
        ]
        for sample in range(len(seconds)):
            noted[sample] = 0.0
            passed = begin = 0
            for _ in range(loops):
                stamp = 0
                for code, act in actions:
                    if code is Code.BEGIN:
                        begin = time.perf_counter_ns()
                    elif code is Code.END:
                        passed += time.perf_counter_ns() - begin
                    elif code is Code.STAMP:
                        noted[sample, stamp] += (time.perf_counter_ns() - begin) * 1e-9 / loops
                        stamp += 1
                    else:
                        act()
            seconds[sample] = passed * 1e-9 / loops

    def _action(self, code: Code, operands: list[int], room: NDArray[Any]) -> Callable[[], object]:
        """Return what one step calls, with its buffers parsed."""
        a, b, c, d, e = operands
        world, mpi = self._world, self._mpi
        if code in (Code.SEND, Code.RECV):
            message = self._message(a, b)
            call = world.Send if code is Code.SEND else world.Recv
            return lambda: call(message, c, _TAG)
        if code in (Code.ISEND, Code.IRECV):
            message = self._message(a, b)
            start = world.Isend if code is Code.ISEND else world.Irecv

            def begin_message() -> None:
                room[d] = start(message, c, _TAG)

            return begin_message
        if code is Code.WAITALL:
            return lambda: mpi.Request.Waitall(list(room[a : a + b]))
        if code is Code.TEST:
            return lambda: mpi.Request.Testall(list(room[a : a + b]))
        if code is Code.COPY:
            copy = COPY_FUNCTION(d)
            return lambda: _refuse_error(copy(a, b, c, ANY_DIRECTION, e))
        if code is Code.SYNCHRONIZE:
            synchronize = SYNCHRONIZE_FUNCTION(a)
            return lambda: _refuse_error(synchronize(b))
        return self._collective(code, a, b, c, d)

    def _collective(self, code: Code, a: int, b: int, c: int, d: int) -> Callable[[], object]:
        world, total = self._world, self._mpi.SUM
        size = world.Get_size()
        if code in (Code.ADD, Code.ALLREDUCE, Code.REDUCE_SCATTER):
            kind = (self._mpi.BYTE, self._mpi.FLOAT, self._mpi.DOUBLE)[d]
            given, gained = self._numbers(a, c, kind), self._numbers(b, c, kind)
            if code is Code.ADD:
                return lambda: total.Reduce_local(given, gained)
            if code is Code.ALLREDUCE:
                return lambda: world.Allreduce(given, gained, total)
            # mpi4py, too, names the count of one rank; the library reads one from each.
            return lambda: world.Reduce_scatter_block(given, gained, total)
        if code is Code.BROADCAST:
            message = self._message(a, b)
            return lambda: world.Bcast(message, c)
        if code is Code.BARRIER:
            return lambda: world.Barrier()
        if code is Code.ALLTOALL:
            given, gained = self._parts(a, c, size), self._parts(b, c, size)
            return lambda: world.Alltoall(given, gained)
        if code is Code.SCATTER:
            given, gained = self._parts(a, c, size), self._parts(b, c, 1)
            return lambda: world.Scatter(given if world.Get_rank() == d else None, gained, d)
        given, gained = self._parts(a, c, 1), self._parts(b, c, size)
        if code is Code.GATHER:
            return lambda: world.Gather(given, gained if world.Get_rank() == d else None, d)
        return lambda: world.Allgather(given, gained)

    def _parts(self, address: int, nbytes: int, parts: int) -> list[Any]:
        """Return a buffer of `parts` times `nbytes`, of which one call moves one part each."""
        return [self._mpi.buffer.fromaddress(address, nbytes * parts), nbytes, self._mpi.BYTE]

    def _numbers(self, address: int, count: int, kind: Any) -> list[Any]:
        where = self._mpi.buffer.fromaddress(address, count * kind.Get_size())
        return [where, count, kind]

    def _messages(self, slots: Slots) -> list[list[Any]]:
        return [self._message(slots.at(number), slots.nbytes) for number in range(slots.window)]

    def _message(self, address: int, nbytes: int) -> list[Any]:
        return [self._mpi.buffer.fromaddress(address, nbytes), nbytes, self._mpi.BYTE]

    def _measure_overhead(self) -> float:
        """Return the seconds of a local reduction of one byte.

        It parses two buffers and calls MPI once, as the send and the receive of half a round trip
        do together. (A message to MPI_PROC_NULL would skip the parsing, and show too little.)
        """
        one, two = self._message_of(np.ones(1, np.uint8)), self._message_of(np.ones(1, np.uint8))
        times = []
        for _ in range(_OVERHEAD_SAMPLES):
            begin = time.perf_counter_ns()
            for _ in range(_OVERHEAD_LOOPS):
                self._mpi.BAND.Reduce_local(one, two)
            times.append((time.perf_counter_ns() - begin) * 1e-9 / _OVERHEAD_LOOPS)
        return median(times)

    def _message_of(self, array: NDArray[np.uint8]) -> list[Any]:
        return [array, array.nbytes, self._mpi.BYTE]


class InterpretedQueue:
    """The queue of a device made of host memory, as functions that ctypes calls."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int]] = []
        # Held here: the addresses are of these objects.
        self._functions = (COPY_FUNCTION(self._copy), SYNCHRONIZE_FUNCTION(self._synchronize))
        copy, synchronize = (ctypes.cast(f, ctypes.c_void_p).value for f in self._functions)
        self.copies = DeviceCopies(copy or 0, synchronize or 0, 0)

    @property
    def queued(self) -> int:
        """Copies that wait to be executed."""
        return len(self._waiting)

    def _copy(self, target: int, source: int, nbytes: int, _kind: int, _stream: int) -> int:
        """Queue a copy; its target is wrong until the copy is executed."""
        if len(self._waiting) == MOST_QUEUED:
            return OUT_OF_MEMORY
        self._waiting.append((target, source, nbytes))
        for offset in {*range(0, nbytes, POISON_BYTES), nbytes - 1} if nbytes else ():
            came = ctypes.c_uint8.from_address(source + offset).value
            ctypes.c_uint8.from_address(target + offset).value = ~came & 0xFF
        return 0

    def _synchronize(self, _stream: int) -> int:
        """Execute all that is queued, in order."""
        for copy in self._waiting:
            ctypes.memmove(*copy)
        self._waiting.clear()
        return 0


class NumpyMemoryLoops:
    """Copies through ctypes and STREAM kernels as NumPy calls."""

    name = "numpy"

    def __init__(self) -> None:
        one = np.zeros(64, np.uint8)
        samples = np.empty(_OVERHEAD_SAMPLES)
        # A copy of nothing costs the call alone.
        self.copy(samples, _OVERHEAD_LOOPS, one.ctypes.data, one.ctypes.data, 0)
        self.overhead_s = float(np.median(samples))

    def copy(self, seconds: Seconds, loops: int, target: int, source: int, nbytes: int) -> None:
        """Time one copy of `nbytes` by the C library."""
        move = ctypes.memmove
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                move(target, source, nbytes)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops

    def kernel(
        self,
        seconds: Seconds,
        loops: int,
        kernel: str,
        arrays: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    ) -> None:
        """Time one STREAM kernel over arrays a, b, c; triad passes over its target twice."""
        once = _KERNELS[kernel]
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                once(*arrays)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops


Array = NDArray[np.float64]


def _copy(a: Array, _b: Array, c: Array) -> None:
    np.copyto(c, a)


def _scale(_a: Array, b: Array, c: Array) -> None:
    np.multiply(c, STREAM_SCALAR, out=b)


def _add(a: Array, b: Array, c: Array) -> None:
    np.add(a, b, out=c)


def _triad(a: Array, b: Array, c: Array) -> None:
    np.multiply(c, STREAM_SCALAR, out=a)
    np.add(a, b, out=a)


_KERNELS = {"copy": _copy, "scale": _scale, "add": _add, "triad": _triad}


def _refuse_error(error: int) -> None:
    if error:
        raise RuntimeError(f"a call to a device returned error {error}")
