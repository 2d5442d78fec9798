"""A CUDA of host memory with a clock of its own: work is queued, and done when somebody waits.

It has the names of CuPy that the package calls, keeps the rules that the CUDA programming guide
states for several devices and streams, and refuses what breaks them. Copies take bytes over RATE,
so that the times of events are known beforehand.
"""

# ruff: noqa: N802, N815 - the names are CuPy's

import ctypes
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.core.schedule import DeviceCopies
from bench.rank.memory.gpu import Gpu
from bench.rank.memory.product import decode, encode

GEMM_TYPES = {
    # cudaDataType_t and cublasComputeType_t: what lies in memory, and what alpha and beta are.
    (1, 70): (np.float64, np.float64),
    (0, 68): (np.float32, np.float32),
    (0, 77): (np.float32, np.float32),
    (2, 68): (np.float16, np.float32),
    (14, 68): (np.uint16, np.float32),
}
"""Which pairs cublasGemmEx takes; of bfloat16 the bits."""
FLOP_RATE = 1e12
"""FLOP per second of every product."""
RATE = 1e9
"""Bytes per second of every copy, whatever else is copied."""
LAUNCH_S = 1e-3
"""Seconds on the clock that a stream is held at least: the host queues meanwhile."""


class CudaError(RuntimeError):
    """What the runtime raises, with its number."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Operation:
    """One entry of a stream: `ready` is the time from which it may run, None for not yet."""

    def __init__(self, ready: Callable[[], float | None], run: Callable[[float], float]) -> None:
        self.ready, self.run = ready, run


class Simulated:
    """The machine.

    Args:
        gpus: how many it has.
        peers: whether they can reach each other's memory.
    """

    def __init__(self, gpus: int = 1, peers: bool = True) -> None:
        self.gpus, self.peers = gpus, peers
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


class Runtime:
    """Functions of the runtime."""

    CUDARuntimeError = CudaError
    is_hip = False
    cudaDevAttrMultiProcessorCount = 16
    cudaDevAttrL2CacheSize = 38

    def __init__(self, machine: Simulated) -> None:
        self._machine = machine

    def getDeviceCount(self) -> int:
        return self._machine.gpus

    def setDevice(self, number: int) -> None:
        self._machine.current = number

    def deviceGetPCIBusId(self, number: int) -> str:
        return f"0000:0{number}:00.0"

    def deviceGetAttribute(self, attribute: int, number: int) -> int:
        assert number < self._machine.gpus
        return {16: 4, 38: 2**20}[attribute]

    def deviceSynchronize(self) -> None:
        own = [s for s in self._machine.streams if s.device == self._machine.current]
        self._machine.work(lambda: not any(s.queue for s in own))

    def deviceCanAccessPeer(self, one: int, other: int) -> int:
        assert one != other
        return int(self._machine.peers)

    def deviceEnablePeerAccess(self, other: int) -> None:
        way = (self._machine.current, other)
        if way in self._machine.reach:
            raise CudaError(704, "already enabled")
        self._machine.reach.add(way)

    def malloc(self, nbytes: int) -> int:
        return self._allocate(nbytes, self._machine.current)

    def hostAlloc(self, nbytes: int, _flags: int) -> int:
        return self._allocate(nbytes, None)

    def _allocate(self, nbytes: int, gpu: int | None) -> int:
        raw = (ctypes.c_uint8 * nbytes)()
        self._machine.memory[ctypes.addressof(raw)] = (gpu, raw)
        return ctypes.addressof(raw)

    def free(self, address: int) -> None:
        del self._machine.memory[address]

    freeHost = free

    def memcpy(self, target: int, source: int, nbytes: int, _kind: int) -> None:
        ctypes.memmove(target, source, nbytes)

    def memcpyAsync(self, target: int, source: int, nbytes: int, kind: int, stream: int) -> None:
        assert kind == 4
        self._machine.owner(target), self._machine.owner(source)
        (on,) = (s for s in self._machine.streams if s.ptr == stream)
        on.copy(target, source, nbytes, "engine")


class Cublas:
    """The one call of the library, which counts columns first."""

    def __init__(self, machine: Simulated) -> None:
        self._machine = machine

    def gemmEx(
        self,
        handle: int,
        *shape: int,
    ) -> None:
        (ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, *how) = shape
        assert (handle, ta, tb, how[1]) == (7, 0, 0, -1)
        assert a_type == b_type == c_type
        assert (lda, ldb, ldc) == (m, k, m)
        kind, scale = GEMM_TYPES[a_type, how[0]]
        assert self._read(alpha, (1,), scale) == 1
        assert self._read(beta, (1,), scale) == 0
        machine, stream = self._machine, self._machine.current_stream[-1]
        machine.load((m, n, k, a_type))

        def run(at: float) -> float:
            left, right = (
                _numbers(self._read(address, (columns, rows), kind)).T
                for address, rows, columns in ((a, m, k), (b, k, n))
            )
            product = (left.astype(np.float64) @ right.astype(np.float64)).T
            self._read(c, (n, m), kind)[:] = _stored(product, kind)
            machine.products += 1
            return at + 2 * m * n * k / FLOP_RATE

        stream.queue.append(Operation(lambda: 0.0, run))

    def _read(self, address: int, shape: tuple[int, ...], kind: type) -> Any:
        nbytes = int(np.prod(shape)) * np.dtype(kind).itemsize
        raw = (ctypes.c_uint8 * nbytes).from_address(address)
        return np.frombuffer(raw, kind).reshape(shape)


def _numbers(stored: Any) -> Any:
    return decode(stored, "bf16") if stored.dtype == np.uint16 else stored


def _stored(numbers: Any, kind: type) -> Any:
    return encode(numbers, "bf16") if kind is np.uint16 else numbers.astype(kind)


class SimulatedStream:
    """A stream of the device that was the current one."""

    numbers = itertools.count(1)

    def __init__(self, machine: Simulated, non_blocking: bool) -> None:
        assert non_blocking, "the default stream would wait for it"
        self._machine, self.device = machine, machine.current
        self.ptr, self.at = next(self.numbers), 0.0
        self.queue: list[Operation] = []
        machine.streams.append(self)

    def __enter__(self) -> None:
        if self._machine.current != self.device:
            raise RuntimeError("a stream of another device")
        self._machine.current_stream.append(self)

    def __exit__(self, *_: object) -> None:
        self._machine.current_stream.pop()

    def copy(self, target: int, source: int, nbytes: int, by: str) -> None:
        def run(at: float) -> float:
            ctypes.memmove(target, source, nbytes)
            self._machine.copied.append((self.device, by))
            return at + nbytes / RATE

        self.queue.append(Operation(lambda: 0.0, run))

    def wait_event(self, event: "SimulatedEvent") -> None:
        recorded = event.recorded
        self.queue.append(Operation(lambda: event.done.get(recorded), lambda at: at))

    def synchronize(self) -> None:
        self._machine.work(lambda: not self.queue)


class SimulatedEvent:
    """An event of the device that was the current one."""

    def __init__(self, machine: Simulated, disabled: bool) -> None:
        self._machine, self.device, self.disabled = machine, machine.current, disabled
        self.recorded, self.done = 0, {0: 0.0}

    @property
    def at(self) -> float | None:
        return self.done.get(self.recorded) if self.recorded else None

    def record(self, stream: SimulatedStream) -> None:
        if stream.device != self.device:
            raise CudaError(400, "an event of another device")
        self.recorded += 1
        number = self.recorded

        def run(at: float) -> float:
            self.done[number] = at
            return at

        stream.queue.append(Operation(lambda: 0.0, run))

    def synchronize(self) -> None:
        self._machine.work(lambda: self.at is not None)


class SimulatedKernel:
    """The two kernels of the package, by their names."""

    def __init__(self, machine: Simulated, source: str, name: str) -> None:
        assert f"void {name}(" in source
        self._machine, self._name = machine, name

    def __call__(self, grid: tuple[int], block: tuple[int], args: tuple[int, ...]) -> None:
        machine, stream = self._machine, self._machine.current_stream[-1]
        assert stream.device == machine.current
        machine.load((id(self), self._name))
        if self._name == "hold":
            self._hold(stream, *args)
        else:
            assert grid[0] * block[0] >= 1
            for address in args[:2]:
                owner = machine.owner(address)
                near = owner in (None, machine.current)
                if not near and (machine.current, owner) not in machine.reach:
                    raise CudaError(700, "memory of a GPU that is out of reach")
            stream.copy(*args, "kernel")

    def _hold(self, stream: SimulatedStream, flags: int, ticks: int) -> None:
        assert ticks > 0
        self._machine.holding += 1
        flag = np.ctypeslib.as_array((ctypes.c_int * 2).from_address(flags))

        def run(at: float) -> float:
            self._machine.holding -= 1
            return at + LAUNCH_S

        stream.queue.append(Operation(lambda: 0.0 if flag[0] else None, run))


class SimulatedGpu(Gpu):
    """A GPU of the simulated machine, opened as a real one is."""

    machine: Simulated

    def __init__(self, local_rank: int) -> None:
        self.cupy, self.runtime = self.machine, self.machine.runtime
        self.number = local_rank % self.machine.gpus
        self.runtime.setDevice(self.number)
        self.device = self.machine.Device(self.number)
        self.stream = self.machine.Stream(non_blocking=True)
        self.pci_address = self.runtime.deviceGetPCIBusId(self.number)
        self.copies: Any = DeviceCopies(0, 0, self.stream.ptr)


def simulate(monkeypatch: pytest.MonkeyPatch, gpus: int, peers: bool = True) -> Simulated:
    """Put a simulated machine in the place of GPUs, and return it."""
    SimulatedGpu.machine = Simulated(gpus, peers)
    monkeypatch.setattr("bench.rank.memory.Gpu", SimulatedGpu)
    monkeypatch.setattr("bench.rank.memory.peer_gpus.Gpu", SimulatedGpu)
    return SimulatedGpu.machine
