"""Memory of a GPU, and host memory that its runtime locked: through CuPy, on CUDA and on ROCm.

Every GPU belongs to the rank of that number on its node. Allocations are plain ones (cudaMalloc,
hipMalloc): MPI libraries cannot pass on what comes from a stream-ordered pool. Timing loops call
the runtime's own functions, whose addresses are taken from its shared library.
"""

import copy
import ctypes
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bench.core.schedule import DeviceCopies
from bench.rank.memory.gpu_cache import last_cache_bytes
from bench.rank.memory.numa import run_on_cpus
from bench.rank.memory.pattern import PatternBuffer

_TO_DEVICE, _TO_HOST = 1, 2
"""cudaMemcpyHostToDevice and cudaMemcpyDeviceToHost; HIP has the same numbers."""


_SPIN = 1
"""hipDeviceScheduleSpin."""


class MissingMemoryError(Exception):
    """A kind of memory is not here; the message names what it needs."""


class Gpu:
    """The GPU of this rank and its runtime.

    It is the current one of the process from here on.

    Args:
        local_rank: number of this rank among those of its node.

    Raises:
        MissingMemoryError: where there is no GPU, or no CuPy that can drive it.
    """

    def __init__(self, local_rank: int) -> None:
        try:
            import cupy
        except Exception as error:
            # A CuPy of another CUDA version fails with errors of its own, not only ImportError.
            raise MissingMemoryError(f"it needs a GPU and CuPy ({type(error).__name__})") from error
        self.cupy: Any = cupy
        self.runtime: Any = cupy.cuda.runtime
        try:
            count = self.runtime.getDeviceCount()
            self.number = local_rank % max(1, count)
            self.runtime.setDevice(self.number)
            self.device: Any = cupy.cuda.Device(self.number)
            """Makes it the current one, in a `with` statement."""
            self.stream: Any = cupy.cuda.Stream(non_blocking=True)
            self.pci_address = self._find_address()
        except self.runtime.CUDARuntimeError as error:
            raise MissingMemoryError(f"it needs a GPU that CuPy can drive ({error})") from error
        self.copies = self._find_copies()

    @cached_property
    def multiprocessors(self) -> int:
        """Multiprocessors, or compute units."""
        return self._read_property("multiProcessorCount")

    @cached_property
    def cache_bytes(self) -> int:
        """Bytes of the L2 cache."""
        return self._read_property("l2CacheSize")

    @cached_property
    def last_cache_bytes(self) -> int | None:
        """Bytes of the last cache before the memory; None where that is not known."""
        name = self.runtime.getDeviceProperties(self.number).get("gcnArchName", b"")
        architecture = bytes(name).partition(b"\0")[0].decode("ascii", "replace")
        return last_cache_bytes(self.cache_bytes, bool(self.runtime.is_hip), architecture)

    def _read_property(self, name: str) -> int:
        """Return a field of cudaDeviceProp.

        Not an attribute: CuPy for ROCm (13.6, 14.2) numbers those as an old HIP did.
        """
        return int(self.runtime.getDeviceProperties(self.number)[name])

    def _find_address(self) -> str:
        """Return where the GPU sits on the bus.

        CuPy (14.2) leaves room for domains of four digits; behind VMD and in virtual machines they
        have five and more.
        """
        try:
            return str(self.runtime.deviceGetPCIBusId(self.number))
        except self.runtime.CUDARuntimeError:
            has = self.runtime.getDeviceProperties(self.number)
            domain, bus, slot = (int(has[f"pci{part}ID"]) for part in ("Domain", "Bus", "Device"))
            return f"{domain:04x}:{bus:02x}:{slot:02x}.0"

    def find_lost(self) -> str | None:
        """Return the error that the GPU answers everything with, or None where it still works.

        Errors such as an illegal address stay with the process until it ends.
        """
        # The first wait may tell of the error that is known already.
        for _ in range(2):
            try:
                with self.device:
                    self.runtime.deviceSynchronize()
            except self.runtime.CUDARuntimeError as error:
                lost = str(error)
            else:
                return None
        return lost

    def _find_copies(self) -> DeviceCopies:
        maker = "hip" if self.runtime.is_hip else "cuda"
        library = find_runtime(maker, self.runtime.runtimeGetVersion())
        if self.runtime.is_hip:
            # It waits by interrupts else, and a rank that sleeps looks like one that was preempted.
            library.hipSetDeviceFlags(_SPIN)
        names = (f"{maker}MemcpyAsync", f"{maker}StreamSynchronize")
        copy, synchronize = (
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names
        )
        return DeviceCopies(copy or 0, synchronize or 0, int(self.stream.ptr))


def find_runtime(maker: str, version: int) -> ctypes.CDLL:
    """Return the runtime's shared library, which CuPy has loaded or else carries within itself.

    A second copy of the CUDA runtime serves as well: all copies share the primary context of a
    GPU, with its addresses and streams.

    Args:
        maker: `cuda` or `hip`.
        version: as the runtime reports it; of CUDA 1000 times the major number.

    Raises:
        MissingMemoryError: where there is none.
    """
    stem = "libamdhip64" if maker == "hip" else "libcudart"
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    loaded = [line.split(maxsplit=5)[5] for line in maps if f"/{stem}" in line]
    name = f"{stem}.so" if maker == "hip" else f"{stem}.so.{version // 1000}"
    for path in (*loaded, *_carried(maker), name):
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise MissingMemoryError(f"it needs {name}, the shared library of the GPU's runtime")


def _carried(maker: str) -> list[str]:
    """Return where NVIDIA's wheels keep the runtime, which no search path names."""
    if maker != "cuda":
        return []
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError:
        return []
    try:
        return [str(load_nvidia_dynamic_lib("cudart").abs_path)]
    except Exception:  # noqa: BLE001 - it has an error class of its own, in a place that moved
        return []


class DeviceBuffer(PatternBuffer):
    """Bytes of a GPU's memory."""

    def __init__(self, nbytes: int, gpu: Gpu) -> None:
        self._device, self._runtime = gpu.device, gpu.runtime
        self._whole: DeviceBuffer | None = None
        with self._device:
            self.address = allocate_or_tell(gpu, gpu.runtime.malloc, nbytes)
        self.nbytes = nbytes
        weakref.finalize(self, gpu.runtime.free, self.address)
        self.write(np.zeros(nbytes, np.uint8))

    def part(self, offset: int, nbytes: int) -> Self:
        """Return some of the bytes, which live as long as the part does."""
        found = copy.copy(self)
        found._whole = self
        found.address, found.nbytes = self.address + offset, nbytes
        return found

    def write(self, data: NDArray[Any]) -> None:
        """Put the bytes of an array of the buffer's size there."""
        source = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
        if source.nbytes != self.nbytes:  # the runtime would read on past a shorter array
            raise ValueError(f"{source.nbytes} bytes do not fill a buffer of {self.nbytes}")
        with self._device:
            self._runtime.memcpy(self.address, source.ctypes.data, self.nbytes, _TO_DEVICE)
            # It may return while the last bytes are on their way from a buffer of the driver.
            self._runtime.deviceSynchronize()

    def read(self) -> NDArray[np.uint8]:
        """Return a copy of the bytes."""
        target = np.empty(self.nbytes, np.uint8)
        with self._device:
            self._runtime.deviceSynchronize()
            self._runtime.memcpy(target.ctypes.data, self.address, self.nbytes, _TO_HOST)
        return target


class DeviceMemory:
    """Allocates memory of this rank's GPU."""

    name = "device"

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.maker: Literal["cuda", "hip"] = "hip" if gpu.runtime.is_hip else "cuda"
        self.copies = gpu.copies

    @property
    def pci_address(self) -> str:
        """Where the GPU sits."""
        return self.gpu.pci_address

    def allocate(self, nbytes: int) -> DeviceBuffer:
        """Return a touched buffer."""
        return DeviceBuffer(nbytes, self.gpu)


class PinnedBuffer(PatternBuffer):
    """Bytes of host memory that the GPU reads and writes by itself."""

    def __init__(self, nbytes: int, gpu: Gpu) -> None:
        self.address = allocate_or_tell(gpu, lambda n: gpu.runtime.hostAlloc(n, 0), nbytes)
        self.nbytes = nbytes
        raw = (ctypes.c_uint8 * nbytes).from_address(self.address)
        weakref.finalize(raw, gpu.runtime.freeHost, self.address)  # views keep it alive
        self._bytes = np.frombuffer(memoryview(raw).cast("B"), np.uint8)
        self._bytes.fill(0)

    def part(self, offset: int, nbytes: int) -> Self:
        """Return some of the bytes."""
        found = copy.copy(self)
        found._bytes = self._bytes[offset : offset + nbytes]
        found.address, found.nbytes = self.address + offset, nbytes
        return found

    def write(self, data: NDArray[Any]) -> None:
        """Put the bytes of an array of the buffer's size there."""
        self._bytes[:] = data.view(np.uint8).reshape(-1)

    def read(self) -> NDArray[np.uint8]:
        """Return the bytes themselves."""
        return self._bytes


class PinnedMemory:
    """Allocates page-locked host memory; the runtime touches it while it locks it.

    Args:
        gpu: whose runtime locks it.
        cpus: of the NUMA node whose memory it is; none for wherever the rank runs.
    """

    name = "pinned"
    copies = None

    def __init__(self, gpu: Gpu, cpus: tuple[int, ...] = ()) -> None:
        self._gpu = gpu
        self._cpus = cpus

    def allocate(self, nbytes: int) -> PinnedBuffer:
        """Return a touched buffer."""

        def lock() -> PinnedBuffer:
            self._gpu.runtime.setDevice(self._gpu.number)  # of this thread
            return PinnedBuffer(nbytes, self._gpu)

        return run_on_cpus(self._cpus, lock)


def allocate_or_tell(gpu: Gpu, allocate: Callable[[int], Any], nbytes: int) -> int:
    """Return the address of memory that a GPU's runtime gives out.

    Raises:
        MemoryError: where it gives none.
    """
    try:
        return int(allocate(nbytes))
    except gpu.runtime.CUDARuntimeError as error:
        raise MemoryError(str(error)) from error
