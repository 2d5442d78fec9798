"""Bytes that depend on a seed and on every offset, so that what is lost or misplaced is seen."""

from typing import Any

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
        self.write(pattern(seed, self.nbytes))

    def poison(self, seed: int) -> None:
        """Write the complement of that pattern."""
        self.write(np.invert(pattern(seed, self.nbytes)))

    def count_wrong(self, seed: int) -> int:
        """Return how many bytes differ from the pattern of `seed`."""
        return int(np.count_nonzero(self.read() != pattern(seed, self.nbytes)))
