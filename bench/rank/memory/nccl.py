"""Calls between the GPUs of a job's ranks by NCCL, or RCCL on ROCm: through CuPy's binding of it.

The ranks have one communicator, made when a case first asks for it: that takes seconds and memory
on every GPU. Whether they can have one is asked of all of them at once, so that none waits for a
rank that has no GPU.
"""

import os
import weakref
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from bench.contracts import Communicator, FollowsSteps, GpuCalls, UnpreparedError
from bench.core.errors import printable
from bench.core.records import Axis
from bench.rank.memory.gpu import Gpu, MissingMemoryError

SHARING_VARIABLE = "NCCL_MULTI_RANK_GPU_ENABLE"
"""Where it is 1, NCCL from 2.30 on lets ranks share a GPU, as an experiment; else it refuses."""
_MOST_REASON = 300


class _Here(NamedTuple):
    """What a rank finds before a communicator is made."""

    reason: str | None
    """Why it can have none."""
    gpu: str
    """PCI address of its GPU."""
    sharing: bool
    """Whether the library is set to let ranks share a GPU."""


class Nccl:
    """NCCL or RCCL between the ranks of a job.

    Args:
        gpu: opens the GPU of this rank; raises MissingMemoryError where there is none.
        world: all ranks of the job, which share the unique id.
        follow_by: makes what follows schedules by the calls of the library.
        binding: imports CuPy's binding, whose names this module uses.
    """

    def __init__(
        self,
        gpu: Callable[[], Gpu],
        world: Communicator,
        follow_by: Callable[[GpuCalls], FollowsSteps],
        binding: Callable[[], Any] = lambda: import_module("cupy.cuda.nccl"),
    ) -> None:
        self._open_gpu = gpu
        self._world = world
        self._follow_by = follow_by
        self._import = binding
        self._by_rank: list[_Here] = []
        self._failure: str | None = None
        self._follows: FollowsSteps | None = None
        self.facts: dict[str, Axis] = {}

    def lacks(self) -> str | None:
        """Return why these ranks cannot use it, the same on each; None where they can."""
        if not self._by_rank:
            self._by_rank = self._world.gather(self._look())
        for rank, here in enumerate(self._by_rank):
            if here.reason is not None:
                return f"no NCCL or RCCL here: on rank {rank} {here.reason}"
        shared = self._shared()
        if shared is None or all(here.sharing for here in self._by_rank):
            return None
        first, second = shared
        return (
            "no NCCL or RCCL here: it needs a GPU of its own for every rank, and ranks "
            f"{first} and {second} have the same one ({self._by_rank[first].gpu}); start at "
            "most as many ranks on a node as it has GPUs; slices (MIG) and partitions of one GPU "
            "count as that one"
        )

    def open(self) -> FollowsSteps:
        """Join the ranks, once; every rank has to ask.

        Raises:
            UnpreparedError: where they could not be joined, on every rank.
        """
        if self._follows is None:
            self._follows = self._join()
        return self._follows

    def _shared(self) -> tuple[int, int] | None:
        """Return two ranks with the same GPU, None where each has its own."""
        gpus = (here.gpu for here in self._by_rank)
        return find_shared([*zip(self._world.nodes, gpus, strict=True)])

    def _look(self) -> _Here:
        try:
            gpu = self._open_gpu()
            binding = self._import()
        except MissingMemoryError as error:
            return _Here(str(error), "", False)
        except Exception as error:  # noqa: BLE001 - of CuPy, its loader, or the driver
            return _Here(f"it needs CuPy's binding of it ({type(error).__name__})", "", False)
        if not binding.available:
            return _Here(_needs_library(gpu), gpu.pci_address, False)
        return _Here(None, gpu.pci_address, os.environ.get(SHARING_VARIABLE) == "1")

    def _join(self) -> FollowsSteps:
        self._failure = self._failure or self.lacks()
        if self._failure is None:
            calls, error = self._try_to_join()
            failed = ((r, e) for r, e in enumerate(self._world.gather(error)) if e is not None)
            rank, reason = next(failed, (0, None))
            if calls is not None and reason is None:
                self.facts = {calls.name: calls.version}
                self.facts |= {} if self._shared() is None else {"shared_gpus": 1}
                return self._follow_by(calls)
            if calls is not None:
                calls.abort()
            self._failure = f"NCCL or RCCL could not join the ranks: rank {rank}: {reason}"
        raise UnpreparedError(self._failure)

    def _try_to_join(self) -> tuple["NcclCalls | None", str | None]:
        """Return the communicator's calls, or why this rank has none."""
        gpu, binding = self._open_gpu(), self._import()
        unique, error = None, None
        if self._world.rank == 0:
            try:
                unique = binding.get_unique_id()
            except binding.NcclError as failed:
                error = printable(failed, _MOST_REASON)
        # Bytes, or before CuPy 14 a tuple of numbers: whatever this version's own call takes.
        unique = self._world.broadcast(unique)
        if unique is None:
            return None, error
        try:
            return NcclCalls(gpu, binding, self._world, unique), None
        except binding.NcclError as failed:
            return None, printable(failed, _MOST_REASON)


class NcclCalls:
    """The calls of one rank's communicator, queued on the stream of its GPU.

    Args:
        gpu: of this rank.
        binding: CuPy's.
        world: the ranks that are joined.
        unique: what rank 0's library made for them.
    """

    def __init__(self, gpu: Gpu, binding: Any, world: Communicator, unique: object) -> None:
        self.name = "rccl" if gpu.runtime.is_hip else "nccl"
        self.version = version_text(binding.get_version())
        with gpu.device:
            self._communicator = binding.NcclCommunicator(world.size, unique, world.rank)
        # Before the driver goes down at the end of the process.
        weakref.finalize(self, self._communicator.destroy)
        self._stream = int(gpu.stream.ptr)
        self._wait = gpu.runtime.streamSynchronize
        self._types = {"fp32": binding.NCCL_FLOAT32, "fp64": binding.NCCL_FLOAT64}
        self._byte, self._total = binding.NCCL_UINT8, binding.NCCL_SUM
        self.begin_group: Callable[[], None] = binding.groupStart
        self.end_group: Callable[[], None] = binding.groupEnd

    def send(self, address: int, nbytes: int, peer: int) -> None:
        """Send to a rank, which receives as many bytes."""
        self._communicator.send(address, nbytes, self._byte, peer, self._stream)

    def receive(self, address: int, nbytes: int, peer: int) -> None:
        """Receive from a rank."""
        self._communicator.recv(address, nbytes, self._byte, peer, self._stream)

    def allreduce(self, send: int, receive: int, count: int, dtype: str) -> None:
        """Sum `count` numbers over all ranks, for all of them."""
        kind = self._types[dtype]
        self._communicator.allReduce(send, receive, count, kind, self._total, self._stream)

    def reduce_scatter(self, send: int, receive: int, count: int, dtype: str) -> None:
        """Sum ranks times `count` numbers; every rank receives `count` of them."""
        kind = self._types[dtype]
        self._communicator.reduceScatter(send, receive, count, kind, self._total, self._stream)

    def allgather(self, send: int, receive: int, nbytes: int) -> None:
        """Give `nbytes` of every rank to all of them."""
        self._communicator.allGather(send, receive, nbytes, self._byte, self._stream)

    def broadcast(self, address: int, nbytes: int, root: int) -> None:
        """Give the root's bytes to all ranks, in place."""
        self._communicator.broadcast(address, address, nbytes, self._byte, root, self._stream)

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        self._wait(self._stream)

    def abort(self) -> None:
        """Give up the communicator, without waiting for ranks that have none."""
        self._communicator.abort()

    def check(self) -> None:
        """Raise the error that the library met since, if any."""
        self._communicator.check_async_error()


def _needs_library(gpu: Gpu) -> str:
    if gpu.runtime.is_hip:
        return "it needs RCCL, which ROCm has"
    cuda = int(gpu.runtime.runtimeGetVersion()) // 1000
    return f"it needs its library, of CUDA {cuda}: pip install nvidia-nccl-cu{cuda}"


def find_shared(gpus: Sequence[tuple[int, str]]) -> tuple[int, int] | None:
    """Return the first two ranks with the same GPU.

    Args:
        gpus: node and PCI address of each rank's.
    """
    first: dict[tuple[int, str], int] = {}
    for rank, gpu in enumerate(gpus):
        if gpu in first:
            return first[gpu], rank
        first[gpu] = rank
    return None


def version_text(code: int) -> str:
    """Return a version as people write it: 22707 is 2.27.7, and before 2.9 2708 was 2.7.8."""
    unit = 10_000 if code >= 10_000 else 1000
    return f"{code // unit}.{code % unit // 100}.{code % 100}"
