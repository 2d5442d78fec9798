"""Bytes that depend on a seed and on every offset, so that what is lost or misplaced is seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIDE = np.uint64(0x9E3779B97F4A7C15)
_SEED_STRIDE = 0xD1B54A32D192ED03
_WORD = 2**64 - 1
_BLOCK = 2**14
"""Words computed at a time: 128 KiB stay in the cache of a core."""


def pattern(seed: int, nbytes: int) -> NDArray[np.uint8]:
    """Return `nbytes` that depend on the seed and on every offset."""
    words = np.empty(nbytes // 8 + 1, np.uint64)
    start = np.uint64(seed * _SEED_STRIDE & _WORD)
    numbers = np.arange(1, min(_BLOCK, len(words)) + 1, dtype=np.uint64)
    for first in range(0, len(words), _BLOCK):
        block = words[first : first + _BLOCK]
        np.add(numbers[: len(block)], np.uint64(first), out=block)
        block *= _STRIDE
        block += start
        block ^= block >> np.uint64(29)
    return words.view(np.uint8)[:nbytes]


_kept = lru_cache(maxsize=2)(pattern)
"""Patterns of what a rank sends and of what it receives; buffers write to neither."""
_keeping = False


@contextmanager
def patterns_kept() -> Iterator[None]:
    """Compute a pattern once while several buffers of one size are filled and compared."""
    global _keeping
    _keeping = True
    try:
        yield
    finally:
        _keeping = False
        _kept.cache_clear()


def _pattern(seed: int, nbytes: int) -> NDArray[np.uint8]:
    return (_kept if _keeping else pattern)(seed, nbytes)


class PatternBuffer:
    """Base of buffers: filled and compared through `write` and `read`."""

    address: int
    nbytes: int

    def write(self, data: NDArray[Any]) -> None:
        """Put the bytes of an array of the buffer's size there."""
        raise NotImplementedError

    def read(self) -> NDArray[np.uint8]:
        """Return all bytes, in host memory."""
        raise NotImplementedError

    def fill(self, seed: int) -> None:
        """Write the pattern of `seed`."""
        self.write(_pattern(seed, self.nbytes))

    def poison(self, seed: int) -> None:
        """Write the complement of that pattern."""
        self.write(np.invert(_pattern(seed, self.nbytes)))

    def count_wrong(self, seed: int) -> int:
        """Return how many bytes differ from the pattern of `seed`."""
        found, right = self.read(), _pattern(seed, self.nbytes)
        words = self.nbytes // 8 * 8
        # Words first: nearly always all are right, and there are eight times fewer of them.
        same = np.array_equal(found[:words].view(np.uint64), right[:words].view(np.uint64))
        first = words if same else 0
        return int(np.count_nonzero(found[first:] != right[first:]))
