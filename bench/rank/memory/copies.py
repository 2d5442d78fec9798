"""Copies by GPUs: by the driver's engines or a kernel of ours, as nvbandwidth's `ce` and `sm`."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import cycle

from bench.contracts import Transfer
from bench.core.schedule import ANY_DIRECTION
from bench.rank.memory.gpu import Gpu
from bench.rank.memory.stream_timer import LEAST_SAMPLE, GpuStream, StreamTimer

_THREADS = 512
"""Of a block, one block on each multiprocessor, as nvbandwidth has them."""
_WORD_BYTES = 16
_SOURCE = """
extern "C" __global__ void copy_bytes(
    char* __restrict__ target, const char* __restrict__ source, unsigned long long nbytes) {
    const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    const unsigned long long thread = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned long long words = nbytes / 16;
    uint4* to = (uint4*)target;
    const uint4* from = (const uint4*)source;
    unsigned long long i = thread;
    for (; i + 7 * stride < words; i += 8 * stride) {
        uint4 held[8];
        #pragma unroll
        for (int j = 0; j < 8; j++) held[j] = from[i + j * stride];
        #pragma unroll
        for (int j = 0; j < 8; j++) to[i + j * stride] = held[j];
    }
    for (; i < words; i += stride) to[i] = from[i];
    for (i = 16 * words + thread; i < nbytes; i += stride) target[i] = source[i];
}
"""
"""Eight loads of 16 bytes on their way in each thread; the last bytes, if any, one by one."""


class TimedCopies:
    """Copies that begin together, each on a stream of its own.

    Args:
        gpus: by number.
        own: the GPU of the rank.
        sets: of copies at once that take turns, alike but for the buffers.

    Raises:
        MemoryError: where the runtime has none left for flags.
    """

    least_sample = LEAST_SAMPLE

    def __init__(
        self,
        gpus: Callable[[int], Gpu],
        own: Gpu,
        sets: Sequence[Sequence[Transfer]],
        engine: str,
    ) -> None:
        transfers = sets[0]
        streams = [_open_stream(own if t.gpu is None else gpus(t.gpu)) for t in transfers]
        each_turns = zip(*sets, strict=True)
        self._queues = [
            _take_turns(queue_kernels(*each) if engine == "kernel" else _queue_copies(*each))
            for each in zip(streams, each_turns, strict=True)
        ]
        # A host that waits for a copy cannot let the kernel go that the copy waits for.
        self.held = not any(t.through_host for t in transfers)
        self._timer = StreamTimer(streams, self.held)
        self._timer.rehearse(self._queues)

    @cached_property
    def fixed_s(self) -> float | None:
        """Seconds of a sample that its copies do not explain; None where they cannot be seen."""
        return self._timer.fixed_s(self._queues)

    def time(self, times: int) -> float:
        """Return the seconds of one copy of each, from the common beginning to the last end."""
        return self._timer.time(self._queues, times)


def _open_stream(gpu: Gpu) -> GpuStream:
    with gpu.device:
        return GpuStream(gpu, gpu.cupy.cuda.Stream(non_blocking=True))


def _take_turns(queues: Sequence[Callable[[], None]]) -> Callable[[], None]:
    """Return what queues the next one each time."""
    if len(queues) == 1:
        return queues[0]
    turns = cycle(queues)
    return lambda: next(turns)()


def _queue_copies(on: GpuStream, turns: Sequence[Transfer]) -> list[Callable[[], None]]:
    copy, stream = on.gpu.runtime.memcpyAsync, on.stream.ptr
    return [partial(copy, t.target, t.source, t.nbytes, ANY_DIRECTION, stream) for t in turns]


def queue_kernels(on: GpuStream, turns: Sequence[Transfer]) -> list[Callable[[], None]]:
    """Return what launches each copy by the kernel, called while the stream is the current one."""
    needed = -(-turns[0].nbytes // (_THREADS * _WORD_BYTES))
    blocks = max(1, min(on.gpu.multiprocessors, needed))
    kernel = on.gpu.cupy.RawKernel(_SOURCE, "copy_bytes")
    return [partial(kernel, (blocks,), (_THREADS,), (t.target, t.source, t.nbytes)) for t in turns]
