"""The binding of NCCL; calls are carried out by MPI, in a communicator of their own."""

# ruff: noqa: N802, N803 - the names are CuPy's

import ctypes
import os

import numpy as np
from mpi4py import MPI

from cupy.cuda import WAITERS

available = True
NCCL_SUM, NCCL_UINT8, NCCL_FLOAT32, NCCL_FLOAT64 = 0, 1, 7, 8
_DTYPES = {NCCL_UINT8: np.uint8, NCCL_FLOAT32: np.float32, NCCL_FLOAT64: np.float64}
_ID = b"played".ljust(128, b".")
_groups, _queued = [], []


class NcclError(RuntimeError): ...


def get_version():
    return 22707


def get_unique_id():
    if os.environ.get("PLAYED") == "refuses":
        raise NcclError("NCCL_ERROR_SYSTEM_ERROR: no interface")
    return _ID


def groupStart():
    _groups.append([])


def groupEnd():
    _queued.append(_groups.pop())


def _at(address, count, kind):
    dtype = np.dtype(_DTYPES[kind])
    raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(memoryview(raw), dtype)


class NcclCommunicator:
    def __init__(self, ndev, commId, rank):
        assert commId == _ID
        self._comm = MPI.COMM_WORLD.Dup()
        assert (ndev, rank) == (self._comm.Get_size(), self._comm.Get_rank())
        self._bad = os.environ.get("PLAYED") == "wrong" and rank == 1
        WAITERS.append(self._wait)
        if os.environ.get("NCCL_DEBUG") == "INFO":
            via = "SHM/direct/direct" if os.environ.get("NCCL_P2P_DISABLE") == "1" else "P2P/CUMEM"
            line = f"host:1:2 [0] NCCL INFO Channel 00/0 : {rank}[{rank}] -> 0[0] via {via}"
            ctypes.CDLL(None).puts(line.encode())

    def destroy(self): ...

    def abort(self): ...

    def check_async_error(self): ...

    def send(self, sendbuf, count, datatype, peer, stream):
        given = _at(sendbuf, count, datatype)
        _groups[-1].append((lambda: self._comm.Isend(given, peer), None))

    def recv(self, recvbuf, count, datatype, peer, stream):
        target = _at(recvbuf, count, datatype)
        _groups[-1].append((lambda: self._comm.Irecv(target, peer), target))

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        given, target = _at(sendbuf, count, datatype), _at(recvbuf, count, datatype)
        _queued.append([(lambda: self._comm.Allreduce(given, target), target)])

    def reduceScatter(self, sendbuf, recvbuf, recvcount, datatype, op, stream):
        given = _at(sendbuf, recvcount * self._comm.Get_size(), datatype)
        target = _at(recvbuf, recvcount, datatype)
        _queued.append([(lambda: self._comm.Reduce_scatter_block(given, target), target)])

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        given = _at(sendbuf, count, datatype)
        target = _at(recvbuf, count * self._comm.Get_size(), datatype)
        _queued.append([(lambda: self._comm.Allgather(given, target), target)])

    def broadcast(self, sendbuff, recvbuff, count, datatype, root, stream):
        target = _at(recvbuff, count, datatype)
        _queued.append([(lambda: self._comm.Bcast(target, root), target)])

    def _wait(self):
        waiting = _queued[:]
        _queued.clear()
        for group in waiting:
            started = [act() for act, _ in group]
            MPI.Request.Waitall([request for request in started if request is not None])
            for _, target in group:
                if self._bad and target is not None:
                    target[-1] += 1
