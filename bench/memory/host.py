"""Pageable host memory, aligned to pages and touched."""

import mmap

import numpy as np
from numpy.typing import NDArray

_STRIDE = np.uint64(0x9E3779B97F4A7C15)
_SEED_STRIDE = 0xD1B54A32D192ED03
_WORD = 2**64 - 1


def pattern(seed: int, nbytes: int) -> NDArray[np.uint8]:
    """Return `nbytes` that depend on the seed and on every offset."""
    words = np.arange(1, nbytes // 8 + 2, dtype=np.uint64)
    words *= _STRIDE
    words += np.uint64(seed * _SEED_STRIDE & _WORD)
    words ^= words >> np.uint64(29)
    return words.view(np.uint8)[:nbytes]


class HostBuffer:
    """Bytes of pageable memory at a page boundary, in pages as the kernel gives them to anyone.

    NumPy's own allocator asks for huge pages, which doubles the rate of single-copy messages of
    1 MiB through shared memory; a C program's malloc does not ask.
    """

    def __init__(self, nbytes: int) -> None:
        pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._bytes = np.frombuffer(pages, np.uint8)
        self._bytes.fill(0)
        self.address = int(self._bytes.ctypes.data)
        self.nbytes = nbytes

    def fill(self, seed: int) -> None:
        """Write the pattern of `seed`."""
        self._bytes[:] = pattern(seed, self.nbytes)

    def poison(self, seed: int) -> None:
        """Write the complement of that pattern."""
        np.invert(pattern(seed, self.nbytes), out=self._bytes)

    def count_wrong(self, seed: int) -> int:
        """Return how many bytes differ from the pattern of `seed`."""
        return int(np.count_nonzero(self._bytes != pattern(seed, self.nbytes)))


class HostMemory:
    """Allocates pageable host memory."""

    name = "host"

    def allocate(self, nbytes: int) -> HostBuffer:
        """Return a touched buffer."""
        return HostBuffer(nbytes)
