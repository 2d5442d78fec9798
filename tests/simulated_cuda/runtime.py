"""Functions of the CUDA runtime, under the names that CuPy gives them."""

# ruff: noqa: N802, N815 - the names are CuPy's

import ctypes
from typing import TYPE_CHECKING

from simulated_cuda.errors import CudaError

if TYPE_CHECKING:
    from simulated_cuda.machine import Simulated


class Runtime:
    """Functions of the runtime."""

    CUDARuntimeError = CudaError
    is_hip = False
    cudaDevAttrMultiProcessorCount = 16
    cudaDevAttrL2CacheSize = 38

    def __init__(self, machine: "Simulated") -> None:
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

    def getDeviceProperties(self, number: int) -> dict[str, int]:
        assert number < self._machine.gpus
        major, minor = self._machine.capability
        return {"major": major, "minor": minor}

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
