"""Timing loops compiled to native code: no interpreter between two operations of a sample.

The loops call C functions by their addresses, which are arguments; compiled code therefore names
no address and can be cached (a ctypes function would be a global and compile anew each start).
MPI handles are 4-byte integers in MPICH's ABI and 8 bytes in Open MPI and the standard ABI of
MPI 5: the integer type of the handle arguments selects the compiled variant.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from bench.contracts import KERNELS, STREAM_SCALAR, Member, Peer, Seconds

NAME = "numba"

_STATUS_BYTES = 64
"""Room for one MPI_Status: 20 bytes in MPICH, 24 in Open MPI, 32 in the standard ABI."""
_TAG = np.int32(7)
_CLOCK_MONOTONIC = np.int32(1)


@intrinsic
def _call(_typing: Any, address: Any, arguments: Any) -> Any:
    """Call the C function at `address`, which returns int, with a tuple of arguments."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        pointer, packed = values
        unpacked = cgutils.unpack_tuple(builder, packed)
        kind = ir.FunctionType(ir.IntType(32), [value.type for value in unpacked])
        return builder.call(builder.inttoptr(pointer, kind.as_pointer()), unpacked)

    return types.int32(address, arguments), emit


@njit(cache=True, inline="always")
def _now_ns(clock: int, timespec: Any) -> int:
    _call(clock, (_CLOCK_MONOTONIC, timespec.ctypes.data))
    nanoseconds: int = timespec[0] * 1_000_000_000 + timespec[1]
    return nanoseconds


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
        begin = _now_ns(mpi.clock, timespec)
        if leads:
            for _ in range(loops):
                error |= _call(mpi.send, (send, count, byte, other, _TAG, world))
                error |= _call(mpi.recv, (receive, count, byte, other, _TAG, world, at))
        else:
            for _ in range(loops):
                error |= _call(mpi.recv, (receive, count, byte, other, _TAG, world, at))
                error |= _call(mpi.send, (send, count, byte, other, _TAG, world))
        seconds[sample] = (_now_ns(mpi.clock, timespec) - begin) * 1e-9 / loops / 2
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
        begin = _now_ns(mpi.clock, timespec)
        for _ in range(loops):
            for i in range(window):
                slot = (buffer + i * nbytes, count, byte, other, _TAG, world, first + i * handle)
                if leads:
                    error |= _call(mpi.isend, slot)
                else:
                    error |= _call(mpi.irecv, slot)
            error |= _call(mpi.waitall, (length, first, at))
            if leads:
                error |= _call(mpi.recv, (buffer, none, byte, other, _TAG, world, at))
            else:
                error |= _call(mpi.send, (buffer, none, byte, other, _TAG, world))
        seconds[sample] = (_now_ns(mpi.clock, timespec) - begin) * 1e-9 / loops / window
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
        begin = _now_ns(mpi.clock, timespec)
        for _ in range(loops):
            for i in range(window):
                slot = receive + i * nbytes
                request = first + i * handle
                error |= _call(mpi.irecv, (slot, count, byte, other, _TAG, world, request))
            for i in range(window):
                slot = send + i * nbytes
                request = first + (window + i) * handle
                error |= _call(mpi.isend, (slot, count, byte, other, _TAG, world, request))
            error |= _call(mpi.waitall, (length, first, at))
        seconds[sample] = (_now_ns(mpi.clock, timespec) - begin) * 1e-9 / loops / window
    return error


@njit(cache=True, inline="always")
def _barrier(mpi: Any, byte: Any, world: Any, rank: int, ranks: int, request: int, at: int) -> int:
    """Let no rank go on before all have come, in log2(ranks) rounds (dissemination).

    An MPI library's own barrier may let ranks go far apart, and the time of a collective would
    hold the difference (Hunold and Carpen-Amarie, 2016).
    """
    none, one = np.int32(0), np.int32(1)
    error = 0
    distance = 1
    while distance < ranks:
        source, target = np.int32((rank - distance) % ranks), np.int32((rank + distance) % ranks)
        error |= _call(mpi.irecv, (request, none, byte, source, _TAG, world, request))
        error |= _call(mpi.send, (request, none, byte, target, _TAG, world))
        error |= _call(mpi.waitall, (one, request, at))
        distance *= 2
    return error


@njit(cache=True, nogil=True)
def _allreduce(
    seconds: Any,
    loops: int,
    mpi: Any,
    byte: Any,
    world: Any,
    send: int,
    receive: int,
    count: int,
    kind: Any,
    total: Any,
    rank: int,
    ranks: int,
    requests: Any,
    statuses: Any,
) -> int:
    timespec = np.zeros(2, np.int64)
    request, at = requests.ctypes.data, statuses.ctypes.data
    length = np.int32(count)
    error = 0
    for sample in range(len(seconds)):
        passed = 0
        for _ in range(loops):
            error |= _barrier(mpi, byte, world, rank, ranks, request, at)
            begin = _now_ns(mpi.clock, timespec)
            error |= _call(mpi.allreduce, (send, receive, length, kind, total, world))
            passed += _now_ns(mpi.clock, timespec) - begin
        seconds[sample] = passed * 1e-9 / loops
    return error


@njit(cache=True, nogil=True)
def _copy(
    seconds: Any, loops: int, clock: int, memmove: int, target: int, source: int, nbytes: int
) -> None:
    timespec = np.zeros(2, np.int64)
    for sample in range(len(seconds)):
        begin = _now_ns(clock, timespec)
        for _ in range(loops):
            _call(memmove, (target, source, nbytes))
        seconds[sample] = (_now_ns(clock, timespec) - begin) * 1e-9 / loops


@njit(cache=True, nogil=True)
def _kernel(
    seconds: Any, loops: int, clock: int, kernel: int, a: Any, b: Any, c: Any, q: float
) -> None:
    timespec = np.zeros(2, np.int64)
    for sample in range(len(seconds)):
        begin = _now_ns(clock, timespec)
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
        seconds[sample] = (_now_ns(clock, timespec) - begin) * 1e-9 / loops


NO_SAMPLES: Seconds = np.empty(0)
"""A loop called with no samples is compiled, or read from the cache, and calls nothing."""


class Calls(NamedTuple):
    """Addresses of the C functions that the message loops call."""

    clock: int
    send: int
    recv: int
    isend: int
    irecv: int
    waitall: int
    allreduce: int


NO_CALLS = Calls(0, 0, 0, 0, 0, 0, 0)


class Handles(NamedTuple):
    """Values of the MPI handles that the message loops pass, and the bytes that one takes."""

    nbytes: int
    """4 or 8."""
    world: int
    byte: int
    fp32: int
    fp64: int
    total: int
    """MPI_SUM."""


def find_calls(library: str) -> Calls:
    """Return the addresses in the MPI library at `library`, a path from the process map.

    Raises:
        OSError: where it cannot be opened.
    """
    loaded = ctypes.CDLL(library)
    return Calls(
        _address(ctypes.CDLL(None), "clock_gettime"),
        _address(loaded, "MPI_Send"),
        _address(loaded, "MPI_Recv"),
        _address(loaded, "MPI_Isend"),
        _address(loaded, "MPI_Irecv"),
        _address(loaded, "MPI_Waitall"),
        _address(loaded, "MPI_Allreduce"),
    )


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
        self._kinds = {"fp32": self._handle(handles.fp32), "fp64": self._handle(handles.fp64)}
        self._total = self._handle(handles.total)
        nobody = Peer(0, True)
        self.pingpong(NO_SAMPLES, 1, 0, 0, 0, nobody)
        self.window(NO_SAMPLES, 1, 0, 0, 1, nobody)
        self.exchange_window(NO_SAMPLES, 1, 0, 0, 0, 1, nobody)
        self.allreduce(NO_SAMPLES, 1, 0, 0, 0, "fp32", Member(0, 1))

    def pingpong(
        self, seconds: Seconds, loops: int, send: int, receive: int, nbytes: int, peer: Peer
    ) -> None:
        """Time half a round trip of one message."""
        _succeed(
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
                _statuses(1),
            )
        )

    def window(
        self, seconds: Seconds, loops: int, buffer: int, nbytes: int, window: int, peer: Peer
    ) -> None:
        """Time `window` messages from the leader, all in flight, and one reply; per message."""
        _succeed(
            _window(
                seconds,
                loops,
                self._calls,
                self._byte,
                self._world,
                buffer,
                nbytes,
                window,
                peer.rank,
                peer.leads,
                np.zeros(window, self._handle),
                _statuses(window),
            )
        )

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
        _succeed(
            _exchange_window(
                seconds,
                loops,
                self._calls,
                self._byte,
                self._world,
                send,
                receive,
                nbytes,
                window,
                peer.rank,
                np.zeros(2 * window, self._handle),
                _statuses(2 * window),
            )
        )

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
        _succeed(
            _allreduce(
                seconds,
                loops,
                self._calls,
                self._byte,
                self._world,
                send,
                receive,
                count,
                self._kinds[dtype],
                self._total,
                member.rank,
                member.ranks,
                np.zeros(1, self._handle),
                _statuses(1),
            )
        )


class NativeMemoryLoops:
    """Copies by the C library and STREAM kernels compiled here."""

    name = NAME
    overhead_s = None

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._clock = _address(libc, "clock_gettime")
        self._memmove = _address(libc, "memmove")
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


def _address(library: ctypes.CDLL, name: str) -> int:
    value = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    if value is None:  # pragma: no cover - dlsym raises before it returns no address
        raise OSError(f"{name} has no address")
    return value


def _statuses(count: int) -> NDArray[np.uint8]:
    """Return room for MPI statuses, held by the caller.

    A compiled loop frees an array of its own after its last use as an array, and MPI would then
    write through its address into memory that is gone.
    """
    return np.zeros(count * _STATUS_BYTES, np.uint8)


def _succeed(error: int) -> None:
    if error:
        raise RuntimeError(f"an MPI call inside a timing loop returned error {error}")
