"""What differs between the rows of two runs beside their times: how they were measured."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from bench.core.errors import printable
from bench.core.records import Evidence, Row, Status, parse_params
from bench.judge.changed.records import Difference, Kind

_COLUMNS = ("nodes", "ranks_per_node", "binding", "thread_level", "timing_layer")
_CLOCK, _THROTTLE = "sm_clock_mhz", "throttle"
_LEAST_CLOCK_CHANGE = 0.01
_SHOWN = 100
_OF_DEVICES = "messages of device memory"


def find_row_changes(a: Sequence[Row], b: Sequence[Row]) -> Iterator[Difference]:
    """Yield how cases that both sides measured were placed and clocked otherwise."""
    sides = _measured(a), _measured(b)
    cases = sides[0].keys() & sides[1].keys()
    rows = [[row for case in sorted(cases) for row in side[case]] for side in sides]
    for column in _COLUMNS:
        values = [_values(getattr(row, column) for row in side) for side in rows]
        if values[0] != values[1]:
            yield _difference(Kind.PLACEMENT, column, values)
    params = [[parse_params(row.params) for row in side] for side in rows]
    yield from _compare_clocks([[p[_CLOCK] for p in side if _CLOCK in p] for side in params])
    held = [_values(p.get(_THROTTLE) for p in side) for side in params]
    if held[0] != held[1]:
        yield _difference(Kind.CLOCKS, "clocks of GPUs were held down by", held)


def find_path_changes(a: Sequence[Evidence], b: Sequence[Evidence]) -> Iterator[Difference]:
    """Yield the paths that messages of device memory were seen to take, where they are others."""
    sides = _paths(a), _paths(b)
    cases: Counter[tuple[str, str]] = Counter()
    for case in sides[0].keys() & sides[1].keys():
        if sides[0][case] != sides[1][case]:
            cases[sides[0][case], sides[1][case]] += 1
    for (before, after), number in sorted(cases.items()):
        yield Difference(
            kind=Kind.TRANSPORT,
            what=f"{_OF_DEVICES} ({number} case{'' if number == 1 else 's'})",
            a=None if before == "UNKNOWN" else before,
            b=None if after == "UNKNOWN" else after,
        )


def _measured(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.status is Status.OK:
            found[row.case].append(row)
    return found


def _values(values: Iterator[object]) -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in values if value is not None}))


def _difference(kind: Kind, what: str, values: Sequence[tuple[str, ...]]) -> Difference:
    a, b = (printable(", ".join(each), _SHOWN) if each else None for each in values)
    return Difference(kind=kind, what=what, a=a, b=b)


def _compare_clocks(texts: Sequence[Sequence[str]]) -> Iterator[Difference]:
    """Yield the clock that GPUs were measured at, where it moved by more than they waver."""
    mhz = [[float(text) for text in side if text.isascii() and text.isdecimal()] for side in texts]
    if not all(mhz):
        return
    a, b = (median(side) for side in mhz)
    if abs(a - b) > _LEAST_CLOCK_CHANGE * max(a, b):
        yield Difference(
            kind=Kind.CLOCKS,
            what="clock of GPUs after a case, median",
            a=f"{a:.0f} MHz",
            b=f"{b:.0f} MHz",
        )


def _paths(evidence: Sequence[Evidence]) -> Mapping[str, str]:
    found: dict[str, set[str]] = defaultdict(set)
    for each in evidence:
        found[each.case].add(each.path_observed)
    return {case: ", ".join(sorted(paths)) for case, paths in found.items()}
