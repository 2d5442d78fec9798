"""Measures what the cores and the memory of a job reach at most, before its cases and beside them.

A virtual machine's clock, its caches and its cores change hands within seconds. So each ceiling is
the best of several short tries, and what a case is judged by is tried once more after it.
"""

import ctypes
import mmap
import os
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.contracts import KERNELS, Context, MemoryLoops
from bench.core.ceilings import HostCeilings, Pass, best_by_host, best_of
from bench.core.events import Ceilings
from bench.core.records import Case
from bench.measure import MEASUREMENTS
from bench.measure.profiles import profile_of
from bench.rank.memory.host import HostMemory
from bench.rank.timing.layers import open_ceiling_loops
from bench.rank.world import World

FOOTPRINTS = tuple(3072 * 4**step for step in range(8))
"""3 KiB to 48 MiB. Caches hold powers of two, mostly: of data as large as a cache it is luck, in
which pages the kernel gives, how much of it stays there."""
_MOST_BYTES = FOOTPRINTS[-1]
"""On a host, of all its ranks together."""
ROUNDS = 4
_TRIES = 5
_TRY_S = 25e-6
_SLOWEST_BYTES_PER_S = 5e10
_LOOKS_AT_MEMORY = 3
"""Main memory is the ceiling that neighbours on the same machine take most of: after one look a
case of `stream` was once 1.11 times as fast as it."""
_RISE = 1.002
"""A ceiling that rises by less is not told."""
_LINE_BYTES = 128
"""Between the words of two ranks: processors fetch lines of 64 bytes in pairs."""
_MOST_MISSES = 5
"""Tries in which a rank had no core; where it happens more often they only cost time."""
_ARITHMETIC = {"product", "split product", "training step"}
_MEMORY = {"host copy", "kernel"}
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a file of its own, removed at once


class _Reached(NamedTuple):
    """What one rank found: alone on its host, and at once with the others there."""

    alone: HostCeilings
    together: tuple[Pass, ...]


class CeilingProbe:
    """Tries what the hosts of a job reach.

    Args:
        world: all its ranks, which call every method together.
        context: of this rank.
    """

    def __init__(self, world: World, context: Context) -> None:
        self._world = world
        self._hosts: list[str] = world.gather(context.host)
        self._memory: MemoryLoops = context.memory_loops
        self._is_first = world.nodes.index(world.nodes[world.rank]) == world.rank
        self._several = max(map(world.nodes.count, world.nodes)) > 1
        self._own_cores = context.own_cores
        # Where one host has no compiled loops, no host is looked at.
        loops = open_ceiling_loops() if context.memory_loops.overhead_s is None else None
        self._loops = loops if all(world.gather(loops is not None)) else None
        self._turn = 0
        self._misses = 0
        self.known: dict[str, HostCeilings] = {}
        if self._loops is None:
            return
        self._lines = open_lines(world) if context.own_cores else None

    @cached_property
    def _arrays(self) -> "Arrays":
        return _open_arrays(_MOST_BYTES if self._is_first else self._share())

    def _share(self) -> int:
        share: int = _MOST_BYTES // self._world.local_size
        return share

    def measure(self, rounds: int = ROUNDS) -> Ceilings | None:
        """Return what is reached now; None where nothing can be compiled."""
        found = None
        for _ in range(rounds):
            found = self._look(arithmetic=True, footprints=FOOTPRINTS, line=True) or found
        return found

    def refresh(self, case: Case) -> Ceilings | None:
        """Look again at what a case was just bounded by; return all ceilings where one rose.

        Where ranks are on several hosts they do not wait for each other once more.
        """
        if len({*self._world.nodes}) > 1:
            return None
        profile = profile_of(case.benchmark)
        arithmetic = profile.bound in _ARITHMETIC
        footprints: tuple[int, ...] = ()
        if profile.bound in _MEMORY:
            moved = MEASUREMENTS[case.benchmark].work(case).bytes_per_rank or 0
            footprints = FOOTPRINTS[max(0, bisect_right(FOOTPRINTS, moved) - 1) :][:2]
        found = None
        for _ in range(_LOOKS_AT_MEMORY if FOOTPRINTS[-1] in footprints else 1):
            line = not arithmetic and not footprints
            found = self._look(arithmetic, footprints, line) or found
        return found

    def _look(self, arithmetic: bool, footprints: Sequence[int], line: bool) -> Ceilings | None:
        """Return all ceilings where one rose."""
        if self._loops is None:
            return None
        line_s = self._look_at_line() if line else None
        alone = HostCeilings(line_s=line_s)
        if self._is_first and arithmetic:
            alone = HostCeilings(
                clock_hz=self._loops.clock_hz(_TRIES),
                flop_per_s=self._loops.flop_per_s(_TRIES),
                line_s=line_s,
            )
        together: tuple[Pass, ...] = ()
        if footprints:
            self._turn += 1
            if self._is_first:
                passes = find_passes(self._memory, self._arrays, footprints, self._turn)
                alone = best_of(alone, HostCeilings(passes=passes))
            self._world.sleep_until_all_arrive()
            if self._several and self._own_cores:
                fit = [each for each in footprints if each <= max(self._share(), FOOTPRINTS[0])]
                together = find_passes(self._memory, self._arrays, fit, self._turn)
        return self._learn(self._world.gather(_Reached(alone, together)))

    def _learn(self, reached: Sequence[_Reached]) -> Ceilings | None:
        found: dict[str, HostCeilings] = {}
        for host in dict.fromkeys(self._hosts):
            own = [one for one, name in zip(reached, self._hosts, strict=True) if name == host]
            # At once each may have had its best moment, so their sum is rather too high.
            together = HostCeilings(
                passes=tuple(
                    Pass(same[0].reads, len(own), same[0].bytes, sum(one.rate for one in same))
                    for same in zip(*(one.together for one in own), strict=True)
                )
                if len(own) > 1
                else ()
            )
            for one in own:
                together = best_of(together, one.alone)
            found[host] = together
        best = best_by_host(self.known, found)
        if not has_risen(self.known, best):
            return None
        self.known = best
        return Ceilings(dict(best))

    def _look_at_line(self) -> float | None:
        if self._lines is None or self._loops is None:
            return None
        mine, others = self._lines.addresses(self._world.rank)
        # They begin together: who has to wait long gives up.
        self._world.gather(None)
        line_s = self._loops.line_s(mine, others, self._world.rank == 0)
        both: list[float | None] = self._world.gather(line_s)
        if None in both:
            self._misses += 1
            if self._misses == _MOST_MISSES:
                self._lines = None
            return None
        return line_s


def has_risen(before: dict[str, HostCeilings], now: dict[str, HostCeilings]) -> bool:
    """Return whether any ceiling is clearly higher than it was."""
    return any(
        rate > _RISE * old.get(what, 0.0)
        for host, ceilings in now.items()
        for old in [_rates(before.get(host, HostCeilings()))]
        for what, rate in _rates(ceilings).items()
    )


def _rates(ceilings: HostCeilings) -> dict[object, float]:
    rates: dict[object, float] = {
        (one.ranks, one.reads, one.bytes): one.rate for one in ceilings.passes
    }
    rates.update(ceilings.flop_per_s)
    rates["clock"] = ceilings.clock_hz or 0.0
    rates["line"] = 1 / ceilings.line_s if ceilings.line_s else 0.0
    return rates


Arrays = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _open_arrays(nbytes: int) -> Arrays:
    memory = HostMemory()
    # Whole pages: a share of the ranks of a host is no multiple of a number's size.
    half = -(-nbytes // 2 // mmap.PAGESIZE) * mmap.PAGESIZE
    a, b, c = (memory.allocate(max(half, mmap.PAGESIZE)).read() for _ in range(3))
    return a.view(np.float64), b.view(np.float64), c.view(np.float64)


def find_passes(
    loops: MemoryLoops, arrays: Arrays, footprints: Sequence[int], turn: int = 0
) -> tuple[Pass, ...]:
    """Return the best pass of a few over each footprint, in order.

    How much of its data a cache of some hundred KiB keeps is the luck of the pages that the kernel
    gave (84 or 114 GB/s for the same copy), so each turn takes others.

    Args:
        loops: compiled.
        arrays: three of them, of half of the largest footprint at least.
        footprints: bytes of all arrays together.
        turn: 0, 1, 2, ...
    """
    found = []
    for footprint in footprints:
        seconds = np.empty(_TRIES)
        count = max(1, int(_TRY_S * _SLOWEST_BYTES_PER_S / footprint))
        half = footprint // 2
        a, b, c = (_window(array, half, turn) for array in arrays)
        loops.copy(seconds, count, b.ctypes.data, a.ctypes.data, half)
        best_s = float(seconds.min())
        loops.kernel(seconds, count, KERNELS[0], (a, b, c))
        best_s = min(best_s, float(seconds.min()))
        found.append(Pass(1, 1, footprint, 2 * half / best_s))
        third = footprint // 24
        loops.kernel(seconds, count, KERNELS[-1], (a[:third], b[:third], c[:third]))
        found.append(Pass(2, 1, footprint, 24 * third / float(seconds.min())))
    return tuple(found)


def _window(array: NDArray[np.float64], nbytes: int, turn: int) -> NDArray[np.float64]:
    """Return so many bytes of an array, from another page on in each turn."""
    places = (array.nbytes - nbytes) // mmap.PAGESIZE + 1
    first = turn * nbytes // mmap.PAGESIZE % places * mmap.PAGESIZE
    return array[first // 8 : (first + nbytes) // 8]


class Lines:
    """A page that two ranks share, in which each has a line to write."""

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page
        self._first: Any = ctypes.c_char.from_buffer(page)

    def addresses(self, rank: int) -> tuple[int, int]:
        """Return the addresses of the line of this rank, and of the other one's."""
        first = ctypes.addressof(self._first)
        both = (first, first + _LINE_BYTES)
        return both[rank], both[1 - rank]


def open_lines(world: World) -> Lines | None:
    """Return the shared page of two ranks of one node; None, on both, where they can have none."""
    if world.size != 2 or world.local_size != 2:
        return None
    path: str | None = world.broadcast(_make_page() if world.rank == 0 else None)
    if path is None:
        return None
    page = None
    try:
        with Path(path).open("r+b") as file:
            page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
    except OSError:
        pass
    all_have_it = all(world.gather(page is not None))
    if world.rank == 0:
        Path(path).unlink()
    return Lines(page) if page is not None and all_have_it else None


def _make_page() -> str | None:
    """Return the path of a new file of one page; None where there is no place for it."""
    folder = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    try:
        handle, path = tempfile.mkstemp(prefix="clusterbench-", dir=folder)
    except OSError:
        return None
    try:
        with os.fdopen(handle, "wb") as file:
            # Written, not only made longer: where there is no room it is told here, and not by
            # SIGBUS when a rank first stores there.
            file.write(bytes(mmap.PAGESIZE))
    except OSError:
        Path(path).unlink()
        return None
    return path
