"""Collectives and exchanges as rounds of measured messages at the size that they really have.

A round lasts as long as its busiest resource: the link of a node, out or in, or a rank inside its
node. What a rank adds up comes on top. The rate of large messages would be wrong here: a ring sends
m / p, and its parts may be small where m is large (Thakur, Rabenseifner and Gropp, IJHPCA 2005).
"""

import msgspec
import numpy as np

from bench.predict.model.composed.algorithms import ALGORITHMS, CANDIDATES, Ends
from bench.predict.model.composed.fabric import Fabric, Phase
from bench.predict.model.composed.path import MessagePath
from bench.predict.model.datasheet.rounds import Round

UNKNOWN = "algorithm unknown"


class Composed(msgspec.Struct, frozen=True):
    """Seconds, the bracket that the composition leaves open, and how it was composed."""

    seconds: float
    low_s: float
    high_s: float
    formula: str


def compose(fabric: Fabric, size: float, algorithm: str) -> Composed:
    """Return the time of an algorithm over all ranks.

    Phases may overlap as far as the library can: from the longest one alone to one after the other,
    which `seconds` is.

    Args:
        fabric: ranks and paths.
        size: bytes of each rank.
        algorithm: of `ALGORITHMS`.

    Raises:
        ValueError: where a path that is needed was not measured.
    """
    if fabric.ranks < 2 or not size:
        return Composed(0.0, 0.0, 0.0, "nothing is exchanged")
    phases = ALGORITHMS[algorithm](fabric, size)
    times = [_phase_seconds(fabric, phase) for phase in phases]
    formula = f"{algorithm}: " + " + ".join(phase.name for phase in phases)
    return Composed(sum(times), max(times), sum(times), formula)


def compose_library(fabric: Fabric, size: float, operation: str) -> Composed:
    """Return the time of an operation by the fastest of the algorithms that a library may choose.

    The bracket goes from there, overlapped, to the slowest one.

    Args:
        fabric: ranks and paths.
        size: bytes of the block of a rank.
        operation: of `CANDIDATES`.

    Raises:
        ValueError: where a path that is needed was not measured.
    """
    known = {name: compose(fabric, size, name) for name in CANDIDATES[operation]}
    name, best = min(known.items(), key=lambda item: item[1].seconds)
    low_s = min(one.low_s for one in known.values())
    high_s = max(one.high_s for one in known.values())
    return Composed(best.seconds, low_s, high_s, f"{best.formula} ({UNKNOWN}: {name} is least)")


def _phase_seconds(fabric: Fabric, phase: Phase) -> float:
    added_s = 0.0 if fabric.added_rate is None else phase.added / fabric.added_rate
    return added_s + sum(_round_seconds(fabric, round_) for round_ in phase.rounds)


def _round_seconds(fabric: Fabric, round_: Round) -> float:
    home = np.array(fabric.nodes)
    source, target = home[round_.source], home[round_.target]
    crossing = source != target
    slowest = 0.0
    if crossing.any():
        ends = source[crossing], target[crossing]
        path = _needed(_both_ways(ends, fabric.across, fabric.across_crossing), "across nodes")
        slowest = path.seconds(round_.size, max(map(_most, ends)))
    if not crossing.all():
        ends = round_.source[~crossing], round_.target[~crossing]
        path = _needed(_both_ways(ends, fabric.inside, fabric.inside_crossing), "inside a node")
        slowest = max(slowest, path.seconds(round_.size, max(map(_most, ends))))
    return round_.count * slowest


def _both_ways(
    ends: tuple[Ends, Ends], alone: MessagePath | None, crossing: MessagePath | None
) -> MessagePath | None:
    """Return the path of messages that cross others where anybody both sends and receives."""
    crosses = bool(np.intersect1d(*ends).size)
    return crossing if crosses and crossing is not None else alone


def _needed(path: MessagePath | None, where: str) -> MessagePath:
    if path is None:
        raise ValueError(f"no message {where} was measured")
    return path


def _most(numbers: Ends) -> int:
    return int(np.bincount(numbers).max())
