"""Pageable host memory, aligned to pages and touched."""

import copy
import mmap
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.rank.memory.numa import run_on_cpus
from bench.rank.memory.pattern import PatternBuffer


class HostBuffer(PatternBuffer):
    """Bytes of pageable memory at a page boundary, in pages as the kernel gives them to anyone.

    NumPy's own allocator asks for huge pages, which doubles the rate of single-copy messages of
    1 MiB through shared memory; a C program's malloc does not ask.
    """

    def __init__(self, nbytes: int) -> None:
        # Touched by the kernel, from the first page to the last, in two thirds of the time.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        try:
            pages = mmap.mmap(-1, nbytes, flags=flags)
        except OSError as error:
            # A limit of address space (ulimit -v) or of what the kernel promises was reached.
            raise MemoryError(f"{nbytes} bytes: {error.strerror}") from error
        self._bytes = np.frombuffer(pages, np.uint8)
        self.address = int(self._bytes.ctypes.data)
        self.nbytes = nbytes

    def part(self, offset: int, nbytes: int) -> Self:
        """Return some of the bytes."""
        found = copy.copy(self)
        found._bytes = self._bytes[offset : offset + nbytes]
        found.address, found.nbytes = self.address + offset, nbytes
        return found

    def write(self, data: NDArray[Any]) -> None:
        """Put the bytes of an array of the buffer's size there."""
        self._bytes[:] = data.view(np.uint8).reshape(-1)

    def read(self) -> NDArray[np.uint8]:
        """Return the bytes themselves."""
        return self._bytes


class HostMemory:
    """Allocates pageable host memory.

    Args:
        cpus: of the NUMA node whose memory it is; none for wherever the rank runs.
    """

    name = "host"
    copies = None

    def __init__(self, cpus: tuple[int, ...] = ()) -> None:
        self._cpus = cpus
        self.handed_out = 0
        """Bytes, with those of buffers that were dropped since."""

    def allocate(self, nbytes: int) -> HostBuffer:
        """Return a touched buffer."""
        self.handed_out += nbytes
        return run_on_cpus(self._cpus, lambda: HostBuffer(nbytes))
