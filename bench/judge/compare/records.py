"""What is compared, and what comes of it.

Everything that was measured is seconds, so less is better whatever the benchmark: a ratio is the
seconds of B over those of A, and B is faster where it is below 1.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.core.verdict import Outcome

MARGIN = 0.01
"""The share up to which a change is none that matters."""
LEVEL = 0.01
"""How often any case may be called changed where none is."""


class Aspect(StrEnum):
    """What of a case's launches is compared."""

    LEVEL = "level"
    """The time that a launch took: its median, or what `statistic` names."""
    TAIL = "tail"
    """The 99th percentile of a launch over its median."""
    RANKS = "ranks"
    """The slowest rank's median over the middle rank's."""


class Launches(NamedTuple):
    """One side of one case; one value for each launch, or for each launch on each block."""

    log_s: NDArray[np.float64]
    """Natural logarithms of what is compared."""
    block: NDArray[np.int64]
    """What a launch shares with one of the other side: the pair of nodes, or the moment; launches
    of equal numbers on both sides may be held against each other. All 0 where nothing is shared."""
    begun_s: NDArray[np.float64]
    """When each began, in seconds since 1970; NaN where nobody knows."""
    pair: NDArray[np.int64] | None = None
    """Of a crossover the number of the hosts that each ran on, and `block` is the moment: launches
    of one block ran at once. None where launches ran one after the other."""


class CaseSides(NamedTuple):
    """The same case on both sides."""

    case: str
    part: str | None
    """Of a case with a row for each node or GPU, which one."""
    aspect: Aspect
    kind: str
    """Cases of one kind may scatter alike from launch to launch."""
    a: Launches
    b: Launches


class CaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the launches of both sides say of one aspect of one case."""

    outcome: Outcome
    """FASTER, SLOWER, SAME or CANNOT_TELL."""
    reason: str
    """Why, in words for people."""
    ratio: float | None = None
    """Seconds of B over those of A; None where a side has no launch."""
    low: float | None = None
    """Between `low` and `high` the ratio lies, at the level of the whole comparison; None where
    there are too few launches to say."""
    high: float | None = None
    launches_a: int
    launches_b: int
    launches_needed: int | None = None
    """Of each side, for an answer at the noise seen; None where it is answered, or nobody knows."""
    least_change: float | None = None
    """The smallest change, as a ratio above 1, that these launches would have shown."""
