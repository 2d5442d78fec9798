"""Launches of a crossover without what pairs and drift add: one value of each side for each block.

A block is a few pairs of hosts, some of which ran A while the others ran B, and then the other way
round. With y = pair + period + side + noise, the mean over both periods of the means within them
holds every pair and every period as often in A as in B: in the difference only the sides are left.
Blocks are independent, so what follows is a paired comparison with the block as the pair (Jones
and Kenward, Design and Analysis of Cross-Over Trials, the 2 x 2 design without carry-over).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.judge.compare.records import Launches


class Crossed(NamedTuple):
    """Launches of one side of a crossover; one value for each."""

    log_s: NDArray[np.float64]
    """Natural logarithms of what is compared."""
    block: NDArray[np.int64]
    """Which pairs were held against each other, in which round."""
    period: NDArray[np.int64]
    """What ran at once has one number."""
    pair: NDArray[np.int64]
    """The hosts that it ran on."""
    begun_s: NDArray[np.float64]
    """When each began, in seconds since 1970; NaN where nobody knows."""


class Balanced(NamedTuple):
    """Both sides, with a value for each complete block."""

    a: Launches
    b: Launches
    incomplete: int
    """Blocks that were left out, since a launch is missing without which drift does not cancel."""


def balance(a: Crossed, b: Crossed) -> Balanced:
    """Return one value for each block and side, in which pairs and drift weigh the same.

    A pair counts in a block only with both its launches, and a block only where some pairs began
    with A and others with B.
    """
    blocks = np.union1d(a.block, b.block)
    found = [_balance_block(_only(a, block), _only(b, block)) for block in blocks]
    kept = [(block, sides) for block, sides in zip(blocks, found, strict=True) if sides]
    number = np.array([block for block, _ in kept], np.int64)
    log_s = np.array([sides.log_s for _, sides in kept], np.float64).reshape(-1, 2)
    begun_s = np.array([sides.begun_s for _, sides in kept], np.float64).reshape(-1, 2)
    of_a, of_b = (Launches(log_s[:, side], number, begun_s[:, side]) for side in (0, 1))
    return Balanced(of_a, of_b, len(blocks) - len(kept))


class _Launch(NamedTuple):
    period: int
    log_s: float
    begun_s: float


def _only(side: Crossed, block: np.int64) -> dict[int, _Launch]:
    """Return the launches of a block by pair."""
    at = np.flatnonzero(side.block == block).tolist()
    return {
        int(side.pair[i]): _Launch(
            int(side.period[i]), float(side.log_s[i]), float(side.begun_s[i])
        )
        for i in at
    }


class _Sides(NamedTuple):
    log_s: tuple[float, float]
    """Of A and of B."""
    begun_s: tuple[float, float]


def _balance_block(a: dict[int, _Launch], b: dict[int, _Launch]) -> _Sides | None:
    """Return the values of both sides, None where drift does not cancel."""
    pairs = a.keys() & b.keys()
    halves = [
        [pair for pair in pairs if (a[pair].period < b[pair].period) == a_first]
        for a_first in (True, False)
    ]
    if not all(halves):
        return None

    def mean(side: dict[int, _Launch]) -> float:
        return float(np.mean([np.mean([side[pair].log_s for pair in half]) for half in halves]))

    def begin(side: dict[int, _Launch]) -> float:
        return float(np.min([side[pair].begun_s for pair in pairs]))

    return _Sides((mean(a), mean(b)), (begin(a), begin(b)))
