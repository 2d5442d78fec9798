"""Follows a schedule in compiled code: one loop for every benchmark that writes its calls down."""

from typing import Any

import numpy as np
from numba import njit

from bench.core.schedule import ANY_DIRECTION, Code
from bench.rank.timing.mpi_calls import TAG, call, now_ns

# Compiled code takes plain integers for constants.
BEGIN = int(Code.BEGIN)
END = int(Code.END)
STAMP = int(Code.STAMP)
SEND = int(Code.SEND)
RECV = int(Code.RECV)
ISEND = int(Code.ISEND)
IRECV = int(Code.IRECV)
WAITALL = int(Code.WAITALL)
COPY = int(Code.COPY)
SYNCHRONIZE = int(Code.SYNCHRONIZE)
ADD = int(Code.ADD)
BARRIER = int(Code.BARRIER)
ALLREDUCE = int(Code.ALLREDUCE)
REDUCE_SCATTER = int(Code.REDUCE_SCATTER)
ALLGATHER = int(Code.ALLGATHER)
ALLTOALL = int(Code.ALLTOALL)
BROADCAST = int(Code.BROADCAST)
SCATTER = int(Code.SCATTER)
TEST = int(Code.TEST)
_DIRECTION = np.int32(ANY_DIRECTION)


@njit(cache=True, nogil=True)
def follow(
    seconds: Any,
    stamps: Any,
    loops: int,
    mpi: Any,
    kinds: Any,
    world: Any,
    total: Any,
    table: Any,
    requests: Any,
    statuses: Any,
) -> int:
    """Take every step so many times per sample; return 0 or the first error, a device's below 0.

    Args:
        seconds: filled with the time between `BEGIN` and `END`, per sample and pass.
        stamps: filled with mean seconds since `BEGIN`, shape (samples, stamps).
        loops: passes of a sample.
        mpi: addresses of the functions, `Calls`.
        kinds: handles of the types of `bench.core.schedule.TYPES`.
        world: handle of the communicator.
        total: handle of MPI_SUM.
        table: of `bench.core.schedule.Steps`.
        requests: room for handles of open requests, which outlives the call.
        statuses: room for as many statuses and one more, where MPI_Testall puts its answer.
    """
    timespec = np.zeros(2, np.int64)
    first, handle, at = requests.ctypes.data, requests.itemsize, statuses.ctypes.data
    flag = at + len(statuses) - 8
    byte = kinds[0]
    error = 0
    for sample in range(len(seconds)):
        stamps[sample, :] = 0.0
        passed = 0
        for _ in range(loops):
            begin = 0
            for i in range(len(table)):
                code, a, b, c = table[i, 0], table[i, 1], table[i, 2], table[i, 3]
                d, count, peer = table[i, 4], np.int32(table[i, 2]), np.int32(table[i, 3])
                if code == ISEND:
                    error += (error == 0) * call(
                        mpi.isend, (a, count, byte, peer, TAG, world, first + d * handle)
                    )
                elif code == IRECV:
                    error += (error == 0) * call(
                        mpi.irecv, (a, count, byte, peer, TAG, world, first + d * handle)
                    )
                elif code == WAITALL:
                    error += (error == 0) * call(mpi.waitall, (count, first + a * handle, at))
                elif code == SEND:
                    error += (error == 0) * call(mpi.send, (a, count, byte, peer, TAG, world))
                elif code == RECV:
                    error += (error == 0) * call(mpi.recv, (a, count, byte, peer, TAG, world, at))
                elif code == TEST:
                    error += (error == 0) * call(mpi.testall, (count, first + a * handle, flag, at))
                elif code == BEGIN:
                    begin = now_ns(mpi.clock, timespec)
                elif code == END:
                    passed += now_ns(mpi.clock, timespec) - begin
                elif code == STAMP:
                    stamps[sample, a] += (now_ns(mpi.clock, timespec) - begin) * 1e-9 / loops
                elif code == COPY:
                    error -= (error == 0) * call(d, (a, b, c, _DIRECTION, table[i, 5]))
                elif code == SYNCHRONIZE:
                    error -= (error == 0) * call(a, (b,))
                elif code == ADD:
                    error += (error == 0) * call(
                        mpi.reduce_local, (a, b, np.int32(c), kinds[d], total)
                    )
                elif code == BARRIER:
                    error += (error == 0) * call(mpi.barrier, (world,))
                elif code == ALLREDUCE:
                    error += (error == 0) * call(
                        mpi.allreduce, (a, b, np.int32(c), kinds[d], total, world)
                    )
                elif code == REDUCE_SCATTER:
                    error += (error == 0) * call(
                        mpi.reduce_scatter_block, (a, b, np.int32(c), kinds[d], total, world)
                    )
                elif code == ALLGATHER:
                    each = np.int32(c)
                    error += (error == 0) * call(
                        mpi.allgather, (a, each, byte, b, each, byte, world)
                    )
                elif code == ALLTOALL:
                    each = np.int32(c)
                    error += (error == 0) * call(
                        mpi.alltoall, (a, each, byte, b, each, byte, world)
                    )
                elif code == BROADCAST:
                    error += (error == 0) * call(mpi.bcast, (a, count, byte, peer, world))
                elif code == SCATTER:
                    each, root = np.int32(c), np.int32(d)
                    error += (error == 0) * call(
                        mpi.scatter, (a, each, byte, b, each, byte, root, world)
                    )
                else:
                    each, root = np.int32(c), np.int32(d)
                    error += (error == 0) * call(
                        mpi.gather, (a, each, byte, b, each, byte, root, world)
                    )
        seconds[sample] = passed * 1e-9 / loops
    return error
