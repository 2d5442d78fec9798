"""Times work on a GPU by its own clock: events around work that is queued while a kernel waits.

The kernel holds the stream until the host has queued everything, so no launch is inside the time
(as nvbandwidth does). It gives up after a while, since a full queue would wait for it, and it for
the host.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from bench.memory.gpu import Gpu

MOST_QUEUED = 256
"""Operations behind one waiting kernel; the runtime's queue holds about a thousand."""
HELD_TICKS = 20_000_000_000
"""Ticks of the multiprocessor's clock, 10 s at 2 GHz, until the kernel gives up."""
_MAPPED = 2
"""cudaHostAllocMapped and hipHostMallocMapped."""
_SOURCE = """
extern "C" __global__ void hold(volatile int* flags, long long ticks) {
    long long begin = clock64();
    while (!flags[0]) {
        if (clock64() - begin > ticks) { flags[1] = 1; break; }
    }
}
"""


class HeldStream:
    """The stream of a rank's GPU, for timing."""

    def __init__(self, gpu: Gpu) -> None:
        self._stream = gpu.stream
        self._cupy: Any = gpu.cupy
        self._kernel = self._cupy.RawKernel(_SOURCE, "hold")
        self._address = int(gpu.runtime.hostAlloc(8, _MAPPED))
        self._flags = (ctypes.c_int * 2).from_address(self._address)
        self._begin, self._end = self._cupy.cuda.Event(), self._cupy.cuda.Event()

    def time(self, queue: Callable[[], None], times: int) -> float:
        """Return the seconds of one of so many operations, each queued by a call."""
        seconds = 0.0
        for first in range(0, times, MOST_QUEUED):
            seconds += self._time_queued(queue, min(MOST_QUEUED, times - first))
        return seconds / times

    def _time_queued(self, queue: Callable[[], None], times: int) -> float:
        self._flags[0] = self._flags[1] = 0
        with self._stream:
            self._kernel((1,), (1,), (self._address, HELD_TICKS))
            self._begin.record(self._stream)
            for _ in range(times):
                queue()
            self._end.record(self._stream)
        self._flags[0] = 1
        self._end.synchronize()
        if self._flags[1]:
            raise RuntimeError(
                "work could not be queued on the GPU while its stream was held: the driver waits "
                "for an operation that was to be queued"
            )
        return float(self._cupy.cuda.get_elapsed_time(self._begin, self._end)) * 1e-3
