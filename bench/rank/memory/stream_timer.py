"""Times work on GPUs by their own clock: events around work that is queued while a kernel waits.

The kernel holds a stream until the host has queued everything, so no launch is inside the time
(as nvbandwidth does). It gives up after a while, since a full queue would wait for it, and it for
the host. Whatever runs behind it has to have run before: CUDA loads the code of a kernel when it is
first launched, and may wait for all streams to do so.
"""

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bench.rank.memory.gpu import Gpu

MOST_QUEUED = 256
"""Operations of a stream behind one waiting kernel; the runtime's queue holds about a thousand."""
HOLD_TICKS = 20_000_000_000
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


class GpuStream(NamedTuple):
    """A stream, and the GPU that it belongs to."""

    gpu: Gpu
    stream: Any


class StreamTimer:
    """Streams that begin together: the first one is held, and the others wait until it begins.

    Args:
        streams: of one GPU or of several; the time is that of the first one's GPU.
    """

    def __init__(self, streams: Sequence[GpuStream]) -> None:
        self._first, *self._others = streams
        gpu = self._first.gpu
        self._cuda: Any = gpu.cupy.cuda
        self._kernel = gpu.cupy.RawKernel(_SOURCE, "hold")
        with gpu.device:
            self._begin, self._end = self._cuda.Event(), self._cuda.Event()
            self._address = int(gpu.runtime.hostAlloc(8, _MAPPED))
        weakref.finalize(self, gpu.runtime.freeHost, self._address)
        self._flags = (ctypes.c_int * 2).from_address(self._address)
        self._ends = [self._make_event(other) for other in self._others]

    def _make_event(self, stream: GpuStream) -> Any:
        with stream.gpu.device:  # an event is recorded on streams of its own device alone
            return self._cuda.Event(disable_timing=True)

    def time(self, queues: Sequence[Callable[[], None]], times: int) -> float:
        """Return the seconds from the beginning to the last end, of one of so many operations.

        Args:
            queues: for each stream what queues one operation, called while it is the current one.
            times: operations of each stream, one after another.
        """
        seconds = 0.0
        for first in range(0, times, MOST_QUEUED):
            seconds += self._time_queued(queues, min(MOST_QUEUED, times - first))
        return seconds / times

    def _time_queued(self, queues: Sequence[Callable[[], None]], times: int) -> float:
        self._flags[0] = self._flags[1] = 0
        try:
            self._queue_all(queues, times)
        finally:
            self._flags[0] = 1
        self._end.synchronize()
        if self._flags[1]:
            raise RuntimeError(
                "work could not be queued on the GPU while its stream was held: the driver waits "
                "for an operation that was to be queued"
            )
        return float(self._cuda.get_elapsed_time(self._begin, self._end)) * 1e-3

    def _queue_all(self, queues: Sequence[Callable[[], None]], times: int) -> None:
        first = self._first
        with first.gpu.device, first.stream:
            self._kernel((1,), (1,), (self._address, HOLD_TICKS))
            self._begin.record(first.stream)
        for other in self._others:
            other.stream.wait_event(self._begin)
        for each, queue in zip((first, *self._others), queues, strict=True):
            with each.gpu.device, each.stream:
                for _ in range(times):
                    queue()
        for other, end in zip(self._others, self._ends, strict=True):
            with other.gpu.device:
                end.record(other.stream)
        with first.gpu.device:
            for end in self._ends:
                first.stream.wait_event(end)
            self._end.record(first.stream)
