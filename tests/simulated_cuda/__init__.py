"""A CUDA of host memory with a clock of its own: work is queued, and done when somebody waits.

It has the names of CuPy that the package calls, keeps the rules that the CUDA programming guide
states for several devices and streams, and refuses what breaks them. Copies take bytes over RATE,
so that the times of events are known beforehand.
"""

from simulated_cuda.costs import FLOP_RATE, LAUNCH_S, RATE
from simulated_cuda.errors import CudaError
from simulated_cuda.gpu import SimulatedGpu, simulate
from simulated_cuda.machine import Simulated

__all__ = [
    "FLOP_RATE",
    "LAUNCH_S",
    "RATE",
    "CudaError",
    "Simulated",
    "SimulatedGpu",
    "simulate",
]
