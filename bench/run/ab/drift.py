"""Whether both sides drift together: what they share has changed while they were measured."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from bench.core.records import Finding, Row, Status
from bench.store.ab import SIDES

DRIFT = "drift-together"
_LEAST_LAUNCHES = 6
"""Of each side: of fewer, an order by chance is too likely."""
_SURE = 3.0
"""Standard deviations of a rank correlation with the order, where there is no drift."""
_LEAST_CHANGE = 0.02
"""From the first third of launches to the last; less matters to nobody."""

Times = Mapping[int, Mapping[str, float]]
"""Seconds of each case, by launch."""


def read_times(rows: Iterable[Row]) -> dict[int, dict[str, float]]:
    """Return the time of each case that was measured, of several places the median, by launch."""
    times: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        if row.status is Status.OK and row.t_s:
            times.setdefault(row.launch, {}).setdefault(row.case, []).append(row.t_s)
    return {
        launch: {case: statistics.median(each) for case, each in cases.items()}
        for launch, cases in times.items()
    }


def shifts(times_s: Times) -> dict[int, float]:
    """Return by how much each launch lies off the side's middle, as a natural logarithm.

    It is the median over those cases that every launch has.
    """
    common = set.intersection(*(set(each) for each in times_s.values())) if times_s else set()
    if not common:
        return {}
    middle = {case: statistics.median(t[case] for t in times_s.values()) for case in common}
    return {
        launch: statistics.median(math.log(times[case] / middle[case]) for case in common)
        for launch, times in times_s.items()
    }


def drift(values: Sequence[float]) -> float | None:
    """Return the change from the first third of values to the last where they follow their order.

    None where they do not, or are too few: the test is Spearman's rank correlation with the order.
    """
    count = len(values)
    if count < _LEAST_LAUNCHES:
        return None
    rank = {place: i for i, place in enumerate(sorted(range(count), key=values.__getitem__))}
    squares = sum((rank[i] - i) ** 2 for i in range(count))
    correlation = 1 - 6 * squares / (count * (count * count - 1))
    # Of six, none but nearly perfect order is as rare as that.
    if abs(correlation) * math.sqrt(count - 1) < min(_SURE, 0.9 * math.sqrt(count - 1)):
        return None
    third = count // 3
    return statistics.median(values[-third:]) - statistics.median(values[:third])


def find_drift(times_s: Mapping[str, Times]) -> Finding | None:
    """Return a warning where the launches of both sides drift the same way."""
    changes = []
    for side in SIDES:
        by_launch = shifts(times_s.get(side, {}))
        change = drift([by_launch[launch] for launch in sorted(by_launch)])
        if change is None or abs(change) < _LEAST_CHANGE:
            return None
        changes.append(change)
    if (changes[0] > 0) != (changes[1] > 0):
        return None
    by = math.exp(min(changes, key=abs)) - 1
    return Finding(
        name=DRIFT,
        level="warning",
        text=f"the launches of both sides became {tell_shift(by)} from the first third to the "
        "last: what both use has changed meanwhile",
        advice="neighbours are held against each other, so that this falls on both; look for a "
        "clock, a temperature or other users that changed",
        value=by,
        limit=_LEAST_CHANGE,
        unit="ratio",
    )


def tell_shift(by: float) -> str:
    """Return a change of times, as a share, in words."""
    return f"{abs(by):.0%} {'slower' if by > 0 else 'faster'}"
