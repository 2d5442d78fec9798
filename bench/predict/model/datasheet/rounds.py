"""Who sends to whom in the rounds of tree-like exchanges, for any number of ranks."""

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]


class Round(msgspec.Struct, frozen=True):
    """Messages of `size` bytes from `source` to `target` at once; the same `count` times over."""

    source: Ranks
    target: Ranks
    size: float
    count: int = 1


def _power_below(ranks: int) -> int:
    return 1 << (ranks.bit_length() - 1)


def _folded(ranks: int) -> tuple[Ranks, Ranks, Ranks]:
    """Fold ranks to a power of two: who leaves, to whom, and who is left.

    Of the first 2 (p - 2^k) ranks the even ones hand their data to the odd ones and wait, as in
    MPICH.
    """
    extra = ranks - _power_below(ranks)
    leaving = np.arange(0, 2 * extra, 2)
    everyone = np.arange(ranks)
    stay = everyone[(everyone >= 2 * extra) | (everyone % 2 == 1)]
    return leaving, leaving + 1, stay


def doubling_rounds(ranks: int, size: float) -> Iterator[Round]:
    """Yield rounds in which pairs at distance 1, 2, 4, ... exchange all they have."""
    leaving, taking, stay = _folded(ranks)
    if leaving.size:
        yield Round(leaving, taking, size)
    index = np.arange(stay.size)
    for distance in _distances(stay.size):
        yield Round(stay, stay[index ^ distance], size)
    if leaving.size:
        yield Round(taking, leaving, size)


def halving_rounds(ranks: int, size: float) -> Iterator[Round]:
    """Yield exchanges of halves, then back; near ranks have the large ones, as in MPICH."""
    leaving, taking, stay = _folded(ranks)
    if leaving.size:
        yield Round(leaving, taking, size)
    index = np.arange(stay.size)
    for number, distance in enumerate(_distances(stay.size), 1):
        yield Round(stay, stay[index ^ distance], size / 2**number, 2)
    if leaving.size:
        yield Round(taking, leaving, size)


def tree_rounds(ranks: int, size: float) -> Iterator[Round]:
    """Yield the rounds of a binomial tree to rank 0, and of the same tree back."""
    distance = 1
    while distance < ranks:
        sending = np.arange(distance, ranks, 2 * distance)
        yield Round(sending, sending - distance, size)
        yield Round(sending - distance, sending, size)
        distance *= 2


def _distances(ranks: int) -> Iterator[int]:
    distance = 1
    while distance < ranks:
        yield distance
        distance *= 2
