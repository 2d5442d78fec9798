"""The kernels of STREAM over three arrays of float64: copy, scale, add, triad.

After McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers",
1995. A kernel moves two or three arrays; a write-allocate that the hardware adds is not counted.
"""

import ctypes

import numpy as np
from numpy.typing import NDArray

from bench.contracts import (
    KERNELS,
    STREAM_SCALAR,
    AxisSpec,
    Buffer,
    Checked,
    Context,
    Headline,
    Measurement,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.measure.axes import BYTES, EACH, whole, with_default, word
from bench.measure.memcpy import FIGURE

ARRAYS_MOVED = {"copy": 2, "scale": 2, "add": 3, "triad": 3}
KERNEL = AxisSpec(
    name="kernel",
    kind=str,
    default=KERNELS,
    choices=KERNELS,
    in_id=True,
    advice="what is computed",
)


class Stream:
    """The four kernels."""

    name = "stream"
    title = "STREAM kernels: copy, scale, add, triad"
    axes = (with_default(BYTES, 64 * 2**20), KERNEL, EACH)
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "bytes"
    pairwise = False
    profile = Profile(
        family="memory",
        bound="kernel",
        hands_memory_to_mpi=False,
        rows="place",
        headline=Headline(
            pick="largest of each curve",
            what="Memory bandwidth",
            rate="gbytes_per_s",
            label="triad",
        ),
        figures=(FIGURE,),
        panel=1,
    )

    def work(self, case: Case) -> Work:
        """The arrays that the kernel reads and writes, on all ranks."""
        each = ARRAYS_MOVED[word(case, "kernel")] * _length(case) * 8
        total = each * whole(case, "ranks")
        return Work(bytes=total, bytes_per_rank=each, bytes_total=total, rate_bytes=total)

    def columns(self, case: Case) -> dict[str, Axis]:
        """Always float64 in host memory."""
        return {"dtype": "fp64", "src_memory": "host", "dst_memory": "host"}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Every rank can."""
        return None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate and touch the three arrays."""
        return _Kernel(case, context)


def _length(case: Case) -> int:
    return max(1, whole(case, "bytes") // 8)


def _numbers(buffer: Buffer) -> NDArray[np.float64]:
    """Return the bytes of a host buffer as numbers; they are gone when the buffer is."""
    raw = (ctypes.c_char * buffer.nbytes).from_address(buffer.address)
    return np.frombuffer(memoryview(raw).cast("B"), np.float64)


class _Kernel:
    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        self._loops = context.memory_loops
        self._name = word(case, "kernel")
        self.timing_layer = self._loops.name
        self.overhead_s = self._loops.overhead_s
        self.params: dict[str, Axis] = {}
        host = context.memories["host"]
        self._buffers = tuple(host.allocate(_length(case) * 8) for _ in range(3))
        a, b, c = (_numbers(buffer) for buffer in self._buffers)
        self._arrays = (a, b, c)

    def run(self, seconds: Seconds, loops: int) -> None:
        self._loops.kernel(seconds, loops, self._name, self._arrays)

    def verify(self, seed: int) -> Checked:
        a, b, c = self._arrays
        # Small multiples of 1/8: sums and halves are exact, so the comparison is too.
        ramp = np.arange(len(a), dtype=np.float64)
        a[:], b[:], c[:] = (ramp + seed) % 64 / 8, (ramp + 7 * seed) % 32 / 4, (ramp * 3) % 16 / 8
        kernels = {
            "copy": (c, a.copy()),
            "scale": (b, STREAM_SCALAR * c),
            "add": (c, a + b),
            "triad": (a, b + STREAM_SCALAR * c),
        }
        target, expected = kernels[self._name]
        target.fill(np.nan)
        self.run(one_sample(), 1)
        return Checked(target.nbytes, int(np.count_nonzero(target != expected)) * 8)


BENCHMARKS: tuple[Measurement, ...] = (Stream(),)
