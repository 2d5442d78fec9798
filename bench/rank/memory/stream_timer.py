"""Times work on GPUs by their own clock: events around work that is queued while a kernel waits.

The kernel holds the streams until the host has queued everything, so no launch is inside the time
(as nvbandwidth does). It gives up after a while, since a full queue would wait for it, and it for
the host. Whatever runs behind it has to have run before (`rehearse`): what is used first, a
kernel's code or a stream's way to a copy engine, is loaded or allocated then, and that may wait for
all streams.

Behind the kernel and before the first event a few operations run untimed: the change from the
multiprocessors to a copy engine, and the waits of streams for each other, take microseconds that
are no part of a copy. What is left of that in a sample is measured, and `fixed_s` tells it.
Long operations have neither: microseconds do not show in them, and more of them would take seconds.
"""

import ctypes
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from bench.contracts import LeastSample, Meet
from bench.rank.memory.gpu import Gpu, allocate_or_tell

MOST_QUEUED = 256
"""Operations of a stream behind one waiting kernel; the runtime's queue holds about a thousand."""
WARMUPS = 4
"""Untimed operations of each stream before those that are timed, as nvbandwidth (source of 2025-04)
has them."""
WARMED_MOST_S = 10e-3
"""Operations that take longer have none."""
LEAST_SAMPLE = LeastSample(1e-3, MOST_QUEUED)
"""What surrounds a sample takes some microseconds, and events count in half microseconds."""
LEAST_JOINT_SAMPLE = LeastSample(5e-3, MOST_QUEUED)
"""Long beside the microseconds by which ranks leave a call of MPI one after another."""
HOLD_TICKS = 20_000_000_000
"""Ticks of the multiprocessor's clock, 10 s at 2 GHz, until the kernel gives up."""
_FIXED_REPEATS = 5
_FIXED_MOST_S = 1e-3
"""Beside a longer operation the fixed part of a sample is too small to be seen."""
_FIXED_SPAN_S = 20e-3
_MAPPED = 2
"""cudaHostAllocMapped and hipHostMallocMapped."""
_SERIALIZERS = (
    *("CUDA_LAUNCH_BLOCKING", "HIP_LAUNCH_BLOCKING"),
    *("AMD_SERIALIZE_KERNEL", "AMD_SERIALIZE_COPY"),
)
_TOOLS = ("CUDA_INJECTION64_PATH", "HSA_TOOLS_LIB")
"""Profilers and debuggers are loaded by these; some let one operation run at a time."""
_SOURCE = """
extern "C" __global__ void hold(volatile int* flags, long long ticks) {
    long long begin = clock64();
    while (!flags[0]) {
        if (clock64() - begin > ticks) { flags[1] = 1; break; }
    }
}
"""

Queues = Sequence[Callable[[], None]]
"""For each stream what queues one operation, called while it is the current one."""


class GpuStream(NamedTuple):
    """A stream, and the GPU that it belongs to."""

    gpu: Gpu
    stream: Any


class StreamTimer:
    """Streams that begin together: the first one is held, and the others wait until it begins.

    Args:
        streams: of one GPU or of several; the time is that of the first one's GPU.
        holds: False where the driver makes the host wait for an operation, which no stream that
            is held would ever end; launches are inside the time then.
    """

    def __init__(self, streams: Sequence[GpuStream], holds: bool = True) -> None:
        self._all, self._holds = streams, holds
        self._first, *self._others = streams
        gpu = self._first.gpu
        self._cuda: Any = gpu.cupy.cuda
        self._kernel = gpu.cupy.RawKernel(_SOURCE, "hold")
        with gpu.device:
            self._begin, self._end = self._cuda.Event(), self._cuda.Event()
            self._held = self._cuda.Event(disable_timing=True)
            self._address = allocate_or_tell(gpu, lambda n: gpu.runtime.hostAlloc(n, _MAPPED), 8)
        weakref.finalize(self, gpu.runtime.freeHost, self._address)
        self._flags = (ctypes.c_int * 2).from_address(self._address)
        self._ends = [self._make_event(other) for other in self._others]
        self.warmups = WARMUPS
        """Of each stream before those that are timed; a rehearsal shows whether they are worth it.
        """
        self._rehearsed_s = 0.0

    def _make_event(self, stream: GpuStream) -> Any:
        with stream.gpu.device:  # an event is recorded on streams of its own device alone
            return self._cuda.Event(disable_timing=True)

    def rehearse(self, queues: Queues, ran: bool = False) -> None:
        """Run one operation of each stream, and all that surrounds it, while nothing is held.

        Args:
            ran: whether they have run before; else a long one runs once more, for the first time
                may be that of what is loaded or allocated then.
        """
        self.warmups = 0
        self._rehearsed_s = self._rehearse_once(queues)
        if self._rehearsed_s > _FIXED_MOST_S and not ran:
            self._rehearsed_s = self._rehearse_once(queues)
        self.warmups = WARMUPS if self._rehearsed_s < WARMED_MOST_S else 0

    def _rehearse_once(self, queues: Queues) -> float:
        self._flags[0], self._flags[1] = 1, 0  # the kernel ends at once
        self._queue_all(queues, 1)
        self._end.synchronize()
        return self._elapsed_s()

    def time(self, queues: Queues, times: int, meet: Meet | None = None) -> float:
        """Return the seconds from the beginning to the last end, of one of so many operations.

        Args:
            queues: that were rehearsed.
            times: operations of each stream, one after another.
            meet: other ranks, once all is queued and once it has ended.
        """
        seconds = 0.0
        for first in range(0, times, MOST_QUEUED):
            seconds += self._time_queued(queues, min(MOST_QUEUED, times - first), meet)
        return seconds / times

    def fixed_s(self, queues: Queues) -> float | None:
        """Return the seconds of a sample that its operations do not explain, however many.

        They are those of one operation less what it takes among many; None where it is so long
        that they could not be seen beside it. Noise may make them less than nothing.
        """
        if self._rehearsed_s > _FIXED_MOST_S:
            return None
        first_s = self.time(queues, 1)
        many = max(2, min(MOST_QUEUED, int(_FIXED_SPAN_S / max(first_s, 1e-9))))
        ones, all_of_many = [], []
        for _ in range(_FIXED_REPEATS):
            ones.append(self.time(queues, 1))
            all_of_many.append(self.time(queues, many) * many)
        return (many * median(ones) - median(all_of_many)) / (many - 1)

    def _time_queued(self, queues: Queues, times: int, meet: Meet | None) -> float:
        self._flags[0] = self._flags[1] = 0
        try:
            _do_and_meet(partial(self._queue_all, queues, times), meet)
        finally:
            self._flags[0] = 1
        _do_and_meet(self._finish, meet)
        return self._elapsed_s()

    def _finish(self) -> None:
        self._end.synchronize()
        if self._flags[1]:
            raise RuntimeError(
                "work could not be queued on the GPU while its stream was held: the driver waits "
                f"for an operation that was to be queued{name_suspects(os.environ)}"
            )

    def _elapsed_s(self) -> float:
        return float(self._cuda.get_elapsed_time(self._begin, self._end)) * 1e-3

    def _queue_all(self, queues: Queues, times: int) -> None:
        first = self._first
        if self._holds:
            with first.gpu.device, first.stream:
                self._kernel((1,), (1,), (self._address, HOLD_TICKS))
        self._fork(self._held)
        self._queue_operations(queues, self.warmups)
        self._join()
        self._fork(self._begin)
        self._queue_operations(queues, times)
        self._join()
        with first.gpu.device:
            self._end.record(first.stream)

    def _queue_operations(self, queues: Queues, times: int) -> None:
        if self._holds:
            for each, queue in zip(self._all, queues, strict=True):
                with each.gpu.device, each.stream:
                    for _ in range(times):
                        queue()
            return
        # Whose call waits would keep the others from beginning.
        for _ in range(times):
            for each, queue in zip(self._all, queues, strict=True):
                with each.gpu.device, each.stream:
                    queue()

    def _fork(self, event: Any) -> None:
        """Let the others wait until the first stream has come here."""
        with self._first.gpu.device:
            event.record(self._first.stream)
        for other in self._others:
            other.stream.wait_event(event)

    def _join(self) -> None:
        """Let the first stream wait until the others have come here."""
        for other, end in zip(self._others, self._ends, strict=True):
            with other.gpu.device:
                end.record(other.stream)
        with self._first.gpu.device:
            for end in self._ends:
                self._first.stream.wait_event(end)


def _do_and_meet(work: Callable[[], None], meet: Meet | None) -> None:
    """Do this rank's part, and tell those it meets how it went: none waits for one that raised."""
    if meet is None:
        work()
        return
    error: Exception | None = None
    try:
        work()
    except Exception as raised:  # noqa: BLE001 - `meet` raises it
        error = raised
    meet(error)


def name_suspects(environment: Mapping[str, str]) -> str:
    """Return what in the environment makes a host wait for its GPU, as the end of a sentence."""
    found = [name for name in _SERIALIZERS if environment.get(name, "0") not in ("", "0")]
    found += [name for name in _TOOLS if environment.get(name)]
    if not found:
        return ""
    return f"; {', '.join(found)} may be why: unset {'it' if len(found) == 1 else 'them'}"
