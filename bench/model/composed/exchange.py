"""Collectives and exchanges as rounds of measured messages at the size that they really have.

A round lasts as long as its busiest resource: the link of a node, out or in, or a rank inside its
node. What a rank adds up comes on top. The rate of large messages would be wrong here: a ring sends
m / p, and its parts may be small where m is large (Thakur, Rabenseifner and Gropp, IJHPCA 2005).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.model.composed.path import Path
from bench.model.datasheet.rounds import Round, doubling_rounds, halving_rounds, tree_rounds

UNKNOWN = "algorithm unknown"


class Fabric(msgspec.Struct, frozen=True):
    """Where ranks are, and what messages between them cost."""

    nodes: tuple[int, ...]
    """The node of each rank, numbered from 0; every node with equally many ranks."""
    inside: Path | None
    """Between ranks of a node; None where no two share one."""
    across: Path | None
    """Between nodes; None where there is one alone."""
    added_rate: float | None = None
    """Bytes per second that a rank adds to what it has; None where that is taken as free."""

    @property
    def ranks(self) -> int:
        """The world size."""
        return len(self.nodes)

    @property
    def per_node(self) -> int:
        """Ranks of a node."""
        return len(self.nodes) // len(set(self.nodes))


class Phase(NamedTuple):
    """Rounds that follow each other, and the bytes that each rank adds up meanwhile."""

    name: str
    rounds: tuple[Round, ...]
    added: float = 0.0


class Composed(msgspec.Struct, frozen=True):
    """Seconds, the bracket that the composition leaves open, and how it was composed."""

    seconds: float
    low_s: float
    high_s: float
    formula: str


Algorithm = Callable[[Fabric, float], list[Phase]]


def compose(fabric: Fabric, size: float, algorithm: str) -> Composed:
    """Return the time of an algorithm over all ranks.

    Phases may overlap as far as the library can: from the longest one alone to one after the other,
    which `seconds` is. The library's own choice is the fastest candidate, its bracket from there
    overlapped to the slowest one.

    Args:
        fabric: ranks and paths.
        size: bytes of each rank.
        algorithm: of `ALGORITHMS`, or `library`.

    Raises:
        ValueError: where a path that is needed was not measured.
    """
    if algorithm == "library":
        known = {name: compose(fabric, size, name) for name in CANDIDATES}
        name, best = min(known.items(), key=lambda item: item[1].seconds)
        low_s = min(one.low_s for one in known.values())
        high_s = max(one.high_s for one in known.values())
        return Composed(best.seconds, low_s, high_s, f"{best.formula} ({UNKNOWN}: {name} is least)")
    if fabric.ranks < 2 or not size:
        return Composed(0.0, 0.0, 0.0, "nothing is exchanged")
    phases = ALGORITHMS[algorithm](fabric, size)
    times = [_phase_seconds(fabric, phase) for phase in phases]
    formula = f"{algorithm}: " + " + ".join(phase.name for phase in phases)
    return Composed(sum(times), max(times), sum(times), formula)


def _phase_seconds(fabric: Fabric, phase: Phase) -> float:
    added_s = 0.0 if fabric.added_rate is None else phase.added / fabric.added_rate
    return added_s + sum(_round_seconds(fabric, round_) for round_ in phase.rounds)


def _round_seconds(fabric: Fabric, round_: Round) -> float:
    home = np.array(fabric.nodes)
    source, target = home[round_.source], home[round_.target]
    crossing = source != target
    slowest = 0.0
    if crossing.any():
        senders = max(_most(ends[crossing]) for ends in (source, target))
        slowest = _needed(fabric.across, "across nodes").seconds(round_.size, senders)
    if not crossing.all():
        senders = max(_most(ends[~crossing]) for ends in (round_.source, round_.target))
        inside = _needed(fabric.inside, "inside a node").seconds(round_.size, senders)
        slowest = max(slowest, inside)
    return round_.count * slowest


def _needed(path: Path | None, where: str) -> Path:
    if path is None:
        raise ValueError(f"no message {where} was measured")
    return path


def _most(numbers: NDArray[np.int64]) -> int:
    return int(np.bincount(numbers).max())


def _shift(ranks: int, distance: int, size: float, count: int = 1) -> Round:
    everyone = np.arange(ranks)
    return Round(everyone, (everyone + distance) % ranks, size, count)


def _naive(fabric: Fabric, size: float) -> list[Phase]:
    p = fabric.ranks
    rounds = tuple(_shift(p, distance, size) for distance in range(1, p))
    return [Phase("p - 1 rounds of m", rounds, (p - 1) * size)]


def _naive_at_once(fabric: Fabric, size: float) -> list[Phase]:
    p = fabric.ranks
    source, target = (ends.ravel() for ends in np.indices((p, p)))
    apart = source != target
    round_ = Round(source[apart], target[apart], size)
    return [Phase("p (p - 1) messages of m at once", (round_,), (p - 1) * size)]


def _ring(fabric: Fabric, size: float) -> list[Phase]:
    p = fabric.ranks
    rounds = (_shift(p, 1, size / p, 2 * (p - 1)),)
    return [Phase("2 (p - 1) rounds of m / p", rounds, (p - 1) / p * size)]


def _doubling(fabric: Fabric, size: float) -> list[Phase]:
    rounds = tuple(doubling_rounds(fabric.ranks, size))
    return [Phase("log2 p rounds of m", rounds, len(rounds) * size)]


def _halving(fabric: Fabric, size: float) -> list[Phase]:
    p = fabric.ranks
    rounds = tuple(halving_rounds(p, size))
    return [Phase("2 log2 p rounds of m / 2, m / 4, ...", rounds, (p - 1) / p * size)]


def _tree(fabric: Fabric, size: float) -> list[Phase]:
    rounds = tuple(tree_rounds(fabric.ranks, size))
    return [Phase("2 log2 p rounds of m", rounds, len(rounds) / 2 * size)]


def _hierarchical(fabric: Fabric, size: float) -> list[Phase]:
    """Every rank adds up a part for its node; rings over equal ranks of nodes; then it is spread.

    Inside a node all parts are on their way at once.
    """
    g, n = fabric.per_node, len(set(fabric.nodes))
    part = size / g
    inside = tuple(_all_inside(fabric, part)) if g > 1 else ()
    phases = []
    if inside:
        phases.append(Phase("m / g to each rank of the node", inside, (g - 1) * part))
    if n > 1:
        ring = Round(*_to_next_node(fabric), part / n, 2 * (n - 1))
        phases.append(Phase("2 (n - 1) rounds of m / g / n", (ring,), (n - 1) / n * part))
    if inside:
        phases.append(Phase("m / g to each rank of the node", inside))
    return phases


def _all_inside(fabric: Fabric, size: float) -> Iterator[Round]:
    home = np.array(fabric.nodes)
    source, target = (ends.ravel() for ends in np.indices((fabric.ranks, fabric.ranks)))
    chosen = (source != target) & (home[source] == home[target])
    yield Round(source[chosen], target[chosen], size)


def _to_next_node(fabric: Fabric) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each rank and the equal rank of the next node."""
    home = np.array(fabric.nodes)
    by_node = [np.flatnonzero(home == node) for node in sorted(set(fabric.nodes))]
    following = [*by_node[1:], by_node[0]]
    return np.concatenate(by_node), np.concatenate(following)


ALGORITHMS: dict[str, Algorithm] = {
    "naive": _naive,
    "naive-at-once": _naive_at_once,
    "ring": _ring,
    "recursive-doubling": _doubling,
    "rabenseifner": _halving,
    "binomial": _tree,
    "hierarchical": _hierarchical,
}
"""All-reduces by name, as phases."""

CANDIDATES = ("ring", "recursive-doubling", "rabenseifner", "binomial", "hierarchical")
"""What a library may choose of."""
