"""Cases that differ in size alone, and which of them show most of a curve."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.core.records import Case
from bench.measure import MEASUREMENTS

Curve = tuple[object, ...]
"""A benchmark and every axis value but the size: cases of one curve have it in common."""


def split_size(case: Case) -> tuple[Curve, float]:
    """Return the curve that a case lies on, and its size there."""
    axis = MEASUREMENTS[case.benchmark].size_axis
    rest = (item for item in case.axes.items() if item[0] != axis)
    return (case.benchmark, *rest), float(case.axes[axis])


def rank_levels(*stages: Iterable[Case]) -> dict[str, int]:
    """Return how soon each case may be left out: those with the highest level first.

    Level 0 are the smallest sizes, one of each benchmark: they are never left out, or a benchmark
    would be. Then come those of its other curves, then the largest sizes, and so on in the middle
    of the largest gaps.

    Args:
        stages: the cases of each stage; those of a former one are kept longer.
    """
    curves: dict[Curve, list[list[tuple[float, str]]]] = {}
    for number, cases in enumerate(stages):
        for case in cases:
            curve, size = split_size(case)
            staged = curves.setdefault(curve, [[] for _ in stages])
            staged[number].append((size, case.id))
    numbers: dict[object, int] = {}
    levels: dict[str, tuple[int, int]] = {}
    for curve, staged in curves.items():
        number = numbers[curve[0]] = numbers.get(curve[0], -1) + 1
        spread = (member for sizes in staged for member in _spread(sorted(set(sizes))))
        for level, (_, case_id) in enumerate(spread):
            levels.setdefault(case_id, (level, number))
    order = {level: place for place, level in enumerate(sorted(set(levels.values())))}
    return {case_id: order[level] for case_id, level in levels.items()}


def order_to_keep(seconds: Mapping[str, float], levels: Mapping[str, int]) -> list[str]:
    """Return cases by how soon they are kept, where there is no time for all.

    Of cases that take as long the lower levels come first, and of one level the shorter ones: a
    single large message may take as long as a hundred small ones.

    Args:
        seconds: what each takes.
        levels: at least of these cases.
    """
    return sorted(seconds, key=lambda case: (levels[case] > 0, seconds[case] * (1 + levels[case])))


def _spread(sizes: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Return sorted sizes in an order in which any first few are spread over all of them."""
    if not sizes:
        return
    last = len(sizes) - 1
    yield sizes[0]
    if last:
        yield sizes[last]
    gaps = deque([(0, last)])
    while gaps:
        low, high = gaps.popleft()
        if high - low < 2:
            continue
        middle = (low + high) // 2
        yield sizes[middle]
        gaps += [(low, middle), (middle, high)]
