"""Timing loops compiled to native code: no interpreter between two operations of a sample.

MPI handles are 4-byte integers in MPICH's ABI and 8 bytes in Open MPI and the standard ABI of
MPI 5: the integer type of the handle arguments selects the compiled variant.
"""

import ctypes
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bench.contracts import KERNELS, STREAM_SCALAR, Peer, Seconds, Slots
from bench.core.schedule import Schedule, Steps
from bench.rank.timing.follow import follow
from bench.rank.timing.mpi_calls import (
    TAG,
    Calls,
    Handles,
    address_of,
    call,
    now_ns,
    room_for_statuses,
    succeed,
)

NAME = "numba"


@njit(cache=True, nogil=True)
def _pingpong(
    seconds: Any,
    loops: int,
    mpi: Any,
    byte: Any,
    world: Any,
    send: int,
    receive: int,
    nbytes: int,
    peer: int,
    leads: bool,
    status: Any,
) -> int:
    timespec = np.zeros(2, np.int64)
    at = status.ctypes.data
    count, other = np.int32(nbytes), np.int32(peer)
    error = 0
    for sample in range(len(seconds)):
        begin = now_ns(mpi.clock, timespec)
        if leads:
            for _ in range(loops):
                error += (error == 0) * call(mpi.send, (send, count, byte, other, TAG, world))
                error += (error == 0) * call(
                    mpi.recv, (receive, count, byte, other, TAG, world, at)
                )
        else:
            for _ in range(loops):
                error += (error == 0) * call(
                    mpi.recv, (receive, count, byte, other, TAG, world, at)
                )
                error += (error == 0) * call(mpi.send, (send, count, byte, other, TAG, world))
        seconds[sample] = (now_ns(mpi.clock, timespec) - begin) * 1e-9 / loops / 2
    return error


@njit(cache=True, nogil=True)
def _window(
    seconds: Any,
    loops: int,
    mpi: Any,
    byte: Any,
    world: Any,
    buffer: int,
    nbytes: int,
    stride: int,
    window: int,
    peer: int,
    leads: bool,
    requests: Any,
    statuses: Any,
) -> int:
    timespec = np.zeros(2, np.int64)
    at = statuses.ctypes.data
    count, other, none, length = np.int32(nbytes), np.int32(peer), np.int32(0), np.int32(window)
    first = requests.ctypes.data
    handle = requests.itemsize
    error = 0
    for sample in range(len(seconds)):
        begin = now_ns(mpi.clock, timespec)
        for _ in range(loops):
            for i in range(window):
                slot = (buffer + i * stride, count, byte, other, TAG, world, first + i * handle)
                if leads:
                    error += (error == 0) * call(mpi.isend, slot)
                else:
                    error += (error == 0) * call(mpi.irecv, slot)
            error += (error == 0) * call(mpi.waitall, (length, first, at))
            if leads:
                error += (error == 0) * call(mpi.recv, (buffer, none, byte, other, TAG, world, at))
            else:
                error += (error == 0) * call(mpi.send, (buffer, none, byte, other, TAG, world))
        seconds[sample] = (now_ns(mpi.clock, timespec) - begin) * 1e-9 / loops / window
    return error


@njit(cache=True, nogil=True)
def _exchange_window(
    seconds: Any,
    loops: int,
    mpi: Any,
    byte: Any,
    world: Any,
    send: int,
    receive: int,
    nbytes: int,
    stride: int,
    window: int,
    peer: int,
    requests: Any,
    statuses: Any,
) -> int:
    timespec = np.zeros(2, np.int64)
    at = statuses.ctypes.data
    count, other, length = np.int32(nbytes), np.int32(peer), np.int32(2 * window)
    first = requests.ctypes.data
    handle = requests.itemsize
    error = 0
    for sample in range(len(seconds)):
        begin = now_ns(mpi.clock, timespec)
        for _ in range(loops):
            for i in range(window):
                slot = receive + i * stride
                request = first + i * handle
                error += (error == 0) * call(
                    mpi.irecv, (slot, count, byte, other, TAG, world, request)
                )
            for i in range(window):
                slot = send + i * stride
                request = first + (window + i) * handle
                error += (error == 0) * call(
                    mpi.isend, (slot, count, byte, other, TAG, world, request)
                )
            error += (error == 0) * call(mpi.waitall, (length, first, at))
        seconds[sample] = (now_ns(mpi.clock, timespec) - begin) * 1e-9 / loops / window
    return error


@njit(cache=True, nogil=True)
def _copy(
    seconds: Any, loops: int, clock: int, memmove: int, target: int, source: int, nbytes: int
) -> None:
    timespec = np.zeros(2, np.int64)
    for sample in range(len(seconds)):
        begin = now_ns(clock, timespec)
        for _ in range(loops):
            call(memmove, (target, source, nbytes))
        seconds[sample] = (now_ns(clock, timespec) - begin) * 1e-9 / loops


@njit(cache=True, nogil=True)
def _kernel(
    seconds: Any, loops: int, clock: int, kernel: int, a: Any, b: Any, c: Any, q: float
) -> None:
    timespec = np.zeros(2, np.int64)
    for sample in range(len(seconds)):
        begin = now_ns(clock, timespec)
        for _ in range(loops):
            if kernel == 0:
                for i in range(len(a)):
                    c[i] = a[i]
            elif kernel == 1:
                for i in range(len(a)):
                    b[i] = q * c[i]
            elif kernel == 2:
                for i in range(len(a)):
                    c[i] = a[i] + b[i]
            else:
                for i in range(len(a)):
                    a[i] = b[i] + q * c[i]
        seconds[sample] = (now_ns(clock, timespec) - begin) * 1e-9 / loops


NO_SAMPLES: Seconds = np.empty(0)
"""A loop called with no samples is compiled, or read from the cache, and calls nothing."""


class NativeMessageLoops:
    """Message loops over the MPI library that this process has loaded.

    Args:
        calls: addresses of the functions.
        handles: of the communicator, the types and the operation.
    """

    name = NAME
    overhead_s = None

    def __init__(self, calls: Calls, handles: Handles) -> None:
        self._calls = calls
        self._handle = np.int32 if handles.nbytes == 4 else np.int64
        self._world = self._handle(handles.world)
        self._byte = self._handle(handles.byte)
        self._kinds = np.array([handles.byte, handles.fp32, handles.fp64], self._handle)
        self._total = self._handle(handles.total)
        nobody = Peer(0, True)
        self.pingpong(NO_SAMPLES, 1, 0, 0, 0, nobody)
        nowhere = Slots(0, 0, 0, 1)
        self.window(NO_SAMPLES, 1, nowhere, nobody)
        self.exchange_window(NO_SAMPLES, 1, nowhere, nowhere, nobody)
        self.follow(NO_SAMPLES, 1, Schedule().cut())

    def pingpong(
        self, seconds: Seconds, loops: int, send: int, receive: int, nbytes: int, peer: Peer
    ) -> None:
        """Time half a round trip of one message."""
        succeed(
            _pingpong(
                seconds,
                loops,
                self._calls,
                self._byte,
                self._world,
                send,
                receive,
                nbytes,
                peer.rank,
                peer.leads,
                room_for_statuses(1),
            )
        )

    def window(self, seconds: Seconds, loops: int, slots: Slots, peer: Peer) -> None:
        """Time messages from the leader, all in flight, and one reply; per message."""
        succeed(
            _window(
                seconds,
                loops,
                self._calls,
                self._byte,
                self._world,
                *slots,
                peer.rank,
                peer.leads,
                np.zeros(slots.window, self._handle),
                room_for_statuses(slots.window),
            )
        )

    def exchange_window(
        self, seconds: Seconds, loops: int, send: Slots, receive: Slots, peer: Peer
    ) -> None:
        """Time messages each way at once, as many as each side has slots; per pair of messages."""
        succeed(
            _exchange_window(
                seconds,
                loops,
                self._calls,
                self._byte,
                self._world,
                send.address,
                *receive,
                peer.rank,
                np.zeros(2 * receive.window, self._handle),
                room_for_statuses(2 * receive.window),
            )
        )

    def requests(self, count: int) -> NDArray[Any]:
        """Return room for the handles of `count` open requests."""
        return np.zeros(max(1, count), self._handle)

    def follow(
        self,
        seconds: Seconds,
        loops: int,
        steps: Steps,
        requests: NDArray[Any] | None = None,
        stamps: NDArray[np.float64] | None = None,
    ) -> None:
        """Time the steps of this rank between their `begin` and `end`."""
        succeed(
            follow(
                seconds,
                np.empty((len(seconds), steps.stamps)) if stamps is None else stamps,
                loops,
                self._calls,
                self._kinds,
                self._world,
                self._total,
                steps.table,
                self.requests(steps.requests) if requests is None else requests,
                room_for_statuses(steps.requests + 1),
            )
        )


class NativeMemoryLoops:
    """Copies by the C library and STREAM kernels compiled here."""

    name = NAME
    overhead_s = None

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._clock = address_of(libc, "clock_gettime")
        self._memmove = address_of(libc, "memmove")
        nothing = np.empty(0)
        self.copy(NO_SAMPLES, 1, 0, 0, 0)
        self.kernel(NO_SAMPLES, 1, KERNELS[0], (nothing, nothing, nothing))

    def copy(self, seconds: Seconds, loops: int, target: int, source: int, nbytes: int) -> None:
        """Time one copy of `nbytes` by the C library."""
        _copy(seconds, loops, self._clock, self._memmove, target, source, nbytes)

    def kernel(
        self,
        seconds: Seconds,
        loops: int,
        kernel: str,
        arrays: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    ) -> None:
        """Time one STREAM kernel over arrays a, b, c."""
        _kernel(seconds, loops, self._clock, KERNELS.index(kernel), *arrays, STREAM_SCALAR)
