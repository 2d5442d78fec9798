"""A CUDA of host memory with a clock of its own: work is queued, and done when somebody waits.

It has the names of CuPy that the package calls, keeps the rules that the CUDA programming guide
states for several devices and streams, and refuses what breaks them. Times follow from `costs`, so
that they are known beforehand: copies take bytes over RATE, events and switches between kernels and
copy engines cost something, and a cache makes small copies within a GPU faster. It forgives as
little as a real one: what is used first allocates and waits for all that is queued, streams share
hardware queues, a queue that is full blocks the host, and without peer access the host waits for
copies between GPUs. `machine.faults` lets a call fail.
"""

from simulated_cuda.costs import (
    CACHE_BYTES,
    CACHED,
    EVENT_S,
    FIXED_MOST_S,
    FLOP_RATE,
    LAUNCH_S,
    RATE,
)
from simulated_cuda.errors import CompileError, CublasError, CudaError
from simulated_cuda.gpu import SimulatedGpu, simulate
from simulated_cuda.machine import Simulated

__all__ = [
    "CACHED",
    "CACHE_BYTES",
    "EVENT_S",
    "FIXED_MOST_S",
    "FLOP_RATE",
    "LAUNCH_S",
    "RATE",
    "CompileError",
    "CublasError",
    "CudaError",
    "Simulated",
    "SimulatedGpu",
    "simulate",
]
