"""What GPUs do beside holding memory: copies, products, and calls of NCCL or RCCL."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from bench.contracts.loops import FollowsSteps, LeastSample, Seconds
from bench.contracts.memory import Memory
from bench.core.records import Axis


@runtime_checkable
class Multiplies(Protocol):
    """A kind of memory whose device multiplies matrices that lie in it."""

    def open_product(
        self, m: int, n: int, k: int, dtype: str, cold: bool, alive: Callable[[], None]
    ) -> "DeviceProduct":
        """Return one product C[m, n] = A[m, k] W[k, n] with random factors.

        Args:
            cold: take another set of matrices each time, and meanwhile the others of twice the
                last-level cache.
            alive: called after each product that is made to prepare.

        Raises:
            MemoryError: where there is not enough.
        """

    def lacks_type(self, dtype: str) -> str | None:
        """Return why the device multiplies no such numbers, or None."""

    def lacks_sets(self, m: int, n: int, k: int, dtype: str) -> str | None:
        """Return why turns among such matrices cannot outgrow the last cache, or None."""


class DeviceProduct(Protocol):
    """A product on a device."""

    sets: int
    """Of matrices that take turns."""
    cache_bytes: int
    """What the device holds outside its memory, in its last cache."""
    least_sample: LeastSample

    @property
    def fixed_s(self) -> float | None:
        """Seconds of a sample that its operations do not explain; None where they cannot be seen.

        Measured when it is first asked for.
        """

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with the time of one product, by the device's own clock."""

    def poison(self) -> None:
        """Fill the next product with NaN."""

    def factors(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return both factors as the host's numbers; those of every set are the same."""

    def fetch(self) -> NDArray[Any]:
        """Return the product that was made last, as the host's numbers."""


class Transfer(NamedTuple):
    """One copy by a device, from address to address."""

    target: int
    source: int
    nbytes: int
    gpu: int | None = None
    """The GPU whose stream it is queued on; None for the rank's own."""
    through_host: bool = False
    """Whether two GPUs are its ends that do not reach each other: the host waits for it."""


Meet = Callable[[Exception | None], None]
"""Called by several ranks at the same points, with what went wrong on each: raises on all of them
where something did on any, and else returns when all have come."""


class TimedCopies(Protocol):
    """Copies that a device makes at once, by its own clock."""

    held: bool
    """Whether all are queued before the first begins; else launches are inside the time."""
    least_sample: LeastSample
    least_joint_sample: LeastSample
    """Of samples that begin together with those of other ranks."""
    warmups: int
    """Untimed copies before those of each sample; with other ranks all have equally many."""

    @property
    def fixed_s(self) -> float | None:
        """The same as of a product."""

    def time(self, times: int, meet: Meet | None = None) -> float:
        """Return the seconds of one copy of each, of so many one after another.

        Args:
            meet: other ranks, who copy as often: all begin when every one has queued its copies.
        """


@runtime_checkable
class CopiesAtOnce(Protocol):
    """A kind of memory whose device copies in several streams at once, and times it."""

    def open_copies(
        self,
        transfers: Sequence[Transfer],
        engine: str,
        turns: Sequence[Sequence[Transfer]] = (),
    ) -> TimedCopies:
        """Return copies that begin together, each on a stream of its own.

        Args:
            transfers: of memory that the GPU reaches by itself.
            engine: `copy-engine` or `kernel`.
            turns: further sets of the same copies between other buffers, which take turns with it.
        """

    @property
    def last_cache_bytes(self) -> int | None:
        """Bytes of the last cache before the memory; None where that is not known."""


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
class SharesTime(Protocol):
    """What measures calls that are queued on a GPU, and knows the host's part of the time."""

    @property
    def host_share(self) -> float | None:
        """Of the time of one operation, that in which the host queued; None where not known."""


@runtime_checkable
class NamesGpus(Protocol):
    """An operation that names the GPUs it uses; of others it is the rank's own."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """Where they sit, as their driver spells it."""


@runtime_checkable
class OnGpu(Protocol):
    """A kind of memory that a GPU's runtime gives out."""

    maker: Literal["cuda", "hip"]
    """Whose runtime."""


class GpuSeat(NamedTuple):
    """Where the GPU of a rank is, and where the rank runs."""

    node: int
    """Of the rank, numbered as those of a communicator."""
    address: str
    """Of the GPU on the bus."""
    device: str
    """What ranks of one node have in common where they have the same GPU, or slice of one."""
    gpu_numa: int | None
    """NUMA node that the GPU is attached to."""
    host_numa: int | None
    """The one whose CPUs the rank runs on, and whose memory it gets; None where there are several.
    """
    late: bool
    """Whether MPI started before the GPU was open, and so could not look which one it is."""


class TakesDevice(NamedTuple):
    """Whether an MPI may be handed addresses of a GPU; None is not known."""

    answer: bool | None
    why: str
    """Why not, and what helps, or why it is not known."""


class GpuCalls(Protocol):
    """Calls of a library that joins the GPUs of a job's ranks, such as NCCL.

    Each is queued on a stream of this rank's GPU. Addresses are of device memory; `count` counts
    numbers of a type of `bench.core.schedule.TYPES`.
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
        """What a row's `params` hold of it, once it is open."""
