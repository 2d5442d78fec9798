"""The ranks of a job: MPI's world, or a world of one where there is no MPI.

This module imports no NumPy, so that BLAS threads can be set after MPI has shown how many ranks
share the node, and before the BLAS starts its threads.
"""

import os
import time
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.contracts import Seconds

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

    def slowest(self, seconds: "Seconds") -> "Seconds":
        """Return the seconds."""
        return seconds

    def sleep_until_all_arrive(self) -> None:
        """Everyone is here."""

    def split(self, colors: Sequence[int]) -> "SoloWorld":
        """Return the same world."""
        del colors
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
        nodes: of each rank; None asks MPI, all ranks together.
    """

    def __init__(self, communicator: Any = None, nodes: tuple[int, ...] | None = None) -> None:
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
        self.nodes: tuple[int, ...] = self._number_nodes() if nodes is None else nodes
        """The node of each rank, numbered from 0 as they appear."""
        self.local_size: int = self.nodes.count(self.nodes[self.rank])
        """Ranks on this node."""

    def _number_nodes(self) -> tuple[int, ...]:
        """Ask MPI which ranks share memory: two hosts may have one name."""
        node = self._communicator.Split_type(self.mpi.COMM_TYPE_SHARED)
        leader = node.bcast(self.rank)
        node.Free()
        return number_as_they_appear(self.gather(leader))

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        return self._communicator.bcast(value)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order, on every rank."""
        values: list[Any] = self._communicator.allgather(value)
        return values

    def give(self, value: Any, rank: int) -> None:
        """Hand a value to another rank, which takes it."""
        self._communicator.send(value, rank)

    def take(self, rank: int) -> Any:
        """Return the value that another rank gives."""
        return self._communicator.recv(source=rank)

    def send(self, buffer: Any, rank: int) -> None:
        """Send the bytes of a buffer to another rank, which receives as many."""
        self._communicator.Send([buffer, self.mpi.BYTE], rank)

    def receive(self, buffer: Any, rank: int) -> None:
        """Fill a buffer with the bytes that another rank sends."""
        self._communicator.Recv([buffer, self.mpi.BYTE], rank)

    def slowest(self, seconds: "Seconds") -> "Seconds":
        """Return the longest of all ranks, time by time; every rank has equally many."""
        found = seconds.copy()
        self._communicator.Allreduce(self.mpi.IN_PLACE, found, self.mpi.MAX)
        return found

    def sleep_until_all_arrive(self) -> None:
        """Poll a barrier once a millisecond: MPI's own waits keep the core busy."""
        request = self._communicator.Ibarrier()
        while not request.Test():
            time.sleep(_POLL_S)

    def split(self, colors: Sequence[int]) -> "MpiWorld":
        """Return the ranks of this one's color, given that of each rank."""
        own = colors[self.rank]
        nodes = (node for node, color in zip(self.nodes, colors, strict=True) if color == own)
        return MpiWorld(self._communicator.Split(own), number_as_they_appear(nodes))

    def free(self) -> None:
        """Give back what a split took: MPICH has room for 2048 communicators at a time."""
        self._communicator.Free()

    def abort(self, code: int) -> None:
        """End every rank of the job."""
        self._communicator.Abort(code)


_LEVELS = {0: "single", 1: "funneled", 2: "serialized", 3: "multiple"}

World = SoloWorld | MpiWorld


def number_as_they_appear(values: Iterable[Hashable]) -> tuple[int, ...]:
    """Return 0 for the first value and all that equal it, 1 for the next one, and so on."""
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(value, len(numbers)) for value in values)
