"""Which way messages take: a few are sent before any case, and the kernel is asked what it saw.

No setting is asked, since none says what an MPI made of it. TCP shows in what the connections of
the receiver have received, RDMA in the counters of the ports, shared memory in what both ranks have
mapped. Within shared memory the pages of a fresh buffer tell who touched it: one rank alone where
it copies from the other's memory (cross-memory attach, XPMEM, KNEM), each its own where a message
is copied into a segment and out of it. The memory is host memory.
"""

import contextlib
import ipaddress
import mmap
import resource
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.core.events import Counter
from bench.core.records import Job
from bench.core.transport import DOUBLE, SHARED_MEMORY, SINGLE, Transport
from bench.machine.interfaces import read_interfaces
from bench.machine.sysfs import list_folder, read_text
from bench.rank.counters import count_between, read_counters
from bench.rank.socket_bytes import read_received
from bench.rank.world import MpiWorld, World

Way = TypeVar("Way", bound=Hashable)

SMALL_BYTES = 1024
_SMALL_MESSAGES = 16
_LEAST_LARGE = 64 << 10
"""Smaller messages are eager in every MPI: no rank waits until the other one is ready."""
_MOST_LARGE = 1 << 20
_MOST_BETWEEN = 128 << 10
"""Between hosts, where a slow link would take long for more."""
_MOST_RAILS = 8
"""Connections or ports that may share a message."""
_LEAST_PAGES = 32
"""Of a message whose pages can be told from the few that a program touches by the way."""
_MOST_MAPS = 4 << 20
_FDS = Path("/proc/self/fd")
_RDMA = ("/dev/infiniband/uverbs", "/dev/hfi1")
_WAYS = {"/dev/xpmem": "XPMEM", "/dev/knem": "KNEM"}
_ATTACH = "CMA"


class _Look(NamedTuple):
    """What the kernel tells one rank at one moment."""

    sockets: dict[tuple[int, str], int]
    ports: tuple[Counter, ...]


class Told(NamedTuple):
    """What one rank saw of messages of one size."""

    tcp: tuple[str, ...] = ()
    """Interfaces of its connections that received as much as was sent."""
    rdma: tuple[str, ...] = ()
    """Ports that counted as much, of devices that it has opened."""
    faults: int = 0
    """Pages that it was the first to touch meanwhile."""


class Side(NamedTuple):
    """All that one of two ranks saw."""

    small: Told
    large: Told | None
    shared: frozenset[str]
    """Memory that it has mapped to share it."""
    way: str | None
    """To another process's memory, by the device that it has opened for it."""


def observe_transports(world: World, job: Job, names: Sequence[str]) -> tuple[Transport, ...]:
    """Return, on rank 0, what carries messages within its node and from it to the last one.

    All ranks may call it; two ranks at a time send.

    Args:
        world: the ranks.
        job: whose largest message is one that may be tried.
        names: of the nodes, by number.
    """
    if not isinstance(world, MpiWorld):
        return ()
    nodes, last = world.nodes, world.size - 1
    near = next((rank for rank in range(last, 0, -1) if nodes[rank] == nodes[0]), None)
    far = last if nodes[last] != nodes[0] else None
    found = []
    for peer, most in ((near, _MOST_LARGE), (far, _MOST_BETWEEN)):
        if peer is None or world.rank not in (0, peer):
            continue
        large = large_bytes(job, most)
        side = _send(world, peer, large) if world.rank == 0 else _receive(world, large)
        if world.rank == 0:
            hosts = tuple(dict.fromkeys((names[nodes[0]], names[nodes[peer]])))
            found.append(judge_transport(hosts, side, world.take(peer), large))
        else:
            world.give(side, 0)
    return tuple(found)


def large_bytes(job: Job, most: int) -> int | None:
    """Return the size of a large message that a job may send; None where it sends none."""
    sizes = [size for case in job.cases if isinstance(size := case.axes.get("bytes"), int)]
    largest = min(max(sizes, default=0), most)
    return largest if largest >= _LEAST_LARGE else None


# What two ranks do.


def _send(world: MpiWorld, peer: int, large: int | None) -> Side:
    small = bytearray(SMALL_BYTES)
    # The first messages open connections and what else there is.
    for buffer in (small, *([bytearray(large)] if large else [])):
        world.send(buffer, peer)
        world.receive(small, peer)
    before = _look()
    for _ in range(_SMALL_MESSAGES):
        world.send(small, peer)
    world.receive(small, peer)
    told = _tell(before, _SMALL_MESSAGES * SMALL_BYTES, sent=True)
    of_large = None
    if large:
        before, fresh = _look(), _fresh_pages(large)
        faults = _faults()
        world.send(fresh, peer)
        world.receive(small, peer)
        of_large = _tell(before, large, sent=True, faults=_faults() - faults)
    return Side(told, of_large, _shared_memory(), _way())


def _receive(world: MpiWorld, large: int | None) -> Side:
    small = bytearray(SMALL_BYTES)
    for buffer in (small, *([bytearray(large)] if large else [])):
        world.receive(buffer, 0)
        world.send(small, 0)
    before = _look()
    for _ in range(_SMALL_MESSAGES):
        world.receive(small, 0)
    told = _tell(before, _SMALL_MESSAGES * SMALL_BYTES, sent=False)
    world.send(small, 0)
    of_large = None
    if large:
        before, fresh = _look(), _fresh_pages(large)
        faults = _faults()
        world.receive(fresh, 0)
        of_large = _tell(before, large, sent=False, faults=_faults() - faults)
        world.send(small, 0)
    return Side(told, of_large, _shared_memory(), _way())


# What a rank sees.


def _look() -> _Look:
    return _Look(read_received(), read_counters() if _opened(_RDMA) else ())


def _tell(before: _Look, sent_bytes: int, sent: bool, faults: int = 0) -> Told:
    after = _look()
    received = {
        connection: count - before.sockets.get(connection, 0)
        for connection, count in after.sockets.items()
    }
    addresses = {address for _, address in _carriers(received, sent_bytes)}
    counted = {
        counter.device: counter.sent if sent else counter.received
        for counter in count_between(before.ports, after.ports)
        if counter.kind == "infiniband"
    }
    ports = tuple(_carriers(counted, sent_bytes))
    return Told(_name_interfaces(addresses), ports, faults)


def _carriers(counts: Mapping[Way, int], sent_bytes: int) -> list[Way]:
    """Return which of several ways carried what was sent, none where all together did not."""
    if sum(counts.values()) < sent_bytes:
        return []
    return [way for way, count in counts.items() if count >= sent_bytes // _MOST_RAILS]


def _name_interfaces(addresses: set[str]) -> tuple[str, ...]:
    """Return the interfaces of these addresses, a loopback's as `lo`, unknown ones as they are."""
    if not addresses:
        return ()
    names = {
        address.partition("/")[0]: interface.name
        for interface in read_interfaces()
        for address in interface.addresses
    }
    found = {
        "lo" if ipaddress.ip_address(plain).is_loopback else names.get(plain, plain)
        for address in addresses
        for plain in (address.removeprefix("::ffff:"),)
    }
    return tuple(sorted(found))


def _fresh_pages(size: int) -> mmap.mmap:
    """Return memory that nobody has touched, page by page."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # of a kernel without huge pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return pages


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _shared_memory() -> frozenset[str]:
    """Return what this process has mapped to share it, by device and inode."""
    found = set()
    for line in (read_text(Path("/proc/self/maps"), _MOST_MAPS) or "").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) > 4 and fields[1].endswith("s") and fields[1][1] == "w":
            found.add(f"{fields[3]} {fields[4]}")
    return frozenset(found)


def _opened(begins: str | tuple[str, ...]) -> list[str]:
    """Return the files that this process has open whose paths begin so."""
    found = []
    for file in list_folder(_FDS):
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(file.readlink()))
    return [path for path in found if path.startswith(begins)]


def _way() -> str | None:
    return next((name for path, name in _WAYS.items() if _opened(path)), None)


# What that comes to.


def judge_transport(hosts: tuple[str, ...], own: Side, other: Side, large: int | None) -> Transport:
    """Return what carried messages, by what the sender and the receiver saw.

    Args:
        hosts: of both; one where they share it.
        own: what the sender saw.
        other: what the receiver saw.
        large: bytes of the large message; None where there was none.
    """
    shared = len(hosts) == 1 and bool(own.shared & other.shared)
    of_small = _name(own.small, other.small, shared)
    of_large = copies = None
    if large is not None and own.large is not None and other.large is not None:
        of_large = _name(own.large, other.large, shared)
        if of_large == SHARED_MEMORY:
            way = own.way or other.way
            copies = _count_copies(own.large.faults, other.large.faults, large, way)
    return Transport(
        hosts=hosts,
        small=of_small,
        large=of_large,
        copies=copies,
        small_bytes=SMALL_BYTES,
        large_bytes=large,
    )


def _name(sender: Told, receiver: Told, shared: bool) -> str | None:
    """Return what carried messages; None where nothing that was seen shows it, or two things do."""
    if receiver.tcp:
        return f"TCP over {' and '.join(receiver.tcp)}"
    rdma = sender.rdma and receiver.rdma
    if shared:
        return None if rdma else SHARED_MEMORY
    return f"RDMA over {' and '.join(receiver.rdma)}" if rdma else None


def _count_copies(sender: int, receiver: int, size: int, way: str | None) -> str | None:
    """Return whether a rank touched the other one's pages itself; None where too few were seen."""
    pages = size // mmap.PAGESIZE
    if pages < _LEAST_PAGES or sender + receiver < 3 * pages // 2:
        return None
    if min(sender, receiver) < pages // 2:
        return f"{SINGLE} by {way or _ATTACH}"
    return DOUBLE
