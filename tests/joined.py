"""GPUs of a job played by threads, behind the names and arguments of CuPy's binding of NCCL.

It forgives as little as a GPU: a call only queues, what is queued is done when the rank waits for
its stream, a message is sent when the other rank has taken it, and a group is one thing.
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from meeting import TIMEOUT_S, Loops, Meeting, Rank, at

from bench.contracts import Context, Measurement, Memories, Memory, Operation
from bench.core.records import Case
from bench.rank.memory.host import HostMemory
from bench.rank.memory.nccl import Nccl
from bench.rank.timing.gpu_library_loops import GpuLibraryLoops

Spoil = Callable[[str, int, np.ndarray[Any, Any]], None]
"""Changes what a call put into a rank's buffer: spoil(call, rank, elements)."""
KINDS = {1: "byte", 7: "fp32", 8: "fp64"}
"""ncclDataType_t of NCCL 2: ncclUint8, ncclFloat32, ncclFloat64."""


class NcclError(RuntimeError):
    """As the binding's."""


class Binding:
    """The module `cupy.cuda.nccl` of every rank; each is a thread."""

    available = True
    NcclError = NcclError
    NCCL_SUM, NCCL_UINT8, NCCL_FLOAT32, NCCL_FLOAT64 = 0, 1, 7, 8

    def __init__(self, ranks: int, spoil: Spoil | None = None) -> None:
        self.meeting = Meeting(ranks)
        self.spoil = spoil or (lambda *_: None)
        self.refuses: dict[int, str] = {}
        """Ranks whose communicator fails, and with which words."""
        self.made: list[int] = []
        self.aborted: list[int] = []
        self.calls: list[list[tuple[Any, ...]]] = [[] for _ in range(ranks)]
        """What each rank called, in order."""
        self.streams: list[list[list[tuple[Any, ...]]]] = [[] for _ in range(ranks)]
        self.groups: list[list[tuple[Any, ...]] | None] = [None] * ranks
        self.mail: dict[tuple[int, int], queue.Queue[tuple[bytes, threading.Event]]] = {
            (source, target): queue.Queue() for source in range(ranks) for target in range(ranks)
        }

    def of(self, rank: int) -> "RankBinding":
        """Return the module as one rank sees it."""
        return RankBinding(self, rank)

    def gpu(self, rank: int, address: str | None = None) -> Any:
        """Return the GPU of a rank, as far as the adapter asks it."""
        runtime = SimpleNamespace(
            is_hip=False,
            runtimeGetVersion=lambda: 13000,
            streamSynchronize=lambda _stream: self.synchronize(rank),
        )
        return SimpleNamespace(
            runtime=runtime,
            device=contextlib.nullcontext(),
            stream=SimpleNamespace(ptr=1000 + rank),
            pci_address=address or f"0000:{rank:02x}:00.0",
        )

    def put(self, rank: int, *call: Any) -> None:
        """Queue a call, or hold it back in the open group."""
        self.calls[rank].append(call)
        group = self.groups[rank]
        if group is None:
            self.streams[rank].append([call])
        else:
            group.append(call)

    def synchronize(self, rank: int) -> None:
        """Do what is queued, one group after the other."""
        self.calls[rank].append(("synchronize",))
        assert self.groups[rank] is None, "a rank waits inside a group"
        waiting, self.streams[rank] = self.streams[rank], []
        for group in waiting:
            if group[0][0] in ("send", "recv"):
                self._exchange(rank, group)
            else:
                for call in group:
                    self._collective(rank, *call)

    def _exchange(self, rank: int, group: list[tuple[Any, ...]]) -> None:
        taken = []
        for name, address, nbytes, peer in group:
            if name == "send":
                taken.append(threading.Event())
                self.mail[rank, peer].put((at(address, nbytes).tobytes(), taken[-1]))
        for name, address, nbytes, peer in group:
            if name == "recv":
                data, event = self.mail[peer, rank].get(timeout=TIMEOUT_S)
                assert len(data) == nbytes, "both ranks of a message name the same size"
                elements = at(address, nbytes)
                elements[:] = np.frombuffer(data, np.uint8)
                self.spoil(name, rank, elements)
                event.set()
        assert all(event.wait(TIMEOUT_S) for event in taken), "a message was never received"

    def _collective(
        self, rank: int, name: str, send: int, receive: int, count: int, kind: int, root: int
    ) -> None:
        ranks = self.meeting.ranks
        blocks = ranks if name == "reduceScatter" else 1
        size = 4 if kind == self.NCCL_FLOAT32 else 8 if kind == self.NCCL_FLOAT64 else 1
        given = Loops(self.meeting, rank).everybody(
            at(send, blocks * count * size, KINDS[kind]).copy()
        )
        total = sum(given[1:], given[0].copy())
        result = {
            "allReduce": lambda: total,
            "reduceScatter": lambda: total[rank * count : (rank + 1) * count],
            "allGather": lambda: np.concatenate(given),
            "broadcast": lambda: given[root],
        }[name]()
        target = at(receive, result.nbytes, KINDS[kind])
        target[:] = result
        self.spoil(name, rank, target)


class RankBinding:
    """The module `cupy.cuda.nccl` in the process of one rank."""

    def __init__(self, binding: Binding, rank: int) -> None:
        self._binding = binding
        self._rank = rank
        self.NcclCommunicator = lambda ndev, commId, rank: Communicator(  # noqa: N803
            binding, ndev, commId, rank
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._binding, name)

    def get_version(self) -> int:
        return 22_707

    def get_unique_id(self) -> bytes:
        if "id" in self._binding.refuses.values():
            raise NcclError("NCCL_ERROR_SYSTEM_ERROR: no interface")
        return b"id".ljust(128, b".")

    def groupStart(self) -> None:  # noqa: N802
        self._binding.calls[self._rank].append(("groupStart",))
        assert self._binding.groups[self._rank] is None
        self._binding.groups[self._rank] = []

    def groupEnd(self) -> None:  # noqa: N802
        self._binding.calls[self._rank].append(("groupEnd",))
        group = self._binding.groups[self._rank]
        assert group is not None
        self._binding.groups[self._rank] = None
        if group:
            self._binding.streams[self._rank].append(group)


class Communicator:
    """The binding's class; its arguments have the names that CuPy gives them."""

    def __init__(self, binding: Binding, ndev: int, commId: bytes, rank: int) -> None:  # noqa: N803
        assert (ndev, commId) == (binding.meeting.ranks, b"id".ljust(128, b"."))
        if rank in binding.refuses:
            raise NcclError(binding.refuses[rank])
        self._binding = binding
        self._rank = rank
        binding.made.append(rank)

    def destroy(self) -> None:
        pass

    def abort(self) -> None:
        self._binding.aborted.append(self._rank)

    def check_async_error(self) -> None:
        pass

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._queue("send", sendbuf, count, peer, stream=stream, datatype=datatype)

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._queue("recv", recvbuf, count, peer, stream=stream, datatype=datatype)

    def allReduce(  # noqa: N802
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> None:
        assert op == Binding.NCCL_SUM
        self._queue("allReduce", sendbuf, recvbuf, count, datatype, 0, stream=stream)

    def reduceScatter(  # noqa: N802
        self, sendbuf: int, recvbuf: int, recvcount: int, datatype: int, op: int, stream: int
    ) -> None:
        assert op == Binding.NCCL_SUM
        self._queue("reduceScatter", sendbuf, recvbuf, recvcount, datatype, 0, stream=stream)

    def allGather(  # noqa: N802
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int
    ) -> None:
        self._queue("allGather", sendbuf, recvbuf, count, datatype, 0, stream=stream)

    def broadcast(
        self, sendbuff: int, recvbuff: int, count: int, datatype: int, root: int, stream: int
    ) -> None:
        self._queue("broadcast", sendbuff, recvbuff, count, datatype, root, stream=stream)

    def _queue(self, *call: Any, stream: int, datatype: int = Binding.NCCL_UINT8) -> None:
        assert stream == 1000 + self._rank, "every rank has a stream of its own"
        assert datatype == Binding.NCCL_UINT8
        self._binding.put(self._rank, *call)


class ThreadWorld(Rank):
    """The world of one thread, which receives from the others."""

    def __init__(self, binding: Binding, rank: int, per_node: int | None = None) -> None:
        super().__init__(rank, binding.meeting.ranks, per_node)
        self._meeting = binding.meeting

    def gather(self, value: Any) -> list[Any]:
        box = np.empty(1, object)
        box[0] = value
        return [given[0] for given in Loops(self._meeting, self.rank).everybody(box)]

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]


class OnlyDevice(Memories):
    """Memory of this process under the name of a GPU's."""

    def __init__(self) -> None:
        self._kinds: dict[str, Memory] = {"device": HostMemory(), "host": HostMemory()}

    def lacks(self, name: str) -> str | None:
        return None if name in self._kinds else f"no {name} memory here"

    def __getitem__(self, name: str) -> Memory:
        return self._kinds[name]

    def __iter__(self) -> Any:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def context_of(
    binding: Binding, rank: int, context: Context, gpu: Callable[[], Any] | None = None
) -> Context:
    """Return what a rank of such a job hands its measurements."""
    world = ThreadWorld(binding, rank)
    loops = Loops(binding.meeting, rank)
    ranks = binding.meeting.ranks
    library = Nccl(
        gpu or (lambda: binding.gpu(rank)),
        world,
        lambda calls: GpuLibraryLoops(calls, loops, rank, ranks),
        lambda: binding.of(rank),
    )
    return msgspec.structs.replace(
        context,
        communicator=world,
        message_loops=loops,
        memories=OnlyDevice(),
        gpu_library=library,
    )


def prepare(
    binding: Binding, measurement: Measurement, case: Case, context: Context
) -> list[Operation]:
    """Return the operation of every rank, and forget what was called until then."""
    found: list[Operation] = binding.meeting.all_do(
        lambda rank: measurement.prepare(case, context_of(binding, rank, context))
    )
    for calls in binding.calls:
        calls.clear()
    return found
