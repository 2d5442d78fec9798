"""The ranks of a job: MPI's world, or a world of one where there is no MPI.

This module imports no NumPy, so that BLAS threads can be set after MPI has shown how many ranks
share the node, and before the BLAS starts its threads.
"""

import functools
import os
import socket
import time
from typing import Any

_POLL_S = 0.001


class SoloWorld:
    """One process and no MPI."""

    rank = 0
    size = 1
    local_size = 1
    nodes: tuple[int, ...] = (0,)
    library: str | None = None
    thread_level: str | None = None
    mpi: Any = None

    def broadcast(self, value: Any) -> Any:
        """Return the value."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return the one value."""
        return [value]

    def sleep_until_all_arrive(self) -> None:
        """Everyone is here."""

    def split(self, color: int) -> "SoloWorld":
        """Return the same world."""
        del color
        return self

    def free(self) -> None:
        """Nothing is held."""

    def abort(self, code: int) -> None:
        """End the process."""
        os._exit(code)


class MpiWorld:
    """The ranks that MPI started.

    Args:
        communicator: of mpi4py; None starts MPI and takes its world.
    """

    def __init__(self, communicator: Any = None) -> None:
        import mpi4py

        # The default, `multiple`, takes a lock in every call: 60 ns of a 104 ns latency.
        mpi4py.rc.thread_level = "single"
        from mpi4py import MPI

        self.mpi = MPI
        self._communicator = MPI.COMM_WORLD if communicator is None else communicator
        self.rank: int = self._communicator.Get_rank()
        self.size: int = self._communicator.Get_size()
        self.library: str | None = MPI.Get_library_version().partition("\n")[0].rstrip("\0 ,")
        self.thread_level: str | None = _LEVELS.get(MPI.Query_thread())

    @property
    def local_size(self) -> int:
        """Ranks on this node."""
        node = self._communicator.Split_type(self.mpi.COMM_TYPE_SHARED)
        size: int = node.Get_size()
        node.Free()
        return size

    @functools.cached_property
    def nodes(self) -> tuple[int, ...]:
        """The node of each rank, numbered from 0 as they appear; every rank has to ask."""
        hosts = self.gather(socket.gethostname())
        numbers = {host: number for number, host in enumerate(dict.fromkeys(hosts))}
        return tuple(numbers[host] for host in hosts)

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        return self._communicator.bcast(value)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order, on every rank."""
        values: list[Any] = self._communicator.allgather(value)
        return values

    def sleep_until_all_arrive(self) -> None:
        """Poll a barrier once a millisecond: MPI's own waits keep the core busy."""
        request = self._communicator.Ibarrier()
        while not request.Test():
            time.sleep(_POLL_S)

    def split(self, color: int) -> "MpiWorld":
        """Return the ranks that gave the same color."""
        return MpiWorld(self._communicator.Split(color))

    def free(self) -> None:
        """Give back what a split took: MPICH has room for 2048 communicators at a time."""
        self._communicator.Free()

    def abort(self, code: int) -> None:
        """End every rank of the job."""
        self._communicator.Abort(code)


_LEVELS = {0: "single", 1: "funneled", 2: "serialized", 3: "multiple"}

World = SoloWorld | MpiWorld
