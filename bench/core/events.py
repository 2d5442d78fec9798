"""What rank 0 sends while a job runs: one framed JSON line per event on standard output.

The frame is a marker and a checksum: MPI launchers merge the output of many processes, and what a
library prints in between is log, not data.
"""

import zlib
from typing import Any, Literal

import msgspec

from bench.core.ceilings import HostCeilings
from bench.core.records import Axis, Status
from bench.core.transport import Transport

MARKER = "@clusterbench1 "
PROTOCOL = 1


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The ranks have found each other."""

    job: str
    protocol: int
    version: str
    ranks: int


class RankFacts(msgspec.Struct, frozen=True):
    """Where one rank runs."""

    host: str
    """What rows call its node: the name that was asked for, else the one that the host has for
    itself; no two nodes have the same."""
    pid: int
    cores: tuple[int, ...]
    """Logical CPUs that the rank may use."""
    node: int = -1
    """Number of its node, as MPI knows which ranks share one; -1 in older journals."""
    hostname: str = ""
    """What the host calls itself."""
    physical_cores: tuple[int, ...] = ()
    """Of these CPUs, each by its first logical CPU; empty in older journals."""

    @property
    def usable_cores(self) -> tuple[int, ...]:
        """Physical cores that the rank may use; where a journal has none, its logical CPUs."""
        return self.physical_cores or self.cores


class SharedAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address that several hosts have: nobody can be reached by it."""

    interface: str
    """That has it, on all of these hosts."""
    kind: str | None = None
    """Of the interface, such as bridge; None for hardware."""
    address: str
    """With the length of its network, such as `172.17.0.1/16`."""
    carrier: bool
    """Whether anything is connected to the interface, on any of the hosts."""
    hosts: tuple[str, ...]
    instead: tuple[str, ...] = ()
    """Interfaces that lead from one of these hosts to others."""


class Facts(msgspec.Struct, frozen=True, tag="facts"):
    """What the ranks run on: read once per job."""

    ranks: tuple[RankFacts, ...]
    mpi_library: str | None
    thread_level: str | None
    message_layer: str | None
    overhead_s: float | None
    """What the message layer adds to one operation; None where it is native."""
    nodes: dict[str, dict[str, Any]]
    """Facts of every host, by name."""
    paths: dict[str, dict[str, Any]] = {}
    """What each host allows of the direct path, in jobs that are to prove one."""
    shared: tuple[SharedAddress, ...] = ()
    """Addresses that several of the hosts have."""
    transports: tuple[Transport, ...] = ()
    """What was seen to carry messages; none in older journals, and where there are none."""


class Ceilings(msgspec.Struct, frozen=True, tag="ceilings"):
    """The best that was reached in this job so far, sent again whenever a ceiling rises."""

    hosts: dict[str, HostCeilings]
    """By what rows call the host."""


class Counter(msgspec.Struct, frozen=True):
    """Bytes that a device has counted since it was reset; or that it counted in between."""

    kind: Literal["ethernet", "infiniband", "pcie", "nvlink"]
    device: str
    """Such as `eth0`, `mlx5_0:1` with its port, or `gpu3`."""
    sent: int
    received: int
    sent_before: int | None = None
    """What it showed at first, where this is what it counted in between."""
    received_before: int | None = None


class Traffic(msgspec.Struct, frozen=True):
    """What the devices of one host counted while a case was sampled."""

    host: str
    counters: tuple[Counter, ...]


class CaseStarted(msgspec.Struct, frozen=True, tag="case"):
    """Set-up of a case begins, or began some time ago; its first sample comes later."""

    case: str
    ago_s: float = 0.0
    """Before this event; the samples and the end of the case then follow at once."""


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """A case whose operations take seconds has ended some more of them."""

    case: str


class CaseMeasured(msgspec.Struct, frozen=True, tag="measured"):
    """A case was measured, for the first time or again; its samples follow, or wait for a round."""

    case: str
    took_s: float
    """With all that belongs to it: preparing, verifying, looking at the machine's state."""
    sampled_s: float = 0.0
    """Of that, warming up and sampling, however often."""
    operation_s: float | None = None
    """What one timed operation took by the wall; None where there was none."""
    slow: bool | None = None
    """Whether the machine was in a slow state, so that it may be measured again; None in jobs where
    none is."""


class Samples(msgspec.Struct, frozen=True, tag="samples"):
    """All samples of one rank in a case."""

    case: str
    rank: int
    seconds: tuple[float, ...]


class PlaceEnded(msgspec.Struct, frozen=True, kw_only=True):
    """How a case ended on the ranks of one node, or of one GPU, which measured for themselves."""

    host: str
    gpu: str | None = None
    """PCI address of the GPU, as its driver spells it; None where the place is a whole node."""
    ranks: tuple[int, ...]
    status: Status
    reason: str | None = None
    loops: int | None = None
    warmups: int | None = None
    converged: bool | None = None
    bytes_checked: int | None = None
    bytes_wrong: int | None = None
    timing_layer: str | None = None
    params: dict[str, Axis] = {}


class CaseEnded(msgspec.Struct, frozen=True, kw_only=True, tag="row"):
    """How a case ended on all ranks together."""

    case: str
    status: Status
    reason: str | None = None
    loops: int | None = None
    warmups: int | None = None
    converged: bool | None = None
    bytes_checked: int | None = None
    bytes_wrong: int | None = None
    timing_layer: str | None = None
    params: dict[str, Axis] = {}
    sampled_ranks: int | None = None
    """Ranks whose samples were sent before this event; None in older journals."""
    operations: int | None = None
    """Run between the two readings of the counters; None where they were not read."""
    traffic: tuple[Traffic, ...] = ()
    places: tuple[PlaceEnded, ...] = ()
    """Each of them has a row; none where the case has one row, as all have in older journals."""
    sample_count: int | None = None
    """Of all ranks together, where places may differ in it."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Every case of the job has ended."""

    job: str
    reference_s: float | None = None
    """Seconds of the probe in the best state that this job or one before it saw."""


class Failure(msgspec.Struct, frozen=True, tag="error"):
    """The job cannot go on: which rank, where, in which case, and why."""

    rank: int
    host: str
    case: str | None
    reason: str


class Queued(msgspec.Struct, frozen=True, tag="queued"):
    """A batch system holds the job, and its ranks have not begun; sent by who submitted it."""

    job: str
    batch_job: str
    """The batch system's own name of it, such as `Slurm job 12`."""
    state: str
    """The batch system's word for where it is, such as `PENDING (Resources)`."""


Event = (
    Queued
    | Hello
    | Facts
    | Ceilings
    | CaseStarted
    | Alive
    | CaseMeasured
    | Samples
    | CaseEnded
    | Done
    | Failure
)

_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """Return the event as one framed line."""
    text = _encoder.encode(event)
    return b"%s%08x %s\n" % (MARKER.encode(), zlib.crc32(text), text)


def parse_event(text: bytes | msgspec.Raw) -> Event:
    """Return the event of a JSON text.

    Raises:
        msgspec.MsgspecError: where it is none.
    """
    event: Event = _decoder.decode(text)
    return event


class CorruptEventError(ValueError):
    """A line has the marker, but not an event that survived the way."""


def decode(line: bytes) -> Event | None:
    """Return the event in a line, or None where the line is log.

    The marker may follow other output that did not end its line.

    Raises:
        CorruptEventError: where an event was torn or mixed with other output.
    """
    _before, marker, framed = line.partition(MARKER.encode())
    if not marker:
        return None
    checksum, _, text = framed.rstrip(b"\r\n").partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            raise CorruptEventError("checksum differs")
        return parse_event(text)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise CorruptEventError(str(error)) from error
