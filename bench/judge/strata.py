"""Groups that a score is reported by: size class and operation, and what was held out.

Cheap large messages must not hide the middle, so the headline is the median over strata, each with
one voice. What a case was held out by is how it differs from every case that its prediction was
fitted on: its size alone is the least, another number of nodes the hardest.
"""

from collections.abc import Iterable

import msgspec

KIB, MIB = 2**10, 2**20


class SplitKey(msgspec.Struct, frozen=True):
    """What a case is, as far as splits go."""

    benchmark: str
    nodes: int | None = None
    ranks: int | None = None
    pairs: int | None = None
    """Senders at once, where the benchmark has them."""


def size_class(nbytes: float) -> str:
    """Return the class of a message or buffer."""
    if nbytes < 64 * KIB:
        return "below 64 KiB"
    return "64 KiB to 16 MiB" if nbytes <= 16 * MIB else "above 16 MiB"


def held_out_by(case: SplitKey, fitted_on: Iterable[SplitKey]) -> str:
    """Return what no case of those that a prediction was fitted on shares with this one.

    The hardest of: node count, rank count, operation, senders at once; else its size.
    """
    others = tuple(fitted_on)
    for name in ("nodes", "ranks", "benchmark", "pairs"):
        own = getattr(case, name)
        if own is not None and all(getattr(other, name) != own for other in others):
            return SPLITS[name]
    return SPLITS["size"]


SPLITS = {
    "size": "size",
    "pairs": "senders at once",
    "benchmark": "operation",
    "ranks": "rank count",
    "nodes": "node count",
}
"""What can be held out, the hardest last."""
