"""Samples that the GPUs of a node begin together, so that their rates add up to what it sustains.

Every rank queues its work behind a kernel that holds its stream, and lets it go when all have come.
"""

from collections.abc import Sequence

from bench.contracts import BeginsTogether, Meet
from bench.core.errors import printable
from bench.rank.outcome import RankResult
from bench.rank.world import World

_MOST_ERROR = 200


def can_join(operation: object) -> bool:
    """Return whether each sample of an operation can begin with those of other ranks."""
    return isinstance(operation, BeginsTogether) and operation.begins_together


def group_places(
    places: Sequence[int], together: Sequence[bool], nodes: Sequence[int]
) -> list[int]:
    """Return for each rank the number of those that it samples with.

    They are those of its place, or of all places of its node where every one can begin a sample
    with the others.

    Args:
        places: of each rank; past them all for one that sleeps.
        together: whether it can begin a sample with others.
        nodes: of each rank.
    """
    groups = [*places]
    for node in {*nodes}:
        awake = [r for r, place in enumerate(places) if nodes[r] == node and place < len(places)]
        if all(together[rank] for rank in awake):
            for rank in awake:
                groups[rank] = min(places[other] for other in awake)
    return groups


def count_places(places: Sequence[int], groups: Sequence[int], rank: int) -> int:
    """Return how many places sample with a rank, its own among them."""
    own = {place for place, group in zip(places, groups, strict=True) if group == groups[rank]}
    return len(own)


def join(active: World, rank: int, operation: BeginsTogether) -> None:
    """Let an operation begin each sample with those of the other ranks, after as many untimed ones.

    Args:
        active: all ranks that sample together; each joins.
        rank: of this one in its job.
        operation: of this rank.
    """
    operation.join(_meet_among(active, rank), min(active.gather(operation.warmups)))


def _meet_among(active: World, rank: int) -> Meet:
    """Return what raises on all ranks where one has met an error, and is a barrier else."""

    def meet(error: Exception | None) -> None:
        own = None if error is None else f"rank {rank}: {type(error).__name__}: {error}"
        told = active.gather(own and printable(own, _MOST_ERROR))
        if error is not None:
            raise error
        first = next((text for text in told if text is not None), None)
        if first is not None:
            raise RuntimeError(f"work that begins with this failed on {first}")

    return meet


def fail_with_others(active: World, rank: int, result: RankResult) -> RankResult:
    """Return the result, which is an error where others kept this rank from sampling."""
    own = result.error
    if own is None and result.checked.bytes_wrong:
        own = f"rank {rank} had wrong bytes"
    first = next((text for text in active.gather(own) if text is not None), None)
    if first is None or own is not None or result.best is not None:
        return result
    return result._replace(error=f"not sampled, since work that begins with this failed: {first}")
