"""A GPU of the simulated machine, in the place of a real one."""

from typing import Any

import pytest

from bench.core.schedule import DeviceCopies
from bench.rank.memory.gpu import Gpu
from simulated_cuda.machine import Simulated


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


def simulate(
    monkeypatch: pytest.MonkeyPatch, gpus: int, peers: bool = True, is_hip: bool = False
) -> Simulated:
    """Put a simulated machine in the place of GPUs, and return it."""
    SimulatedGpu.machine = Simulated(gpus, peers, is_hip)
    monkeypatch.setattr("bench.rank.memory.Gpu", SimulatedGpu)
    monkeypatch.setattr("bench.rank.memory.peer_gpus.Gpu", SimulatedGpu)
    return SimulatedGpu.machine
