"""The kernels of the package, by their names."""

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from simulated_cuda.costs import GIVE_UP_S, LAUNCH_S
from simulated_cuda.errors import CudaError
from simulated_cuda.streams import Operation, SimulatedStream

if TYPE_CHECKING:
    from simulated_cuda.machine import Simulated


class SimulatedKernel:
    """One of the two kernels."""

    def __init__(self, machine: "Simulated", source: str, name: str) -> None:
        assert f"void {name}(" in source
        self._machine, self._name = machine, name

    def __call__(self, grid: tuple[int], block: tuple[int], args: tuple[int, ...]) -> None:
        machine, stream = self._machine, self._machine.current_stream[-1]
        assert stream.device == machine.current
        machine.faults.meet(self._name)
        machine.load((id(self), self._name))
        if self._name == "hold":
            self._hold(stream, *args)
        else:
            assert grid[0] * block[0] >= 1
            machine.blocks.append(grid[0])
            for address in args[:2]:
                owner = machine.owner(address)
                near = owner in (None, machine.current)
                if not near and (machine.current, owner) not in machine.reach:
                    raise CudaError(700, "memory of a GPU that is out of reach")
            stream.copy(*args, "kernel")

    def _hold(self, stream: SimulatedStream, flags: int, ticks: int) -> None:
        assert ticks > 0
        machine = self._machine
        machine.holding += 1
        flag = np.ctypeslib.as_array((ctypes.c_int * 2).from_address(flags))
        waited = [LAUNCH_S]

        def run(at: float) -> float:
            machine.holding -= 1
            return max(at + waited[0], machine.host_s)

        def give_up() -> None:
            flag[:] = (flag[0], 1)
            waited[0] = GIVE_UP_S

        stream.add(Operation(lambda: 0.0 if flag[0] or flag[1] else None, run, "kernel", give_up))
