"""One bit for each number of a gradient, and what it leaves out is kept for the next step.

A block of numbers travels as signs and one scale; the error is added to the next gradient (Seide,
Fu, Droppo, Li and Yu, Interspeech 2014). Scales are powers of two and what is kept is in double
precision, so what is sent plus what is kept is the gradient to the last bit, as long as gradients
lie on a grid of 2^-52 of their largest sum; `Feedback.lost` counts where they do not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
"""Numbers with a scale in common."""
Numbers = NDArray[np.float32]
_SIGNS = (2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1).astype(
    np.float32
)
"""The eight signs of every byte."""


def wire_bytes(count: int) -> int:
    """Return the bytes of a message: a bit for each number, and 4 bytes for each block's scale."""
    return -(-count // 8) + 4 * _blocks(count)


def _blocks(count: int) -> int:
    return -(-count // BLOCK)


class Feedback:
    """What one rank keeps of its gradients because it was not sent yet."""

    def __init__(self, count: int) -> None:
        self.kept: NDArray[np.float64] = np.zeros(count)
        self.lost = 0
        """Numbers of the latest step of which sent and kept do not add up to the whole."""

    def encode(self, gradient: Numbers, message: NDArray[np.uint8]) -> None:
        """Write the signs and scales of a gradient, and what was kept before, to a message."""
        count = len(gradient)
        whole = self.kept + gradient
        self.lost = int(np.count_nonzero(whole - self.kept != gradient))
        padded = np.zeros(_blocks(count) * BLOCK)
        padded[:count] = whole
        sizes = np.minimum(BLOCK, count - BLOCK * np.arange(_blocks(count)))
        mean = np.abs(padded.reshape(-1, BLOCK)).sum(axis=1) / sizes
        # The nearest power of two; of nothing, nothing.
        scales = np.where(mean > 0, np.exp2(np.round(np.log2(np.maximum(mean, 1e-30)))), 0)
        bits = -(-count // 8)
        message[:bits] = np.packbits(whole >= 0)
        message[bits:] = scales.astype(np.float32).view(np.uint8)
        self.kept = whole - decode(message, count)
        self.lost += int(np.count_nonzero(self.kept + decode(message, count) != whole))


def decode(message: NDArray[np.uint8], count: int) -> Numbers:
    """Return the numbers that a message stands for."""
    bits = -(-count // 8)
    scales = np.frombuffer(message[bits:].tobytes(), np.float32)
    signs = _SIGNS[message[:bits]].reshape(-1)[:count]
    result: Numbers = signs * np.repeat(scales, BLOCK)[:count]
    return result


def add_up(messages: NDArray[np.uint8], count: int, total: NDArray[Any]) -> None:
    """Write the sum of what messages stand for, in the order of ranks, so equal on all of them."""
    total[:] = 0
    for message in messages:
        total += decode(message, count)
