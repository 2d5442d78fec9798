"""Which way messages take: a few are sent before any case, and the kernel is asked what it saw.

No setting is asked, since none says what an MPI made of it. TCP shows in what the connections of
the receiver have received, RDMA in the counters of the ports, shared memory in what both ranks have
mapped. Within shared memory the pages of a fresh buffer tell who touched it: one rank alone where
it copies from the other's memory (cross-memory attach, XPMEM, KNEM), each its own where a message
is copied into a segment and out of it. The memory is host memory.
"""

import mmap
from collections.abc import Sequence
from typing import NamedTuple

from bench.core.records import Job
from bench.core.transport import DOUBLE, SHARED_MEMORY, SINGLE, Transport
from bench.rank.message_signs import (
    Told,
    count_faults,
    fresh_pages,
    look,
    mapped_memory,
    opened_way,
    tell,
)
from bench.rank.world import MpiWorld, World

SMALL_BYTES = 1024
_SMALL_MESSAGES = 16
_LEAST_LARGE = 64 << 10
"""Smaller messages are eager in every MPI: no rank waits until the other one is ready."""
_MOST_LARGE = 1 << 20
_MOST_BETWEEN = 128 << 10
"""Between hosts, where a slow link would take long for more."""
_LEAST_PAGES = 32
"""Of a message whose pages can be told from the few that a program touches by the way."""
_ATTACH = "CMA"


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
    before = look()
    for _ in range(_SMALL_MESSAGES):
        world.send(small, peer)
    world.receive(small, peer)
    told = tell(before, _SMALL_MESSAGES * SMALL_BYTES, sent=True)
    of_large = None
    if large:
        before, fresh = look(), fresh_pages(large)
        faults = count_faults()
        world.send(fresh, peer)
        world.receive(small, peer)
        of_large = tell(before, large, sent=True, faults=count_faults() - faults)
    return Side(told, of_large, mapped_memory(), opened_way())


def _receive(world: MpiWorld, large: int | None) -> Side:
    small = bytearray(SMALL_BYTES)
    # What comes next may arrive as soon as the answer is on its way: the look comes before that.
    for buffer in (small, *([bytearray(large)] if large else [])):
        world.receive(buffer, 0)
        before = look()
        world.send(small, 0)
    for _ in range(_SMALL_MESSAGES):
        world.receive(small, 0)
    told = tell(before, _SMALL_MESSAGES * SMALL_BYTES, sent=False)
    before = look()
    world.send(small, 0)
    of_large = None
    if large:
        fresh = fresh_pages(large)
        faults = count_faults()
        world.receive(fresh, 0)
        of_large = tell(before, large, sent=False, faults=count_faults() - faults)
        world.send(small, 0)
    return Side(told, of_large, mapped_memory(), opened_way())


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
