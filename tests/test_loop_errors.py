"""What a compiled loop tells of calls that fail: the first error, and whose it is."""

import ctypes

import pytest

from bench.contracts import one_sample
from bench.core.schedule import COPY_FUNCTION, SYNCHRONIZE_FUNCTION, DeviceCopies, Schedule

pytest.importorskip("numba")

from bench.rank.timing.mpi_calls import NO_CALLS, Handles, address_of
from bench.rank.timing.native import NativeMessageLoops

BARRIER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


def address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@pytest.mark.parametrize(
    ("copy_fails", "barrier_fails", "told"),
    [
        (2, 4, "a call of a device's runtime inside a timing loop returned error 2"),
        (0, 4, "an MPI call inside a timing loop returned error 4"),
    ],
)
def test_the_first_error_is_told_and_whose_it_is(copy_fails, barrier_fails, told):
    copy = COPY_FUNCTION(lambda *_: copy_fails)
    wait = SYNCHRONIZE_FUNCTION(lambda *_: 8)
    barrier = BARRIER(lambda *_: barrier_fails)
    clock = address_of(ctypes.CDLL(None), "clock_gettime")
    calls = NO_CALLS._replace(clock=clock, barrier=address(barrier))
    device = DeviceCopies(address(copy), address(wait), 0)
    schedule = Schedule()
    schedule.begin()
    schedule.copy(device, 0, 0, 0)
    schedule.barrier()
    schedule.synchronize(device)
    schedule.end()
    loops = NativeMessageLoops(calls, Handles(8, 0, 0, 0, 0, 0))
    with pytest.raises(RuntimeError, match=f"^{told}$"):
        loops.follow(one_sample(), 2, schedule.cut())
