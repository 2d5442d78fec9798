"""How many cases axis values stand for, which ones, and which of them are measured at once."""

from collections.abc import Iterable, Iterator

from bench.contracts import Expands
from bench.core.records import Axis, Case
from bench.measure import MEASUREMENTS
from bench.measure.pairs import round_of


def count_cases(benchmark: str, ranks: int, gpus: int = 0) -> int:
    """Return into how many cases one combination of axis values expands, at most."""
    measurement = MEASUREMENTS[benchmark]
    return measurement.count_cases(ranks, gpus) if isinstance(measurement, Expands) else 1


def each_case(benchmark: str, axes: dict[str, Axis]) -> Iterator[dict[str, Axis]]:
    """Return the axes of each case that one combination stands for, sorted by name."""
    measurement = MEASUREMENTS[benchmark]
    if isinstance(measurement, Expands):
        yield from measurement.each_case(axes)
    else:
        yield axes


def group_cases(cases: Iterable[Case]) -> list[tuple[Case, ...]]:
    """Return cases that are measured at once together, each group where its first one stands."""
    groups: dict[object, list[Case]] = {}
    for case in cases:
        key = (case.id,) if round_of(case) is None else round_of(case)
        groups.setdefault(key, []).append(case)
    return [tuple(members) for members in groups.values()]
