"""One copy of a buffer to another by the C library, inside one process."""

from bench.contracts import (
    Checked,
    Context,
    Figure,
    Headline,
    Measurement,
    Operation,
    Profile,
    Seconds,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.measure.axes import BYTES, DEVICE_KINDS, EACH, MEMORY, whole, with_default, word

FIGURE = Figure(
    name="memory",
    title="Memory bandwidth against size",
    draws="rates",
    y_label="bandwidth",
    x_label="size of a buffer or array, each rank",
    see="Bytes per second of memory copies and of the STREAM kernels; higher is better. A fall "
    "towards the right is where the bytes no longer fit in a cache.",
    numbers="best and last",
    subject="A copy",
)
"""Shared with kernels over arrays."""


class Memcpy:
    """The copy."""

    name = "memcpy"
    title = "one copy between two buffers of a process"
    axes = (with_default(BYTES, 2**20), MEMORY, EACH)
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "bytes"
    pairwise = False
    profile = Profile(
        family="memory",
        bound="host copy",
        hands_memory_to_mpi=False,
        rows="place",
        headline=Headline(
            pick="largest of each curve", what="Memory copy bandwidth", rate="gbytes_per_s"
        ),
        figures=(FIGURE,),
    )

    def work(self, case: Case) -> Work:
        """The bytes that all ranks copy; read and written bytes count once."""
        each, ranks = whole(case, "bytes"), whole(case, "ranks")
        total = each * ranks
        return Work(bytes=total, bytes_per_rank=each, bytes_total=total, rate_bytes=total)

    def columns(self, case: Case) -> dict[str, Axis]:
        """Nothing beyond the axes."""
        return {}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        memory = word(case, "memory")
        reason = context.memories.lacks(memory)
        if reason is None and memory in DEVICE_KINDS:
            return f"copies by the C library, which reaches no {memory} memory"
        return reason

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate source and target."""
        return _Copy(case, context)


class _Copy:
    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        memory = context.memories[word(case, "memory")]
        self._loops = context.memory_loops
        self.timing_layer = self._loops.name
        self.overhead_s = self._loops.overhead_s
        self.params: dict[str, Axis] = {}
        self._source = memory.allocate(whole(case, "bytes"))
        self._target = memory.allocate(whole(case, "bytes"))

    def run(self, seconds: Seconds, loops: int) -> None:
        self._loops.copy(
            seconds, loops, self._target.address, self._source.address, self._source.nbytes
        )

    def verify(self, seed: int) -> Checked:
        self._source.fill(seed)
        self._target.poison(seed)
        self.run(one_sample(), 1)
        return Checked(self._target.nbytes, self._target.count_wrong(seed))


BENCHMARKS: tuple[Measurement, ...] = (Memcpy(),)
