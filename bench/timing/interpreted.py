"""Timing loops without a compiler: the interpreter is inside the sample, and the rows say so.

Each class measures what it adds to one operation. Nothing is subtracted from a measurement.
"""

import ctypes
import time
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contracts import STREAM_SCALAR, Member, Peer, Seconds

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

    def window(
        self, seconds: Seconds, loops: int, buffer: int, nbytes: int, window: int, peer: Peer
    ) -> None:
        """Time `window` messages from the leader, all in flight, and one reply; per message."""
        slots = [self._message(buffer + i * nbytes, nbytes) for i in range(window)]
        reply = self._message(buffer, 0)
        world, other, wait = self._world, peer.rank, self._mpi.Request.Waitall
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                if peer.leads:
                    wait([world.Isend(slot, other, _TAG) for slot in slots])
                    world.Recv(reply, other, _TAG)
                else:
                    wait([world.Irecv(slot, other, _TAG) for slot in slots])
                    world.Send(reply, other, _TAG)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops / window

    def exchange_window(
        self,
        seconds: Seconds,
        loops: int,
        send: int,
        receive: int,
        nbytes: int,
        window: int,
        peer: Peer,
    ) -> None:
        """Time `window` messages each way at once; per pair of messages."""
        outgoing = [self._message(send + i * nbytes, nbytes) for i in range(window)]
        incoming = [self._message(receive + i * nbytes, nbytes) for i in range(window)]
        world, other = self._world, peer.rank
        for sample in range(len(seconds)):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                requests = [world.Irecv(slot, other, _TAG) for slot in incoming]
                requests += [world.Isend(slot, other, _TAG) for slot in outgoing]
                self._mpi.Request.Waitall(requests)
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops / window

    def allreduce(
        self,
        seconds: Seconds,
        loops: int,
        send: int,
        receive: int,
        count: int,
        dtype: str,
        member: Member,
    ) -> None:
        """Time one sum of `count` numbers over all ranks, on this rank alone."""
        kind = {"fp32": self._mpi.FLOAT, "fp64": self._mpi.DOUBLE}[dtype]
        at = self._mpi.buffer.fromaddress
        nbytes = count * kind.Get_size()
        outgoing, incoming = [at(send, nbytes), count, kind], [at(receive, nbytes), count, kind]
        world, total = self._world, self._mpi.SUM
        for sample in range(len(seconds)):
            passed = 0
            for _ in range(loops):
                self._barrier(member)
                begin = time.perf_counter_ns()
                world.Allreduce(outgoing, incoming, total)
                passed += time.perf_counter_ns() - begin
            seconds[sample] = passed * 1e-9 / loops

    def _barrier(self, member: Member) -> None:
        """Let no rank go on before all have come, as the native loops do."""
        nothing = self._message(0, 0)
        distance = 1
        while distance < member.ranks:
            source, target = member.rank - distance, member.rank + distance
            self._world.Sendrecv(
                nothing,
                target % member.ranks,
                _TAG,
                nothing,
                source % member.ranks,
                _TAG,
            )
            distance *= 2

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
