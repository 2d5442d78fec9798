"""What each rank gives to a collective call, and what it must get: known data, checked exactly.

Data is made of blocks, one for each rank that gives and each that gets. Every block differs from
every other one, so that a block in the place of another, or of another rank, is seen.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_PERIOD = 1021
"""Numbers of a block repeat after so many: a prime shares no period with the powers of two that
libraries cut messages at."""
_PIECE_BYTES, _PIECE_PERIODS = 2**22, 2**9
"""Of a block that are made at once: a piece begins with a word, or a period."""
_OWN = 61
"""Ranks add numbers of their own below this, so that none can stand in for its neighbour."""
MOST_SUMMED_RANKS = 15_000
"""Sums of whole numbers stay below 2**24, where single precision holds them to the last bit."""


class CollectiveKind(NamedTuple):
    """Which blocks a collective call moves."""

    name: str
    operation: str
    """The call, as models name it."""
    title: str
    reduces: bool = False
    """Blocks of all ranks are added up."""
    apart: bool = False
    """Every rank that gets has a block of its own."""
    joined: bool = False
    """Blocks of all ranks lie side by side where they arrive."""
    one_gives: bool = False
    """Only the root gives."""
    one_gets: bool = False
    """Only the root gets."""
    moves: bool = True
    """False where no data is moved."""
    bus: tuple[int, int] = (1, 1)
    """(a, b) of the factor a (n - b) / n of its bus bandwidth on n ranks (nccl-tests,
    PERFORMANCE.md). All but a rank's own part crosses its link: twice in an allreduce, which
    reduces and hands out again; a broadcast leaves the root whole."""

    def bus_factor(self, ranks: int) -> float:
        """Return the bytes that cross the busiest link at least, as a multiple of the total.

        So bus bandwidth compares with the rate of a link, whatever the number of ranks.
        """
        times, own = self.bus
        return times * (ranks - own) / ranks

    @property
    def rooted(self) -> bool:
        """Whether one rank has a part of its own."""
        return self.one_gives or self.one_gets

    @property
    def one_buffer(self) -> bool:
        """Whether what arrives takes the place of what is sent, as in MPI_Bcast."""
        return self.one_gives and not self.apart


KINDS = (
    CollectiveKind(
        "allreduce",
        "all-reduce",
        "the sum of a buffer over all ranks, given to all of them",
        reduces=True,
        bus=(2, 1),
    ),
    CollectiveKind(
        "reduce_scatter",
        "reduce-scatter",
        "the sum of a buffer over all ranks, a block of it given to each",
        reduces=True,
        apart=True,
    ),
    CollectiveKind(
        "allgather", "all-gather", "a block of every rank, given to all of them", joined=True
    ),
    CollectiveKind(
        "alltoall",
        "all-to-all",
        "a block from every rank to every other one",
        apart=True,
        joined=True,
    ),
    CollectiveKind(
        "broadcast",
        "broadcast",
        "a buffer of the root, given to all ranks",
        one_gives=True,
        bus=(1, 0),
    ),
    CollectiveKind(
        "scatter",
        "scatter",
        "a block of the root's buffer to every rank",
        apart=True,
        one_gives=True,
    ),
    CollectiveKind(
        "gather", "gather", "a block of every rank, given to the root", joined=True, one_gets=True
    ),
    CollectiveKind("barrier", "barrier", "no rank goes on before all have come", moves=False),
)


class Blocks:
    """The data of one rank.

    Args:
        kind: of the call.
        rank: whose data.
        ranks: of the job.
        nbytes: of a block, in whole elements.
        dtype: of the numbers that are added; bytes are distinguished by pattern where None.
    """

    def __init__(
        self,
        kind: CollectiveKind,
        rank: int,
        ranks: int,
        nbytes: int,
        dtype: type[np.float32] | type[np.float64] | None = None,
    ) -> None:
        self.nbytes = nbytes
        self.dtype: np.dtype[Any] = np.dtype(dtype or np.uint8)
        self._kind = kind
        self._rank = rank
        self._ranks = ranks

    def given_bytes(self, root: int) -> int:
        """Return the size of what this rank gives, 0 where nothing."""
        kind = self._kind
        if not kind.moves or (kind.one_gives and self._rank != root):
            return 0
        return self.nbytes * (self._ranks if kind.apart else 1)

    def wanted_bytes(self, root: int) -> int:
        """Return the size of what this rank must get, 0 where nothing."""
        kind = self._kind
        if not kind.moves or (kind.one_gets and self._rank != root):
            return 0
        return self.nbytes * (self._ranks if kind.joined else 1)

    def given(self, root: int, seed: int) -> Iterator[Array]:
        """Return what this rank gives, piece by piece: all of it may not fit beside the buffers."""
        if self.given_bytes(root):
            for target in range(self._ranks) if self._kind.apart else (0,):
                yield from self._block(self._rank, target, seed)

    def wanted(self, root: int, seed: int) -> Iterator[Array]:
        """Return what this rank must get, piece by piece."""
        if not self.wanted_bytes(root):
            return
        target = self._rank if self._kind.apart else 0
        if self._kind.reduces:
            yield from self._sum(target, seed)
            return
        for source in range(self._ranks) if self._kind.joined else (root,):
            yield from self._block(source, target, seed)

    def _block(self, source: int, target: int, seed: int) -> Iterator[Array]:
        if self._kind.reduces:
            yield from self._repeated(_terms(target, seed) + _own(source))
            return
        random = np.random.PCG64([seed, source, target])
        # Chance could give two ranks the same byte, where there is but one.
        first, shift = source * self._ranks + target + seed, None
        for begin in range(0, self.nbytes, _PIECE_BYTES):
            size = min(_PIECE_BYTES, self.nbytes - begin)
            piece: Array = random.random_raw(-(-size // 8)).view(np.uint8)[:size]
            if shift is None:
                shift = np.uint8((first - int(piece[0])) % 256)
            piece += shift
            yield piece

    def _sum(self, target: int, seed: int) -> Iterator[Array]:
        """Sums of whole numbers are the same in whichever order an algorithm adds."""
        owns = sum(_own(source) for source in range(self._ranks))
        return self._repeated(self._ranks * _terms(target, seed) + owns)

    def _repeated(self, period: NDArray[np.int64]) -> Iterator[Array]:
        count = self.nbytes // self.dtype.itemsize
        whole = np.resize(period.astype(self.dtype), min(count, _PIECE_PERIODS * _PERIOD))
        for begin in range(0, count, len(whole)):
            yield whole[: count - begin]


def _terms(target: int, seed: int) -> NDArray[np.int64]:
    """Return one period of what every rank adds, another number at each place."""
    return (np.arange(_PERIOD, dtype=np.int64) + 389 * seed + 13 * target) % _PERIOD


def _own(rank: int) -> int:
    """Return what one rank adds to that everywhere: never nothing."""
    return 1 + rank % _OWN
