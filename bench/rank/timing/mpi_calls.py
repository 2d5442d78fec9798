"""C functions that compiled loops call by their addresses, and the handles that they pass.

Addresses are arguments, so compiled code names none and can be cached (a ctypes function would be a
global and compile anew each start).
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

TAG = np.int32(7)
_STATUS_BYTES = 64
"""Room for one MPI_Status: 20 bytes in MPICH, 24 in Open MPI, 32 in the standard ABI."""
_CLOCK_MONOTONIC = np.int32(1)


@intrinsic
def call(_typing: Any, address: Any, arguments: Any) -> Any:
    """Call the C function at `address`, which returns int, with a tuple of arguments."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        pointer, packed = values
        unpacked = cgutils.unpack_tuple(builder, packed)
        kind = ir.FunctionType(ir.IntType(32), [value.type for value in unpacked])
        return builder.call(builder.inttoptr(pointer, kind.as_pointer()), unpacked)

    return types.int32(address, arguments), emit


@njit(cache=True, inline="always")
def now_ns(clock: int, timespec: Any) -> int:
    """Return the nanoseconds of the monotonic clock; `timespec` is room for two int64."""
    call(clock, (_CLOCK_MONOTONIC, timespec.ctypes.data))
    nanoseconds: int = timespec[0] * 1_000_000_000 + timespec[1]
    return nanoseconds


class Calls(NamedTuple):
    """Addresses of the C functions that the message loops call."""

    clock: int
    send: int
    recv: int
    isend: int
    irecv: int
    waitall: int
    testall: int
    reduce_local: int
    barrier: int
    allreduce: int
    reduce_scatter_block: int
    allgather: int
    alltoall: int
    bcast: int
    scatter: int
    gather: int


NO_CALLS = Calls(*(0 for _ in Calls._fields))


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
    clock = address_of(ctypes.CDLL(None), "clock_gettime")
    names = Calls._fields[1:]
    return Calls(clock, *(address_of(loaded, f"MPI_{name.capitalize()}") for name in names))


def address_of(library: ctypes.CDLL, name: str) -> int:
    """Return the address of a function.

    Raises:
        AttributeError: where the library has none of that name.
    """
    value = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    if value is None:  # pragma: no cover - dlsym raises before it returns no address
        raise OSError(f"{name} has no address")
    return value


def room_for_statuses(count: int) -> NDArray[np.uint8]:
    """Return room for MPI statuses, held by the caller.

    A compiled loop frees an array of its own after its last use as an array, and MPI would then
    write through its address into memory that is gone.
    """
    return np.zeros(count * _STATUS_BYTES, np.uint8)


def succeed(error: int) -> None:
    """Raise where a call of a loop returned an error; that of a device's runtime is below 0.

    Loops keep the first one: what fails later may follow from it.
    """
    if error < 0:
        raise RuntimeError(
            f"a call of a device's runtime inside a timing loop returned error {-error}"
        )
    if error:
        raise RuntimeError(f"an MPI call inside a timing loop returned error {error}")
