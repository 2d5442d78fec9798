"""Algorithms of exchanges and collectives, as phases of rounds."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bench.predict.model.composed.fabric import Fabric, Phase
from bench.predict.model.datasheet.rounds import Round, doubling_rounds, halving_rounds, tree_rounds

Ends = NDArray[np.int64]
Algorithm = Callable[[Fabric, float], list[Phase]]


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


def _to_next_node(fabric: Fabric) -> tuple[Ends, Ends]:
    """Return each rank and the equal rank of the next node."""
    home = np.array(fabric.nodes)
    by_node = [np.flatnonzero(home == node) for node in sorted(set(fabric.nodes))]
    following = [*by_node[1:], by_node[0]]
    return np.concatenate(by_node), np.concatenate(following)


def _passed_on(fabric: Fabric, size: float) -> list[Phase]:
    """Blocks of all ranks go round, to be added up or to be gathered."""
    p = fabric.ranks
    return [Phase("p - 1 rounds of m", (_shift(p, 1, size, p - 1),))]


def _passed_on_and_added(fabric: Fabric, size: float) -> list[Phase]:
    (phase,) = _passed_on(fabric, size)
    return [phase._replace(added=(fabric.ranks - 1) * size)]


def _pairwise(fabric: Fabric, size: float) -> list[Phase]:
    (phase,) = _naive(fabric, size)
    return [phase._replace(added=0.0)]


def _all_at_once(fabric: Fabric, size: float) -> list[Phase]:
    (phase,) = _naive_at_once(fabric, size)
    return [phase._replace(added=0.0)]


def _tree_down(fabric: Fabric, size: float) -> list[Phase]:
    """A binomial tree from rank 0, far ranks first."""
    rounds = tuple(tree_rounds(fabric.ranks, size))[1::2]
    return [Phase("log2 p rounds of m", rounds[::-1])]


def _spread_and_passed_on(fabric: Fabric, size: float) -> list[Phase]:
    p = fabric.ranks
    return [*_from_one(fabric, size / p), *_passed_on(fabric, size / p)]


def _broadcast_by_node(fabric: Fabric, size: float) -> list[Phase]:
    """The first ranks of nodes pass it on among each other, and then each to its node."""
    return [*_tree_of_firsts(fabric, size), *_first_to_node(fabric, size)]


def _allgather_by_node(fabric: Fabric, size: float) -> list[Phase]:
    """Blocks come together in each node, go round among nodes, and are handed out inside."""
    firsts, g = _firsts(fabric), fabric.per_node
    ring = Round(firsts, np.roll(firsts, -1), g * size, firsts.size - 1)
    around = [Phase("n - 1 rounds of g m", (ring,))] if firsts.size > 1 else []
    return [
        *_node_to_first(fabric, size),
        *around,
        *_first_to_node(fabric, fabric.ranks * size),
    ]


def _reduced_and_scattered(fabric: Fabric, size: float) -> list[Phase]:
    """The whole sum comes to one rank, by node, and is handed out from there."""
    whole = fabric.ranks * size
    up = [
        Phase(
            phase.name, tuple(Round(r.target, r.source, r.size) for r in phase.rounds[::-1]), whole
        )
        for phase in _tree_of_firsts(fabric, whole)
    ]
    return [*_node_to_first(fabric, whole), *up, *_from_one(fabric, size)]


def _firsts(fabric: Fabric) -> Ends:
    """Return the first rank of each node."""
    return np.unique(np.array(fabric.nodes), return_index=True)[1]


def _tree_of_firsts(fabric: Fabric, size: float) -> list[Phase]:
    firsts = _firsts(fabric)
    rounds = tuple(
        Round(firsts[r.source], firsts[r.target], r.size)
        for r in tuple(tree_rounds(firsts.size, size))[1::2][::-1]
    )
    return [Phase("log2 n rounds of m", rounds)] if rounds else []


def _first_to_node(fabric: Fabric, size: float) -> list[Phase]:
    first = _firsts(fabric)[np.array(fabric.nodes)]
    others = np.flatnonzero(first != np.arange(fabric.ranks))
    return [Phase("m to the node", (Round(first[others], others, size),))] if others.size else []


def _node_to_first(fabric: Fabric, size: float) -> list[Phase]:
    return [
        Phase("m of the node", tuple(Round(r.target, r.source, r.size) for r in phase.rounds))
        for phase in _first_to_node(fabric, size)
    ]


def _from_one(fabric: Fabric, size: float) -> list[Phase]:
    p = fabric.ranks
    round_ = Round(np.zeros(p - 1, np.int64), np.arange(1, p), size)
    return [Phase("p - 1 messages of m from the root", (round_,))]


def _to_one(fabric: Fabric, size: float) -> list[Phase]:
    p = fabric.ranks
    round_ = Round(np.arange(1, p), np.zeros(p - 1, np.int64), size)
    return [Phase("p - 1 messages of m to the root", (round_,))]


ALGORITHMS: dict[str, Algorithm] = {
    "naive": _naive,
    "naive-at-once": _naive_at_once,
    "ring": _ring,
    "recursive-doubling": _doubling,
    "rabenseifner": _halving,
    "binomial": _tree,
    "hierarchical": _hierarchical,
    "reduce-scatter ring": _passed_on_and_added,
    "allgather ring": _passed_on,
    "pairwise": _pairwise,
    "all at once": _all_at_once,
    "broadcast tree": _tree_down,
    "scatter and allgather": _spread_and_passed_on,
    "broadcast by node": _broadcast_by_node,
    "allgather by node": _allgather_by_node,
    "reduce and scatter": _reduced_and_scattered,
    "from the root": _from_one,
    "to the root": _to_one,
}
"""By name, as phases; the first of them are all-reduces."""

CANDIDATES: dict[str, tuple[str, ...]] = {
    "all-reduce": ("ring", "recursive-doubling", "rabenseifner", "binomial", "hierarchical"),
    "reduce-scatter": ("reduce-scatter ring", "reduce and scatter"),
    "all-gather": ("allgather ring", "allgather by node"),
    "all-to-all": ("pairwise", "all at once"),
    "broadcast": ("broadcast tree", "scatter and allgather", "broadcast by node"),
    "scatter": ("from the root",),
    "gather": ("to the root",),
}
"""What a library may choose of, by operation."""
