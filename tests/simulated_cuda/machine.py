"""The machine: its GPUs, streams and memory, and the names of CuPy that the package calls."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from simulated_cuda.cublas import Cublas
from simulated_cuda.errors import CudaError
from simulated_cuda.kernels import SimulatedKernel
from simulated_cuda.runtime import Runtime
from simulated_cuda.streams import SimulatedEvent, SimulatedStream


class Simulated:
    """The machine.

    Args:
        gpus: how many it has.
        peers: whether they can reach each other's memory.
    """

    def __init__(self, gpus: int = 1, peers: bool = True) -> None:
        self.gpus, self.peers = gpus, peers
        self.capability = (9, 0)
        self.current = 0
        self.streams: list[Any] = []
        self.current_stream: list[Any] = []
        self.memory: dict[int, tuple[int | None, Any]] = {}
        self.reach: set[tuple[int, int]] = set()
        self.holding = 0
        self.loaded: set[tuple[object, ...]] = set()
        self.products = 0
        self.copied: list[tuple[int, str]] = []
        self.cupy = self
        self.cuda = self
        self.runtime = Runtime(self)
        self.cublas = Cublas(self)
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

    def load(self, code: tuple[object, ...]) -> None:
        """Load code on the current device, which may wait for all that is queued."""
        key = (self.current, *code)
        if key not in self.loaded and self.holding:
            raise CudaError(702, "code is loaded while a kernel holds a stream")
        self.loaded.add(key)

    def work(self, done: Callable[[], bool]) -> None:
        """Run whatever is ready until something is done."""
        while not done():
            ready = [s for s in self.streams if s.queue and s.queue[0].ready() is not None]
            if not ready:
                raise CudaError(702, "nothing that is queued can run: a deadlock")
            for stream in ready:
                operation = stream.queue.pop(0)
                at = operation.ready()
                stream.at = operation.run(max(stream.at, at))
