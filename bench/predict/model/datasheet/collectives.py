"""Times of an all-reduce and an all-gather on nodes of several GPUs, and what none can beat.

Every rank holds m bytes (an all-gather ends with m bytes, m / p from each rank). A node sends and
receives at `network` bytes per second each way, a GPU at `intra` inside its node; where `intra` is
None the inside is taken as free, and marked so. Ranks follow each other node by node.

An algorithm is rounds of messages. A round lasts its latency and the time of its busiest resource:
the network out of and into every node, the inside links out of and into every GPU. Formulas:
Thakur, Rabenseifner and Gropp, IJHPCA 2005; the least traffic of an all-reduce without reduction
in switches: Patarasu and Yuan, JPDC 2009.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import numpy as np

from bench.predict.model.datasheet.rounds import (
    Ranks,
    Round,
    doubling_rounds,
    halving_rounds,
    tree_rounds,
)

Operation = Literal["all-reduce", "all-gather"]


class Cluster(msgspec.Struct, frozen=True):
    """Equal nodes of equal GPUs, one rank on each GPU."""

    nodes: int
    gpus: int
    network: float
    """Bytes per second of a node and direction, payload."""
    intra: float | None = None
    """Bytes per second of a GPU and direction to its own node; None where it does not limit."""
    latency_s: float = 0.0
    """Of one message."""

    @property
    def ranks(self) -> int:
        """The world size."""
        return self.nodes * self.gpus


class Time(msgspec.Struct, frozen=True):
    """Seconds of an exchange, its bracket where the model has one, and why."""

    seconds: float
    low_s: float | None
    high_s: float | None
    formula: str
    limited_by: str


NOTHING = Time(0.0, None, None, "one rank exchanges nothing", "nothing")


def bound(cluster: Cluster, size: float, in_switch: bool = False) -> Time:
    """Return what no all-reduce beats: the larger of two cuts.

    Every byte must be gathered and handed out again: 2 (p - 1) m bytes arrive somewhere, 2 (n - 1)
    m of them from other nodes. Where switches reduce and copy, m each way is the least for a node
    and for a GPU.

    Args:
        cluster: nodes, GPUs and rates.
        size: bytes of every rank.
        in_switch: whether switches reduce.
    """
    n, p = cluster.nodes, cluster.ranks
    if p == 1 or not size:
        return NOTHING
    node_s = gpu_s = 0.0
    if n > 1:
        node_s = (1 if in_switch else 2 * (n - 1) / n) * size / cluster.network
    if cluster.intra is not None:
        own = cluster.intra + (cluster.network / cluster.gpus if n > 1 else 0)
        gpu_s = (1 if in_switch else 2 * (p - 1) / p) * size / own
    node = "m / B_node" if in_switch else "2 (n - 1) / n m / B_node"
    rate = "(B_gpu + B_node / g)" if n > 1 else "B_gpu"
    gpu = f"m / {rate}" if in_switch else f"2 (p - 1) / p m / {rate}"
    return Time(
        cluster.latency_s + max(node_s, gpu_s),
        None,
        None,
        f"alpha + max({node}, {gpu})",
        _where(node_s, gpu_s),
    )


def naive(cluster: Cluster, size: float, operation: Operation = "all-reduce") -> Time:
    """Return the time of every rank sending all it has to every other one.

    A node of g GPUs sends g g (n - 1) times through its network, in any order; inside, each GPU
    sends g - 1 times, meanwhile.
    """
    n, g, p = cluster.nodes, cluster.gpus, cluster.ranks
    own = size if operation == "all-reduce" else size / p
    node_s = g * g * (n - 1) * own / cluster.network
    gpu_s = 0.0 if cluster.intra is None else (g - 1) * own / cluster.intra
    what = "m" if operation == "all-reduce" else "m / p"
    return _sized(
        cluster,
        Time(
            (p - 1) * cluster.latency_s + max(node_s, gpu_s),
            None,
            None,
            f"(p - 1) alpha + max(g^2 (n - 1) {what} / B_node, (g - 1) {what} / B_gpu)",
            _where(node_s, gpu_s),
        ),
        size,
    )


def ring(cluster: Cluster, size: float, operation: Operation = "all-reduce") -> Time:
    """Return the time of one flat ring over all ranks: p - 1 steps of m / p, twice to reduce."""
    p = cluster.ranks
    rate = min(
        cluster.network if cluster.nodes > 1 else math.inf,
        cluster.intra if cluster.gpus > 1 and cluster.intra is not None else math.inf,
    )
    rounds = 2 if operation == "all-reduce" else 1
    step_s = size / p / rate
    return _sized(
        cluster,
        Time(
            rounds * (p - 1) * (cluster.latency_s + step_s),
            None,
            None,
            f"{rounds} (p - 1) (alpha + m / p / min(B_node, B_gpu))",
            _where(rate == cluster.network, rate == cluster.intra),
        ),
        size,
    )


def hierarchical(cluster: Cluster, size: float, operation: Operation = "all-reduce") -> Time:
    """Return the bracket of reducing inside nodes first, then between equal ranks of nodes.

    T_in = 2 (g - 1) (alpha + m / g / B_gpu), T_out = 2 (n - 1) (alpha + m / g / n / (B_node / g));
    from max(T_in, T_out), both at work all the time, to T_in + T_out, one after the other. No
    datasheet states how far they overlap: `seconds` is the middle. An all-gather is half of it.
    """
    n, g = cluster.nodes, cluster.gpus
    rounds = 2 if operation == "all-reduce" else 1
    outer_s = rounds * (n - 1) * (cluster.latency_s + size / n / cluster.network)
    formula = (
        f"max(T_in, T_out) .. T_in + T_out; T_in = {rounds} (g - 1) (alpha + m / g / B_gpu), "
        f"T_out = {rounds} (n - 1) (alpha + m / n / B_node)"
    )
    inside_s = 0.0 if cluster.intra is None else size / g / cluster.intra
    inner_s = rounds * (g - 1) * (cluster.latency_s + inside_s)
    low_s, total_s = max(outer_s, inner_s), outer_s + inner_s
    where = _where(outer_s, inner_s)
    if cluster.intra is None and g > 1:
        # The inside is unknown, so nothing states how slow it can be.
        return _sized(cluster, Time(total_s, low_s, None, formula, where), size)
    return _sized(cluster, Time((low_s + total_s) / 2, low_s, total_s, formula, where), size)


def pipelined(cluster: Cluster, size: float) -> Time:
    """Return what a library reaches that crosses nodes as seldom as can be, all in one pipeline.

    max(2 (n - 1) / n m / B_node, 2 (p - 1) / p m / B_gpu), where B_gpu is the bus bandwidth that
    one node reaches alone. The asymptote of NCCL on two nodes, where a flat ring is 16 to 36 % too
    slow.
    """
    n, p = cluster.nodes, cluster.ranks
    node_s = 2 * (n - 1) / n * size / cluster.network if n > 1 else 0.0
    gpu_s = 0.0
    if cluster.intra is not None and cluster.gpus > 1:
        gpu_s = 2 * (p - 1) / p * size / cluster.intra
    return _sized(
        cluster,
        Time(
            cluster.latency_s + max(node_s, gpu_s),
            None,
            None,
            "alpha + max(2 (n - 1) / n m / B_node, 2 (p - 1) / p m / B_gpu)",
            _where(node_s, gpu_s),
        ),
        size,
    )


def recursive_doubling(cluster: Cluster, size: float) -> Time:
    """Return the time of log2 p rounds in which pairs exchange all m bytes."""
    return _timed(cluster, size, doubling_rounds, "sum over log2 p rounds of alpha + m k / B")


def rabenseifner(cluster: Cluster, size: float) -> Time:
    """Return the time of halving to a reduce-scatter, then doubling to an all-gather."""
    formula = "2 sum over i = 1 .. log2 p of alpha + m / 2^i k / B"
    return _timed(cluster, size, halving_rounds, formula)


def binomial(cluster: Cluster, size: float) -> Time:
    """Return the time of a binomial tree that reduces to one rank, and one that hands out."""
    return _timed(cluster, size, tree_rounds, "2 sum over log2 p rounds of alpha + m k / B")


ALGORITHMS: dict[str, Callable[[Cluster, float], Time]] = {
    "naive": naive,
    "ring": ring,
    "recursive-doubling": recursive_doubling,
    "rabenseifner": rabenseifner,
    "binomial": binomial,
    "hierarchical": hierarchical,
    "pipelined": pipelined,
    "bound": bound,
}
"""All-reduces by name."""

GATHERS: dict[str, Callable[[Cluster, float, Operation], Time]] = {
    "naive": naive,
    "ring": ring,
    "hierarchical": hierarchical,
}
"""Those that can also gather."""


def _sized(cluster: Cluster, time: Time, size: float) -> Time:
    """One rank, or nothing to send, costs nothing."""
    return time if cluster.ranks > 1 and size else NOTHING


def _where(node_s: float, gpu_s: float) -> str:
    if not node_s and not gpu_s:
        return "latency"
    return "network of a node" if node_s >= gpu_s else "links inside a node"


def _timed(
    cluster: Cluster, size: float, rounds: Callable[[int, float], Iterator[Round]], formula: str
) -> Time:
    """Add up rounds; k is how many messages the busiest resource carries, B its rate."""
    seconds = node_s = gpu_s = 0.0
    for round_ in rounds(cluster.ranks, size):
        outside_s, inside_s = _busiest(cluster, round_)
        seconds += round_.count * (cluster.latency_s + max(outside_s, inside_s))
        if outside_s >= inside_s:
            node_s += round_.count * outside_s
        else:
            gpu_s += round_.count * inside_s
    return _sized(cluster, Time(seconds, None, None, formula, _where(node_s, gpu_s)), size)


def _busiest(cluster: Cluster, round_: Round) -> tuple[float, float]:
    """Return the seconds of the busiest network and of the busiest inside link in a round."""
    source, target = round_.source // cluster.gpus, round_.target // cluster.gpus
    crossing = source != target
    most = max((_most(ends[crossing]) for ends in (source, target)), default=0)
    node_s = most * round_.size / cluster.network
    if cluster.intra is None:
        return node_s, 0.0
    most = max(_most(ends[~crossing]) for ends in (round_.source, round_.target))
    return node_s, most * round_.size / cluster.intra


def _most(numbers: Ranks) -> int:
    return int(np.bincount(numbers).max()) if numbers.size else 0
