"""Benchmarks whose axis values stand for several cases, and cases that are measured at once."""

import itertools
from collections.abc import Callable, Iterable, Iterator

from bench.core.records import Axis, Case
from bench.measure.fan import FanIn, FanOut
from bench.measure.multi_pair import MultiPair
from bench.measure.pairs import EVERY_PAIR, round_of
from bench.measure.peer_copy import PeerCopy
from bench.measure.ring_shift import RingShift

TAKES_PART: dict[str, Callable[[dict[str, Axis]], int]] = {
    MultiPair.name: lambda axes: 2 * int(axes["pairs"]),
    FanIn.name: lambda axes: 1 + int(axes["peers"]),
    FanOut.name: lambda axes: 1 + int(axes["peers"]),
}
"""World size where a suite leaves it open (0): the ranks that take part."""


def count_cases(benchmark: str, ranks: int, gpus: int = 0) -> int:
    """Return into how many cases one combination of axis values expands, at most."""
    if benchmark == PeerCopy.name:
        return gpus * (gpus - 1)
    if benchmark == RingShift.name:
        return ranks - 1
    if benchmark in EVERY_PAIR:
        return ranks * (ranks - 1) // (1 if EVERY_PAIR[benchmark] else 2)
    return 1


def each_case(benchmark: str, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
    """Return the axes of each case that one combination stands for, sorted by name.

    Pairs add `src_rank` and `dst_rank`, the rank that sends first and the one that receives; a ring
    adds its `distance`. GPUs of one process add `src_gpu`, `dst_gpu` or both.
    """
    ranks = int(axes["ranks"])
    if benchmark in EVERY_PAIR:
        choose = itertools.permutations if EVERY_PAIR[benchmark] else itertools.combinations
        for source, target in choose(range(ranks), 2):
            yield dict(sorted({**axes, "src_rank": source, "dst_rank": target}.items()))
    elif benchmark == PeerCopy.name:
        for ends in _gpu_ends(axes):
            yield dict(sorted({**axes, **ends}.items()))
    elif benchmark == RingShift.name:
        for distance in range(1, ranks):
            yield dict(sorted({**axes, "distance": distance}.items()))
    elif ranks == 0:
        yield {**axes, "ranks": TAKES_PART[benchmark](axes)}
    else:
        yield axes


def _gpu_ends(axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
    """Return each pair, which both ways at once has no order, or each GPU that is the one."""
    gpus = range(int(axes["gpus"]))
    if axes["pattern"] == "pair":
        choose = itertools.permutations if axes["direction"] == "uni" else itertools.combinations
        for source, target in choose(gpus, 2):
            yield {"src_gpu": source, "dst_gpu": target}
    else:
        end = "src_gpu" if axes["pattern"] == "one_to_all" else "dst_gpu"
        for one in gpus:
            yield {end: one}


def group_cases(cases: Iterable[Case]) -> list[tuple[Case, ...]]:
    """Return cases that are measured at once together, each group where its first one stands."""
    groups: dict[object, list[Case]] = {}
    for case in cases:
        key = (case.id,) if round_of(case) is None else round_of(case)
        groups.setdefault(key, []).append(case)
    return [tuple(members) for members in groups.values()]
