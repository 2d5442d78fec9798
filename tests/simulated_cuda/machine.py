"""The machine: its GPUs, streams and memory, and the names of CuPy that the package calls."""

import os
import weakref
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from simulated_cuda.costs import CACHE_BYTES, CACHED, RATE
from simulated_cuda.cublas import Cublas
from simulated_cuda.errors import CompileError, CudaError, Faults
from simulated_cuda.kernels import SimulatedKernel
from simulated_cuda.runtime import Runtime
from simulated_cuda.streams import HardwareQueue, SimulatedEvent, SimulatedStream


class Simulated:
    """The machine.

    Args:
        gpus: how many it has.
        peers: whether they can reach each other's memory.
        is_hip: whether they are AMD's.
    """

    def __init__(self, gpus: int = 1, peers: bool = True, is_hip: bool = False) -> None:
        self.gpus, self.peers = gpus, peers
        self.capability = (9, 0)
        self.architecture = "gfx90a"
        """Of an AMD GPU."""
        self.current = 0
        self.faults = Faults()
        self.streams: weakref.WeakValueDictionary[int, SimulatedStream]
        self.streams = weakref.WeakValueDictionary()
        variable, usual = ("GPU_MAX_HW_QUEUES", 4) if is_hip else ("CUDA_DEVICE_MAX_CONNECTIONS", 8)
        count = int(os.environ.get(variable, usual))
        self._hardware = [[HardwareQueue() for _ in range(count)] for _ in range(gpus)]
        self.launches_block = os.environ.get("CUDA_LAUNCH_BLOCKING") == "1"
        self.current_stream: list[Any] = []
        self.memory: dict[int, tuple[int | None, Any]] = {}
        self.reach: set[tuple[int, int]] = set()
        self.holding = 0
        self.host_s = 0.0
        """When the host last let a stream go, where several machines have one clock."""
        self.loaded: set[tuple[object, ...]] = set()
        self.products = 0
        self.copied: list[tuple[int, str]] = []
        self.blocks: list[int] = []
        """Of each copy by a kernel."""
        self._cached: dict[int, int] = {}
        """Bytes in the cache by their address, the latest ones last."""
        self.cupy = self
        self.cuda = self
        self.runtime = Runtime(self, is_hip)
        self.cublas = Cublas(self)
        self.compiler = SimpleNamespace(CompileException=CompileError)
        self.device = SimpleNamespace(get_cublas_handle=lambda: 7)
        machine = self

        class Device:
            def __init__(self, number: int) -> None:
                self.number, self.before = number, [0][:0]

            def __enter__(self) -> "Device":
                self.before.append(machine.current)
                machine.current = self.number
                return self

            def __exit__(self, *_: object) -> None:
                machine.current = self.before.pop()

        self.Device = Device
        self.Stream = lambda non_blocking: SimulatedStream(self, non_blocking)
        self.Event = lambda disable_timing=False: SimulatedEvent(self, disable_timing)
        self.RawKernel = lambda source, name: SimulatedKernel(self, source, name)

    @staticmethod
    def get_elapsed_time(begin: "SimulatedEvent", end: "SimulatedEvent") -> float:
        if begin.device != end.device or begin.disabled or end.disabled:
            raise CudaError(400, "events of two devices, or without time")
        if begin.at is None or end.at is None:
            raise CudaError(600, "not ready")
        return (end.at - begin.at) * 1e3

    def owner(self, address: int) -> int | None:
        """Return the GPU whose memory an address lies in, None for locked host memory."""
        for start, (gpu, raw) in self.memory.items():
            if start <= address < start + len(raw):
                return gpu
        raise CudaError(700, "illegal address")

    def reaches(self, one: int | None, other: int | None) -> bool:
        """Return whether a copy between two memories needs no host."""
        return one is None or other is None or one == other or (one, other) in self.reach

    def copy_s(self, target: int, source: int, nbytes: int) -> float:
        """Return how long a copy takes; what it touches is in its GPU's cache then."""
        ends = (target, source)
        owners = {self.owner(end) for end in ends}
        if owners == {None} or len(owners) > 1:
            return nbytes / RATE
        faster = CACHED if all(self._cached.get(end) == nbytes for end in ends) else 1
        for end in ends:
            self._cached.pop(end, None)
            self._cached[end] = nbytes
        while sum(self._cached.values()) > CACHE_BYTES:
            del self._cached[next(iter(self._cached))]
        return nbytes / RATE / faster

    def choose_queue(self, stream: SimulatedStream) -> HardwareQueue:
        """Return the hardware queue of a new stream: the one that fewest others have."""
        own = self._hardware[stream.device]
        taken = Counter(id(other.hardware) for other in self.streams.values())
        return min(own, key=lambda queue: taken[id(queue)])

    def queued(self, device: int | None = None) -> int:
        """Return how many entries of a device have not run, or of all."""
        devices = self._hardware if device is None else [self._hardware[device]]
        return sum(len(queue.entries) for own in devices for queue in own)

    def load(self, code: tuple[object, ...]) -> None:
        """Load code on the current device, which waits for all that is queued."""
        key = (self.current, *code)
        if key not in self.loaded:
            self.wait_for_all()
        self.loaded.add(key)

    def wait_for_all(self) -> None:
        """Let the host wait until nothing is queued anywhere."""
        self.work(lambda: not self.queued())

    def work(self, done: Callable[[], bool]) -> None:
        """Run whatever is ready until something is done; what holds a stream may give up."""
        while not done():
            heads = [queue for own in self._hardware for queue in own if queue.entries]
            ready = [queue for queue in heads if queue.entries[0][1].ready() is not None]
            holds = [queue.entries[0][1].give_up for queue in heads]
            if not ready and not any(holds):
                raise CudaError(702, "nothing that is queued can run: a deadlock")
            if not ready:
                for give_up in filter(None, holds):
                    give_up()
            for queue in ready:
                queue.run_first()
