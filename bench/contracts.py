"""The protocols between rooms: what a rank hands a measurement, and what it gets back."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.record import Axis, Case, Job, Work
from bench.schedule import DeviceCopies, Steps

Seconds = NDArray[np.float64]
"""One value per sample: the seconds that one operation took."""

KERNELS = ("copy", "scale", "add", "triad")
"""STREAM's kernels: c = a, b = q c, c = a + b, a = b + q c (McCalpin, 1995)."""
STREAM_SCALAR = 0.5
"""Their q; halving keeps results exact in any order of rounding."""


def one_sample() -> Seconds:
    """Return room for one sample whose time nobody reads."""
    return np.empty(1)


class Clock(Protocol):
    """Seconds since any fixed moment, never running backwards."""

    def __call__(self) -> float: ...


class Communicator(Protocol):
    """The ranks of a job as measurements and the worker need them."""

    rank: int
    size: int

    @property
    def nodes(self) -> tuple[int, ...]:
        """The node of each rank, numbered from 0 as they appear; every rank has to ask."""

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's `value` on every rank."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order, on every rank."""

    def sleep_until_all_arrive(self) -> None:
        """Wait for every rank without using the core: the wait of ranks that must idle."""


class Memory(Protocol):
    """A kind of memory: where buffers come from, and how data gets into and out of it."""

    name: str

    @property
    def copies(self) -> DeviceCopies | None:
        """How a timing loop copies to and from it; None where it is the host's own."""

    def allocate(self, nbytes: int) -> "Buffer":
        """Return a touched buffer.

        Raises:
            MemoryError: where there is not enough.
        """


class Memories(Mapping[str, Memory]):
    """Kinds of memory that this rank has, by name; each is opened when it is first asked for.

    `host@1` and `pinned@1` are those kinds on NUMA node 1.
    """

    def lacks(self, name: str) -> str | None:
        """Return why this rank has no such memory, and what it needs; None where it has."""
        raise NotImplementedError

    def opened(self, name: str) -> Memory | None:
        """Return a kind that some case has asked for already; None where none has."""
        return None


class CopyQueue(Protocol):
    """A device's queue of copies that are executed by the host, and only at synchronise."""

    @property
    def copies(self) -> DeviceCopies:
        """The functions that queue and execute, with the signatures of the CUDA runtime."""

    @property
    def queued(self) -> int:
        """Copies that wait to be executed."""


@runtime_checkable
class Multiplies(Protocol):
    """A kind of memory whose device multiplies matrices that lie in it."""

    def open_product(self, m: int, n: int, k: int, dtype: str, cold: bool) -> "DeviceProduct":
        """Return one product C[m, n] = A[m, k] W[k, n] with random factors.

        Args:
            cold: take another set of matrices each time, out of twice the last-level cache.

        Raises:
            MemoryError: where there is not enough.
        """

    def lacks_type(self, dtype: str) -> str | None:
        """Return why the device multiplies no such numbers, or None."""


class Transfer(NamedTuple):
    """One copy by a device, from address to address."""

    target: int
    source: int
    nbytes: int
    gpu: int | None = None
    """The GPU whose stream it is queued on; None for the rank's own."""


class TimedCopies(Protocol):
    """Copies that a device makes at once, by its own clock."""

    def time(self, times: int) -> float:
        """Return the seconds of one copy of each, of so many one after another."""


@runtime_checkable
class CopiesAtOnce(Protocol):
    """A kind of memory whose device copies in several streams at once, and times it."""

    def open_copies(self, transfers: Sequence[Transfer], engine: str) -> TimedCopies:
        """Return copies that begin together, each on a stream of its own.

        Args:
            transfers: of memory that the GPU reaches by itself.
            engine: `copy-engine` or `kernel`.
        """


@runtime_checkable
class DrivesGpus(CopiesAtOnce, Protocol):
    """Memory of a GPU whose process drives the others of its node as well."""

    def lacks_gpus(self, count: int) -> str | None:
        """Return why this process cannot drive the first so many GPUs, or None."""

    def on_gpu(self, number: int) -> Memory:
        """Return the memory of one of them."""

    def let_reach(self, one: int, other: int) -> bool:
        """Return whether two GPUs reach each other's memory; from here on they may."""


@runtime_checkable
class KnowsSlot(Protocol):
    """A kind of memory that belongs to one GPU."""

    @property
    def pci_address(self) -> str:
        """Where the GPU sits, as its driver spells it."""


@runtime_checkable
class OnGpu(Protocol):
    """A kind of memory that a GPU's runtime gives out."""

    maker: Literal["cuda", "hip"]
    """Whose runtime."""


class TakesDevice(NamedTuple):
    """Whether an MPI may be handed addresses of a GPU; None is not known."""

    answer: bool | None
    why: str
    """Why not, and what helps, or why it is not known."""


class DeviceProduct(Protocol):
    """A product on a device."""

    sets: int
    """Of matrices that take turns."""
    cache_bytes: int
    """What the device holds outside its memory, in its last cache."""

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with the time of one product, by the device's own clock."""

    def poison(self) -> None:
        """Fill the next product with NaN."""

    def fetch(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the product that was made last, and its factors, as the host's numbers."""


class Buffer(Protocol):
    """Bytes at an address that stays the same until it is dropped."""

    address: int
    nbytes: int

    def write(self, data: NDArray[Any]) -> None:
        """Put the bytes of an array of the buffer's size there."""

    def read(self) -> NDArray[np.uint8]:
        """Return all bytes, in host memory; they may change with the buffer."""

    def fill(self, seed: int) -> None:
        """Write the pattern of `seed`."""

    def poison(self, seed: int) -> None:
        """Write the complement of that pattern: not one byte is right by chance."""

    def count_wrong(self, seed: int) -> int:
        """Return how many bytes differ from the pattern of `seed`."""


class Peer(NamedTuple):
    """The other rank of a pair, and who speaks first."""

    rank: int
    leads: bool


class FollowsSteps(Protocol):
    """A timing layer that follows schedules."""

    name: str
    """What `timing_layer` says."""

    @property
    def overhead_s(self) -> float | None:
        """Time that the layer itself adds to one operation; None where the loop is native."""

    def follow(self, seconds: Seconds, loops: int, steps: Steps) -> None:
        """Time the steps of this rank between their `begin` and `end`.

        Args:
            seconds: filled with the time of one pass over the steps, per sample.
            loops: passes of a sample.
            steps: of a schedule.
        """


class MessageLoops(FollowsSteps, Protocol):
    """Loops over MPI calls; each fills `seconds` with the time of one operation per sample.

    Addresses are of buffers of at least `nbytes` (times `window`), so that host and device
    memory look alike. Both ranks of a pair call the same loop with the same counts.
    """

    def pingpong(
        self, seconds: Seconds, loops: int, send: int, receive: int, nbytes: int, peer: Peer
    ) -> None:
        """Time half a round trip of one message."""

    def window(
        self, seconds: Seconds, loops: int, buffer: int, nbytes: int, window: int, peer: Peer
    ) -> None:
        """Time `window` messages from the leader, all in flight, and one reply; per message."""

    def exchange_window(
        self,
        seconds: Seconds,
        loops: int,
        send: int,
        receive: int,
        nbytes: int,
        window: int,
        peer: Peer,
    ) -> None:
        """Time `window` messages each way at once; per pair of messages."""

    def requests(self, count: int) -> NDArray[Any]:
        """Return room for the handles of `count` open requests, which outlives one call."""

    def follow(
        self,
        seconds: Seconds,
        loops: int,
        steps: Steps,
        requests: NDArray[Any] | None = None,
        stamps: NDArray[np.float64] | None = None,
    ) -> None:
        """Time the steps of this rank between their `begin` and `end`.

        Args:
            seconds: filled with the time of one pass over the steps, per sample.
            loops: passes of a sample.
            steps: of a schedule, or of a part of one.
            requests: of an earlier call whose messages are still on their way; room of its own
                where None.
            stamps: shape (samples, steps.stamps), filled with mean seconds since `begin`.
        """


class GpuCalls(Protocol):
    """Calls of a library that joins the GPUs of a job's ranks, such as NCCL.

    Each is queued on a stream of this rank's GPU. Addresses are of device memory; `count` counts
    numbers of a type of `bench.schedule.TYPES`.
    """

    def begin_group(self) -> None:
        """Hold back what follows: it is queued as one, and no part waits for another."""

    def end_group(self) -> None:
        """Queue what was held back."""

    def send(self, address: int, nbytes: int, peer: int) -> None:
        """Send to a rank, which receives as many bytes."""

    def receive(self, address: int, nbytes: int, peer: int) -> None:
        """Receive from a rank."""

    def allreduce(self, send: int, receive: int, count: int, dtype: str) -> None:
        """Sum `count` numbers over all ranks, for all of them."""

    def reduce_scatter(self, send: int, receive: int, count: int, dtype: str) -> None:
        """Sum ranks times `count` numbers; every rank receives `count` of them."""

    def allgather(self, send: int, receive: int, nbytes: int) -> None:
        """Give `nbytes` of every rank to all of them."""

    def broadcast(self, address: int, nbytes: int, root: int) -> None:
        """Give the root's bytes to all ranks."""

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""

    def check(self) -> None:
        """Raise the error that the library met since, if any."""


class GpuLibrary(Protocol):
    """NCCL or RCCL between the ranks of a job: nothing is opened before a case asks for it.

    Every rank has to ask, since the answer is that of all of them.
    """

    def lacks(self) -> str | None:
        """Return why these ranks cannot use it, and what it needs; None where they can."""

    def open(self) -> FollowsSteps:
        """Return what follows schedules by its calls.

        Raises:
            UnpreparedError: where the ranks could not be joined.
        """

    @property
    def facts(self) -> dict[str, Axis]:
        """What a row tells of it in `params`, once it is open."""


class UnpreparedError(Exception):
    """A case cannot be prepared, on any of its ranks; the message says why."""


class MemoryLoops(Protocol):
    """Loops inside one process over its own memory."""

    name: str

    @property
    def overhead_s(self) -> float | None:
        """As for message loops."""

    def copy(self, seconds: Seconds, loops: int, target: int, source: int, nbytes: int) -> None:
        """Time one copy of `nbytes` by the C library."""

    def kernel(
        self,
        seconds: Seconds,
        loops: int,
        kernel: str,
        arrays: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    ) -> None:
        """Time one STREAM kernel (`copy`, `scale`, `add`, `triad`) over arrays a, b, c."""


class VerbsError(Exception):
    """A program that measures verbs did not run, or said nothing that can be believed."""


class VerbsServer(Protocol):
    """The end that waits for the other one."""

    number: int
    """Its TCP port."""

    def finish(self) -> None:
        """Wait, without using the core, until it has ended."""


class VerbsTest(NamedTuple):
    """What programs that measure verbs are asked for."""

    test: str
    """Such as `write_bw`."""
    nbytes: int
    nic: int = -1
    """Number of the RDMA port; -1 for one near the rank."""
    gpu: str | None = None
    """PCI address of the GPU whose memory is used; None for the host's."""


class Verbs(Protocol):
    """Programs that measure messages by verbs."""

    def lacks(self, asked: VerbsTest) -> str | None:
        """Return what a test needs that is not here, or None."""

    def said_device(self, asked: VerbsTest) -> str:
        """Return the device that is taken, and its port."""

    def serve(self, asked: VerbsTest, iterations: int) -> VerbsServer:
        """Start the end that waits, and return once it can be connected to.

        Raises:
            VerbsError: where it cannot.
        """

    def measure(self, asked: VerbsTest, iterations: int, server: str, number: int) -> float:
        """Return the seconds of one message to the end that waits on a host and TCP port.

        Raises:
            VerbsError: where there is no such time.
        """


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
    verbs: Verbs | None = None
    """None without MPI."""

    def need_message_loops(self) -> MessageLoops:
        """Return the loops over MPI calls.

        Raises:
            RuntimeError: where there is no MPI; a benchmark that needs it says so in `unsupported`.
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
class TellsApart(Protocol):
    """A measurement whose ranks differ in what they do, so that it matters who says what."""

    def timekeepers(self, case: Case) -> Collection[int]:
        """Return the ranks whose times count, rank 0 among them; the others are not heard."""

    def tell(self, case: Case, samples: Mapping[int, Seconds]) -> dict[str, Axis]:
        """Return facts for the row's `params` that follow from the samples of those ranks."""


class LaunchCommand(msgspec.Struct, frozen=True):
    """What starts a job: tokens, never a shell string, and additions to the environment."""

    tokens: tuple[str, ...]
    env: dict[str, str]


class Launcher(Protocol):
    """Turns a job into the command that starts it; touches nothing."""

    name: str
    most_ranks: int | None
    """Largest world size that it can start; None where there is no limit."""

    def command(self, job: Job) -> LaunchCommand:
        """Return the command whose standard input is the job and whose output is its events."""
