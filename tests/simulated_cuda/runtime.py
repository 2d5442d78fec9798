"""Functions of the CUDA runtime, under the names that CuPy gives them."""

# ruff: noqa: N802, N815 - the names are CuPy's

import ctypes
from typing import TYPE_CHECKING

from simulated_cuda.costs import CACHE_BYTES
from simulated_cuda.errors import CudaError

if TYPE_CHECKING:
    from simulated_cuda.machine import Simulated


MULTIPROCESSORS = 4


class Runtime:
    """Functions of the runtime."""

    CUDARuntimeError = CudaError
    cudaDevAttrMultiProcessorCount = 16
    cudaDevAttrL2CacheSize = 38

    def __init__(self, machine: "Simulated", is_hip: bool = False) -> None:
        self._machine, self.is_hip = machine, is_hip
        if is_hip:
            # CuPy's build for ROCm (13.6 to 15.0.0a1) has the numbers of an old HIP.
            self.cudaDevAttrMultiProcessorCount, self.cudaDevAttrL2CacheSize = 14, 16

    def getDeviceCount(self) -> int:
        return self._machine.gpus

    def setDevice(self, number: int) -> None:
        self._machine.faults.meet("setDevice")
        self._machine.current = number

    def deviceGetPCIBusId(self, number: int) -> str:
        return f"0000:{number:02x}:00.0"

    def deviceGetAttribute(self, attribute: int, number: int) -> int:
        assert number < self._machine.gpus
        # Of today's HIP 14 is whether global memory is cached in L1, and 16 whether it is an APU.
        told = {14: 1, 16: 0} if self.is_hip else {16: MULTIPROCESSORS, 38: CACHE_BYTES}
        return told[attribute]

    def getDeviceProperties(self, number: int) -> dict[str, int | bytes]:
        assert number < self._machine.gpus
        major, minor = self._machine.capability
        # CuPy's is a string, which ends at the first zero byte; on HIP there is none.
        name = self._machine.architecture.encode()
        maker = {"gcnArchName": name} if self.is_hip else {"uuid": b"GPU"}
        return {
            **maker,
            "major": major,
            "minor": minor,
            "multiProcessorCount": MULTIPROCESSORS,
            "l2CacheSize": CACHE_BYTES,
        }

    def deviceSynchronize(self) -> None:
        machine = self._machine
        machine.faults.meet("deviceSynchronize")
        machine.work(lambda: not machine.queued(machine.current))

    def deviceCanAccessPeer(self, one: int, other: int) -> int:
        assert one != other
        return int(self._machine.peers)

    def deviceEnablePeerAccess(self, other: int) -> None:
        way = (self._machine.current, other)
        if way in self._machine.reach:
            raise CudaError(704, "already enabled")
        self._machine.reach.add(way)

    def malloc(self, nbytes: int) -> int:
        self._machine.faults.meet("malloc")
        return self._allocate(nbytes, self._machine.current)

    def hostAlloc(self, nbytes: int, _flags: int) -> int:
        self._machine.faults.meet("hostAlloc")
        return self._allocate(nbytes, None)

    def _allocate(self, nbytes: int, gpu: int | None) -> int:
        raw = (ctypes.c_uint8 * nbytes)()
        self._machine.memory[ctypes.addressof(raw)] = (gpu, raw)
        return ctypes.addressof(raw)

    def free(self, address: int) -> None:
        self._machine.wait_for_all()  # as cudaFree does: what is queued may use it
        del self._machine.memory[address]

    freeHost = free

    def memcpy(self, target: int, source: int, nbytes: int, _kind: int) -> None:
        self._machine.faults.meet("memcpy")
        ctypes.memmove(target, source, nbytes)

    def memcpyAsync(self, target: int, source: int, nbytes: int, kind: int, stream: int) -> None:
        assert kind == 4
        self._machine.faults.meet("memcpyAsync")
        self._machine.streams[stream].copy(target, source, nbytes, "engine")
