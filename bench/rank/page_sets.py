"""Several sets of buffers of one case, held at once and turned through sample by sample.

A kernel that copies a message from one process to the other (process_vm_readv) goes from page to
page of the sender's physical memory, and is up to twice as fast where these follow each other.
What pages a buffer gets is chance, and stays so for the whole launch. Sets that are held at once
cannot have the same pages.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.contracts import Checked, Operation, Seconds, UnpreparedError
from bench.core.records import PAGE_SETS, Axis
from bench.machine.memory import read_free_memory
from bench.rank.memory.pattern import patterns_kept
from bench.rank.world import World

MOST_SETS = 4
LEAST_BYTES = 8 * 2**20
"""Of a rank's buffers. Of 4 MiB and less, in any order of pages, the caches gave one rate within
2 % (two AMD cores with 32 MiB of last cache, Linux 6.18, 2026-11-28); of 64 MiB rates lay a factor
1.5 apart."""
_MOST_SHARE = 0.25
"""Of the memory that is free, for all sets beyond the first together."""


class PageSets:
    """One case prepared several times.

    Args:
        sets: operations that differ in their buffers alone, at least one.
        alive: called after each set that was verified.
    """

    def __init__(self, sets: Sequence[Operation], alive: Callable[[], None]) -> None:
        self._sets, self._alive = sets, alive
        self._next = 0
        self.idle = False
        self.timing_layer = sets[0].timing_layer
        self.overhead_s = sets[0].overhead_s
        self.params: dict[str, Axis] = {**sets[0].params, PAGE_SETS: len(sets)}

    def run(self, seconds: Seconds, loops: int) -> None:
        """Take each sample on the set after that of the sample before."""
        for sample in range(len(seconds)):
            self._sets[self._next].run(seconds[sample : sample + 1], loops)
            self._next = (self._next + 1) % len(self._sets)

    def verify(self, seed: int) -> Checked:
        """Verify the buffers of every set."""
        with patterns_kept():
            checked = []
            for each in self._sets:
                checked.append(each.verify(seed))
                self._alive()
        return Checked(
            sum(each.bytes_checked for each in checked), sum(each.bytes_wrong for each in checked)
        )


def turn_page_sets(
    operation: Operation,
    nbytes: int,
    prepare: Callable[[], Operation],
    world: World,
    alive: Callable[[], None],
    cache_bytes: int | None = None,
) -> Operation:
    """Return the operation on as many sets of buffers as all ranks have memory for.

    All ranks ask together. What fits into the last cache stays there, and turns would drive it out;
    messages between nodes are not copied by the kernel from page to page. Both keep the one set
    they have.

    Args:
        operation: on its first set.
        nbytes: pageable memory of that set on this rank.
        prepare: makes the operation on a set of its own.
        alive: a sign of life, for sets may take seconds to fill and to compare.
        cache_bytes: of the last cache; None where that is not known.
    """
    needed = world.gather(0 if operation.idle else nbytes)
    cached = max(needed) < LEAST_BYTES or sum(needed) < world.broadcast(cache_bytes or 0)
    if len(set(world.nodes)) > 1 or cached:
        return operation
    count = world.broadcast(count_sets(sum(needed), read_free_memory(Path("/"))))
    sets = [operation]
    while len(sets) < count:
        try:
            another = operation if operation.idle else prepare()
            lacks = False
        except (MemoryError, UnpreparedError):
            lacks = True
        if any(world.gather(lacks)):
            break
        sets.append(another)
        alive()
    return operation if operation.idle else PageSets(sets, alive)


def count_sets(nbytes: int, free: int | None) -> int:
    """Return how many sets a node holds at once.

    Args:
        nbytes: of one set, on all ranks of the node.
        free: bytes that may still be taken there; None, where nothing tells, allows one set alone.
    """
    if free is None:
        return 1
    return 1 + min(MOST_SETS - 1, int(_MOST_SHARE * free / nbytes))
