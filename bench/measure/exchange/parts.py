"""What a strategy is given: where ranks are, where numbers lie, and how they are cut up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ITEM = 4
"""Bytes of a number: gradients are fp32, as in the posts."""
DTYPE = "fp32"


class RankOnNode(NamedTuple):
    """One rank among all, and the node of each."""

    rank: int
    nodes: tuple[int, ...]

    @property
    def ranks(self) -> int:
        """The world size."""
        return len(self.nodes)

    def members(self, node: int) -> list[int]:
        """Return the ranks of a node, in order."""
        return [rank for rank, home in enumerate(self.nodes) if home == node]


class Addresses(NamedTuple):
    """Where a rank's numbers lie."""

    own: int
    """The rank's own gradient; no strategy changes it."""
    total: int
    """Where the sum goes."""
    room: int
    """Room for what has been received and not yet added; each strategy states how much it needs."""


def cut_evenly(count: int, parts: int) -> list[int]:
    """Return parts + 1 bounds of consecutive parts of `count` numbers, equal within one."""
    return [count * part // parts for part in range(parts + 1)]


def shift(address: int, numbers: int) -> int:
    """Return the address so many numbers further on."""
    return address + numbers * ITEM


def terms(seed: int, rank: int, count: int) -> NDArray[np.float32]:
    """Return whole numbers whose sum over up to 512 ranks is exact in single precision.

    The period is a prime, so that parts in each other's places are seen; every rank starts
    elsewhere, so that none can stand in for another.
    """
    period = 1021
    numbers = (np.arange(period) * 7 + 389 * seed + 31 * rank + 1) % period
    return np.resize(numbers.astype(np.float32), count)


def exact_sum(seed: int, ranks: int, count: int) -> NDArray[np.float32]:
    """Return the sum of the terms of all ranks."""
    total = np.zeros(count, np.float32)
    for rank in range(ranks):
        total += terms(seed, rank, count)
    return total


def spread(sizes: Sequence[int]) -> list[int]:
    """Return the bounds of consecutive blocks of these sizes."""
    return [sum(sizes[:part]) for part in range(len(sizes) + 1)]
