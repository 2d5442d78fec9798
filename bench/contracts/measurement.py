"""A benchmark, one prepared case of it, and what a rank hands it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from bench.contracts.gpu import GpuLibrary, GpuSeat, Meet, TakesDevice
from bench.contracts.loops import LeastSample, MemoryLoops, MessageLoops, Seconds
from bench.contracts.memory import Memories
from bench.contracts.profile import Profile
from bench.contracts.verbs import Verbs
from bench.core.records import Axis, Case, Work


class Clock(Protocol):
    """Seconds since any fixed moment, never running backwards."""

    def __call__(self) -> float: ...


class Communicator(Protocol):
    """The ranks of a job as measurements and the worker need them."""

    rank: int
    size: int

    nodes: tuple[int, ...]
    """The node of each rank, numbered from 0 as they appear."""

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's `value` on every rank."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order, on every rank."""

    def sleep_until_all_arrive(self) -> None:
        """Wait for every rank without using the core: the wait of ranks that must idle."""


class UnpreparedError(Exception):
    """A case cannot be prepared, on any of its ranks; the message gives the reason."""


class Context(msgspec.Struct, frozen=True):
    """What a rank hands a measurement."""

    communicator: Communicator
    memory_loops: MemoryLoops
    message_loops: MessageLoops | None
    """None where the job runs without MPI."""
    memories: Memories
    gpu_library: GpuLibrary
    threads: int
    """BLAS threads of this rank."""
    blas: str
    """Name and version of the BLAS that NumPy loaded."""
    clock: Clock
    own_cores: bool = True
    """False where ranks outnumber the cores of their node, and so take them from each other."""
    last_cache_bytes: int | None = None
    """All caches of the last level of this node together."""
    alive: Callable[[], None] = lambda: None
    """Called between timed regions: a case of long operations goes on."""
    takes_device: Callable[[Literal["cuda", "hip"], bool], TakesDevice] | None = None
    """Whether MPI takes addresses of a GPU of that maker, in collective calls or else in messages;
    None without MPI."""
    died_in: str | None = None
    """A case in which a job ended whose MPI was handed such addresses."""
    host: str = ""
    """What rows call the node of this rank."""
    turns: tuple[tuple[int, int], ...] = ()
    """For each node its turn among those that share its machine, and how many these are; empty
    where no node shares one."""
    verbs: Verbs | None = None
    """None without MPI."""
    gpu_seats: tuple[GpuSeat | None, ...] = ()
    """Of each rank; empty in a job that opens no GPU."""

    def need_message_loops(self) -> MessageLoops:
        """Return the loops over MPI calls.

        Raises:
            RuntimeError: where there is no MPI; `unsupported` of a benchmark refuses first.
        """
        if self.message_loops is None:
            raise RuntimeError("a case that needs MPI was prepared without it")
        return self.message_loops


class Checked(NamedTuple):
    """Result of a verification on this rank: bytes compared, and how many were wrong."""

    bytes_checked: int
    bytes_wrong: int


class Operation(Protocol):
    """A prepared case on one rank: buffers allocated and filled."""

    idle: bool
    """True on a rank that takes no part and must sleep while the others measure."""
    timing_layer: str

    @property
    def overhead_s(self) -> float | None:
        """Time that the timing layer adds to one operation; None where it is native."""

    params: dict[str, Axis]
    """Facts of this case for the row's `params`, read on rank 0 after the last sample.

    Those that `run` did not measure are the same on every rank.
    """

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with one time per operation for each sample of `loops` operations."""

    def verify(self, seed: int) -> Checked:
        """Poison the targets, run once untimed and compare what arrived."""


@runtime_checkable
class Sleeps(Protocol):
    """An operation whose ranks may sleep: programs work for them, or a device keeps the time."""

    sleeps: bool
    """Whether time off the core is no sign that others disturbed."""


@runtime_checkable
class StatesSample(Protocol):
    """An operation whose samples have to be longer than those of the host's clock."""

    least_sample: LeastSample


@runtime_checkable
class BeginsTogether(Protocol):
    """An operation whose samples can begin when those of other ranks begin."""

    begins_together: bool

    @property
    def warmups(self) -> int:
        """Untimed operations before those of each sample."""

    def join(self, meet: Meet, warmups: int) -> None:
        """From here on begin each sample with the ranks that meet; all run equally many.

        Args:
            meet: all of them.
            warmups: of all of them, so that what is timed begins together too.
        """


class AxisSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An axis that a benchmark declares: what a suite may set it to."""

    name: str
    kind: type[int] | type[str]
    default: tuple[Axis, ...]
    least: int = 0
    most: int = 2**62
    choices: tuple[str, ...] = ()
    is_size: bool = False
    """True where values are bytes and may be written with a unit."""
    in_id: bool = False
    """True where case ids always name the value; other axes are named off their default only, so
    that an axis added later changes no id."""
    advice: str = ""
    """What the axis is, in a few words, for `list`."""


class Measurement(Protocol):
    """A benchmark: its axes, the work of one operation, and how to prepare it on a rank."""

    name: str
    title: str
    """One line for `list`."""
    rank_agg: str
    """`rank0`, or `max`: per sample the slowest rank."""
    tolerance: float
    """Relative half-width of the median's interval at which sampling may stop."""
    size_axis: str
    """The axis that a model interpolates along."""
    pairwise: bool
    """True where two ranks are the ends of what is measured: the first one and the last one, or
    those that the axes `src_rank` and `dst_rank` of the case name."""
    profile: Profile
    """What the rooms that plan, fit, bound, score and draw need to know of it."""

    @property
    def axes(self) -> tuple[AxisSpec, ...]:
        """The axes that a suite may set."""

    def work(self, case: Case) -> Work:
        """Return what one operation of the case accomplishes."""

    def columns(self, case: Case) -> dict[str, Axis]:
        """Return result columns that follow from the axes, beyond those named like them."""

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate and fill the buffers of the case."""


@runtime_checkable
class ComparesRanks(Protocol):
    """A measurement whose ranks differ in what they do, so that it matters whose times count."""

    def timekeepers(self, case: Case) -> Collection[int]:
        """Return the ranks whose times count, rank 0 among them; the others are left out."""

    def compare_ranks(self, case: Case, samples: Mapping[int, Seconds]) -> dict[str, Axis]:
        """Return facts for the row's `params` that follow from the samples of those ranks."""


@runtime_checkable
class Expands(Protocol):
    """A measurement whose cases are not its axes' values alone.

    One combination stands for several cases, or for one whose ranks follow from its other axes.
    """

    def count_cases(self, ranks: int, gpus: int) -> int:
        """Return how many cases one combination stands for, at most."""

    def each_case(self, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
        """Return the axes of each case that one combination stands for, sorted by name."""
