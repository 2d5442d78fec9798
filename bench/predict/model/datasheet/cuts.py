"""Bytes that an operation must carry between nodes, whichever algorithm carries them out.

Each node is a cut: what its ranks have and others need must leave it, what they need and others
have must enter it. Within a node nothing is counted. `part` is the block that operations deal in:

| operation | part |
|---|---|
| all-reduce, reduce, broadcast | the whole buffer |
| all-gather, scatter, gather | what one rank gives, or gets |
| reduce-scatter | what one rank ends with |
| all-to-all | what one rank has for one other rank |

The least traffic of an all-reduce: Patarasu and Yuan, JPDC 2009.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Crossing(NamedTuple):
    """Bytes that must pass between nodes."""

    most: tuple[float, ...]
    """Of each node: what must leave it or what must enter it, whichever is more."""
    total: float
    """What must leave nodes, all of them together; 0 where the nodes' own come to as much."""
    formula: str
    """Of the busiest node, with n nodes, g ranks on it, p ranks, and m or s for `part`."""


def crossing(
    operation: str,
    counts: Sequence[int],
    part: float,
    in_switch: bool = False,
    rotating: bool = False,
) -> Crossing:
    """Return what an operation must carry between nodes.

    Args:
        operation: of `OPERATIONS`.
        counts: ranks on each node.
        part: bytes of one block, as in the table of this module.
        in_switch: whether switches may add up what passes them.
        rotating: whether each rank is the root in turn, and a call is one of many; else the root is
            on the first node.
    """
    nodes, ranks = len(counts), sum(counts)
    if nodes < 2:
        return Crossing((0.0,) * nodes, 0.0, "nothing: one node")
    if operation == "all-reduce":
        # Each byte is gathered from all nodes and handed out again: 2 (n - 1) m arrive somewhere.
        if in_switch:
            return Crossing((part,) * nodes, 0.0, "m")
        return Crossing((part,) * nodes, 2 * (nodes - 1) * part, "2 (n - 1) / n m")
    if operation in ("reduce", "broadcast"):
        if rotating:
            # What enters a node while the root is elsewhere, or leaves it.
            away = [(ranks - own) / ranks * part for own in counts]
            return Crossing(tuple(away), 0.0, "(p - g) / p m")
        return Crossing((part,) * nodes, 0.0, "m")
    if operation in ("all-gather", "reduce-scatter"):
        # A node adds up its own terms first, so a sum leaves it once.
        both = [max(ranks - own, own) * part for own in counts]
        return Crossing(tuple(both), 0.0, "(p - g) s")
    if operation == "all-to-all":
        each = [own * (ranks - own) * part for own in counts]
        return Crossing(tuple(each), 0.0, "g (p - g) s")
    if operation in ("scatter", "gather"):
        if rotating:
            away = [own * (ranks - own) / ranks * part for own in counts]
            return Crossing(tuple(away), 0.0, "g (p - g) / p s")
        away = [(ranks - counts[0]) * part, *(own * part for own in counts[1:])]
        return Crossing(tuple(away), 0.0, "(p - g) s")
    raise ValueError(f"no operation {operation!r}")


OPERATIONS = (
    "all-reduce",
    "reduce",
    "broadcast",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "scatter",
    "gather",
)


def crossing_s(
    moved: Crossing, rates: Sequence[float], bursts: Sequence[float] | None = None
) -> float:
    """Return the seconds that the crossing takes at least.

    Args:
        moved: the bytes.
        rates: bytes per second of each node and direction.
        bursts: bytes that the links of each node let pass at once after a pause; none if not given.
    """
    early = bursts or [0.0] * len(rates)
    alone = (
        max(size - burst, 0.0) / rate
        for size, rate, burst in zip(moved.most, rates, early, strict=True)
    )
    together = max(moved.total - sum(early), 0.0) / sum(rates)
    return max(*alone, together)
