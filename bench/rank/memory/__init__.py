"""Kinds of memory by name: where the buffers of a case come from.

A GPU is not touched, nor CuPy loaded, before a case asks for its memory: that takes seconds, and
hundreds of megabytes on the GPU.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from bench.contracts import CopyQueue, Memories, Memory
from bench.rank.memory.device import WorkingDevice
from bench.rank.memory.gpu import Gpu, MissingMemoryError, PinnedMemory
from bench.rank.memory.host import HostMemory
from bench.rank.memory.numa import run_on_cpus
from bench.rank.memory.standin import StandinMemory


class Locality:
    """Where a rank runs: its place on the node, its GPU and the NUMA nodes.

    Args:
        queue: makes the queue of the device that is made of host memory.
        local_rank: number of this rank among those of its node.
        numa: CPUs of each NUMA node.
    """

    def __init__(
        self,
        queue: Callable[[], CopyQueue],
        local_rank: int = 0,
        numa: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self._open_queue = queue
        self._local_rank = local_rank
        self._numa = numa or {}

    @cached_property
    def gpu(self) -> Gpu:
        """The GPU of this rank; raises MissingMemoryError where there is none."""
        return Gpu(self._local_rank)

    def find_lost(self) -> str | None:
        """Return what the GPU of this rank answers, if it is open, and no longer of use."""
        gpu: Gpu | None = self.__dict__.get("gpu")
        return None if gpu is None else gpu.find_lost()

    @cached_property
    def queue(self) -> CopyQueue:
        """The queue of the device that is made of host memory."""
        return self._open_queue()

    def cpus(self, node: str) -> tuple[int, ...]:
        """Return the CPUs of a NUMA node, by its number in decimal; none for no node."""
        if not node:
            return ()
        cpus = self._numa.get(int(node), ())
        try:
            return run_on_cpus(cpus, lambda: cpus) if cpus else _no_cpus(node)
        except OSError as error:
            raise MissingMemoryError(
                f"it needs leave to run on NUMA node {node} ({error})"
            ) from error


def _no_cpus(node: str) -> tuple[int, ...]:
    raise MissingMemoryError(f"it needs a NUMA node {node} with CPUs")


MEMORY_KINDS: dict[str, Callable[[Locality, str], Memory]] = {
    "host": lambda locality, node: HostMemory(locality.cpus(node)),
    "pinned": lambda locality, node: PinnedMemory(locality.gpu, locality.cpus(node)),
    "device": lambda locality, _node: WorkingDevice(locality.gpu),
    "standin": lambda locality, _node: StandinMemory(locality.queue),
}
"""Opens each kind at a locality, on a NUMA node that is named by its number; '' for any."""


class LazyMemories(Memories):
    """The kinds of memory at a locality."""

    def __init__(self, locality: Locality) -> None:
        self._locality = locality
        self._opened: dict[str, Memory] = {}
        self._reasons: dict[str, str] = {}

    def lacks(self, name: str) -> str | None:
        """Return why this rank has no such memory, and what it needs; None where it has."""
        if name not in self._opened and name not in self._reasons:
            kind, _, node = name.partition("@")
            try:
                self._opened[name] = MEMORY_KINDS[kind](self._locality, node)
            except MissingMemoryError as error:
                where = f" on NUMA node {node}" if node else ""
                self._reasons[name] = f"no {kind} memory{where} here: {error}"
        return self._reasons.get(name)

    def opened(self, name: str) -> Memory | None:
        """Return a kind that some case has asked for already; None where none has."""
        return self._opened.get(name)

    def find_lost(self) -> str | None:
        """Return what a GPU answers that no work can be queued on any more; None where none is."""
        devices = [one for one in self._opened.values() if isinstance(one, WorkingDevice)]
        found = (ask() for ask in (self._locality.find_lost, *(one.find_lost for one in devices)))
        return next((lost for lost in found if lost is not None), None)

    def host_bytes(self) -> int:
        """Return the bytes of pageable memory that were handed out so far, dropped ones too."""
        return sum(one.handed_out for one in self._opened.values() if isinstance(one, HostMemory))

    def __getitem__(self, name: str) -> Memory:
        reason = self.lacks(name)
        if reason is not None:
            raise KeyError(reason)
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in MEMORY_KINDS if self.lacks(name) is None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
