"""Copies by GPUs: by the driver's engines or a kernel of ours, as nvbandwidth's `ce` and `sm`."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial

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

    Raises:
        MemoryError: where the runtime has none left for flags.
    """

    least_sample = LEAST_SAMPLE

    def __init__(
        self,
        gpus: Callable[[int], Gpu],
        own: Gpu,
        transfers: Sequence[Transfer],
        engine: str,
    ) -> None:
        queue = _by_kernel if engine == "kernel" else _by_engine
        streams = [_open_stream(own if t.gpu is None else gpus(t.gpu)) for t in transfers]
        self._queues = [queue(*each) for each in zip(streams, transfers, strict=True)]
        # A host that waits for a copy cannot let the kernel go that the copy waits for.
        self.held = not any(t.through_host for t in transfers)
        self.cache_bytes = own.cache_bytes
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


def _by_engine(on: GpuStream, transfer: Transfer) -> Callable[[], None]:
    return partial(
        on.gpu.runtime.memcpyAsync,
        transfer.target,
        transfer.source,
        transfer.nbytes,
        ANY_DIRECTION,
        on.stream.ptr,
    )


def _by_kernel(on: GpuStream, transfer: Transfer) -> Callable[[], None]:
    needed = -(-transfer.nbytes // (_THREADS * _WORD_BYTES))
    blocks = max(1, min(on.gpu.multiprocessors, needed))
    return partial(
        on.gpu.cupy.RawKernel(_SOURCE, "copy_bytes"),
        (blocks,),
        (_THREADS,),
        (transfer.target, transfer.source, transfer.nbytes),
    )
