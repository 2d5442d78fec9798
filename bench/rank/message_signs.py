"""Signs of the way that messages take, as the kernel shows them to the rank that sends or receives.

TCP shows in what the connections of the receiver have received, RDMA in the counters of ports,
shared memory in what ranks have mapped, and who copies in who is first to touch fresh pages.
"""

import contextlib
import ipaddress
import mmap
import resource
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench.core.events import Counter
from bench.machine.interfaces import read_interfaces
from bench.machine.sysfs import list_folder, read_text
from bench.rank.counters import count_between, read_counters
from bench.rank.socket_bytes import read_received

Way = TypeVar("Way", bound=Hashable)

_MOST_RAILS = 8
"""Connections or ports that may share a message."""
_MOST_MAPS = 4 << 20
_FDS = Path("/proc/self/fd")
_RDMA = ("/dev/infiniband/uverbs", "/dev/hfi1")
_WAYS = {"/dev/xpmem": "XPMEM", "/dev/knem": "KNEM"}


class Look(NamedTuple):
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


def look() -> Look:
    """Return what the kernel has counted so far."""
    return Look(read_received(), read_counters() if _list_opened(_RDMA) else ())


def tell(before: Look, sent_bytes: int, sent: bool, faults: int = 0) -> Told:
    """Return what carried messages since an earlier look.

    Args:
        before: that look.
        sent_bytes: of all these messages together.
        sent: whether this rank has sent them; else it has received them.
        faults: pages that it touched first meanwhile.
    """
    after = look()
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


def fresh_pages(size: int) -> mmap.mmap:
    """Return memory that nobody has touched, page by page."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # of a kernel without huge pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return pages


def count_faults() -> int:
    """Return how many pages this process has been the first to touch, of whoever's memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def mapped_memory() -> frozenset[str]:
    """Return what this process has mapped to share it, by device and inode."""
    found = set()
    for line in (read_text(Path("/proc/self/maps"), _MOST_MAPS) or "").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) > 4 and fields[1].endswith("s") and fields[1][1] == "w":
            found.add(f"{fields[3]} {fields[4]}")
    return frozenset(found)


def _list_opened(begins: str | tuple[str, ...]) -> list[str]:
    """Return the files that this process has open whose paths begin so."""
    found = []
    for file in list_folder(_FDS):
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(file.readlink()))
    return [path for path in found if path.startswith(begins)]


def opened_way() -> str | None:
    """Return the device by which this process may reach another one's memory, if it has one."""
    return next((name for path, name in _WAYS.items() if _list_opened(path)), None)
