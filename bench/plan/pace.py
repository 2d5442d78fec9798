"""How long cases take, learned from those that were measured: by size, curve and benchmark.

One operation of a case is interpolated between the sizes measured on its curve, beyond them taken
in proportion to the bytes, or by what a byte took others where that is more; a curve without any
goes by the other curves of its benchmark. What a case takes beside its samples is that of its
benchmark.
"""

import math
import statistics
import time
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from bench.contracts import Clock
from bench.core.events import CaseMeasured
from bench.core.limits import LEAST_SAMPLES, LEAST_WARMUPS, MOST_SAMPLES
from bench.core.records import LEFT_OUT, Case, Sampling
from bench.core.units import format_seconds
from bench.measure import MEASUREMENTS
from bench.measure.payload import sent_per_operation
from bench.plan.sizes import Curve, split_size

LEAST_SPAN_S = 0.01
"""Of warming up and sampling, where both are cut as far as they can be."""
_UNKNOWN_REST_S = 0.1
"""Beside the samples, of a benchmark of which nothing was measured."""
_SHORT_SAMPLE_S = 30e-6
"""Of the fastest operations, as many of which make a sample as take 20 to 40 us."""
_VERIFIED = 3
"""Operations that verifying before and after amounts to."""
_LARGE = 64 << 10
"""From so many bytes on it is the bytes that take the time."""
_LARGE_ROWS = 32
"""So it is from so many rows of a product on, or ranks of a barrier."""
_MOST = 64
"""Of the last cases, and of curves, that a median is made of."""
_COST = 100
"""Times as long as estimates took to make, they are kept."""

_Points = list[tuple[float, float]]


class _Sum:
    """Of seconds, and how many they are."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self.count += 1


class Estimate(NamedTuple):
    """What is known of a case that was not measured."""

    operation_s: float | None
    rest_s: float


class Pace:
    """Learns from cases that were measured, and estimates those that were not.

    Args:
        known: what others know of cases, by their ids; used where nothing nearer was measured.
    """

    def __init__(self, known: Mapping[str, Estimate] | None = None) -> None:
        self._known = known or {}
        self._operations: dict[str, dict[Curve, _Points]] = {}
        """By benchmark and curve, sizes with the seconds of one operation, sorted."""
        self._rests: dict[str, _Sum] = {}
        """By benchmark, seconds of cases beside their samples."""
        self._used: dict[str, _Sum] = {}
        """By benchmark, seconds of sampling."""
        self._allowed: dict[str, _Sum] = {}
        """By benchmark, seconds that the caps of sampling would have allowed."""
        self._per_byte: deque[float] = deque(maxlen=_MOST)

    def learn(self, case: Case, measured: CaseMeasured, rule: Sampling) -> None:
        """Learn from a case that was sampled by a rule."""
        operation_s = measured.operation_s
        rest_s = measured.took_s - measured.sampled_s - _VERIFIED * (operation_s or 0.0)
        self._rests.setdefault(case.benchmark, _Sum()).add(max(0.0, rest_s))
        if operation_s is None:
            return
        curve, extent = _locate(case)
        curves = self._operations.setdefault(case.benchmark, {})
        insort(curves.setdefault(curve, []), (extent, operation_s))
        if measured.sampled_s:
            self._used.setdefault(case.benchmark, _Sum()).add(measured.sampled_s)
            self._allowed.setdefault(case.benchmark, _Sum()).add(_sampling_s(rule, operation_s))
        moved = _moved(case)
        if moved >= _LARGE:
            self._per_byte.append(operation_s / moved)

    def estimate(self, case: Case) -> Estimate:
        """Return what a case is likely to take, apart from how long it is sampled."""
        return Estimate(self._operation_s(case), self._rest_s(case))

    def least_s(self, case: Case) -> float:
        """Return the seconds of a case that takes as few samples as count."""
        operation_s, rest_s = self._operation_s(case) or 0.0, self._rest_s(case)
        return (
            rest_s + _VERIFIED * operation_s + max(LEAST_SPAN_S, (1 + LEAST_SAMPLES) * operation_s)
        )

    def expected_s(self, case: Case, rule: Sampling) -> float:
        """Return the seconds that a case is likely to take."""
        operation_s, rest_s = self._operation_s(case) or 0.0, self._rest_s(case)
        sampling_s = _sampling_s(rule, operation_s) * self._share_used(case.benchmark)
        return rest_s + _VERIFIED * operation_s + sampling_s

    def _rest_s(self, case: Case) -> float:
        if case.benchmark not in self._rests and case.id in self._known:
            return self._known[case.id].rest_s
        seconds, count = _total(self._rests, case.benchmark)
        return seconds / count if count else _UNKNOWN_REST_S

    def _share_used(self, benchmark: str) -> float:
        """Return how much of what its caps allow sampling takes: it ends when it converges."""
        allowed_s, _ = _total(self._allowed, benchmark)
        return _total(self._used, benchmark)[0] / allowed_s if allowed_s else 1.0

    def _operation_s(self, case: Case) -> float | None:
        """Return the seconds of one operation; None where nothing is known."""
        curve, extent = _locate(case)
        curves = self._operations.get(case.benchmark, {})
        points = curves.get(curve)
        if points and points[0][0] <= extent <= points[-1][0]:
            return _interpolate(points, extent)
        known = self._known.get(case.id)
        if known is not None and known.operation_s is not None:
            return known.operation_s
        in_bytes = MEASUREMENTS[case.benchmark].size_axis == "bytes"
        moved = _moved(case)
        found = [statistics.median(self._per_byte) * moved] if self._per_byte and moved else []
        if points:
            found.append(_extrapolate(points, extent, in_bytes))
        elif curves:
            alike = [
                _extrapolate(each, extent, in_bytes) for each in islice(curves.values(), _MOST)
            ]
            found.append(statistics.median(alike))
        return max(found, default=None)


class Outlook:
    """What all of some cases take together, kept up to date for little.

    Estimates change with every case that is learned from; to make all of them anew each time would
    take time as the square of their number.

    Args:
        cases: as often as they are to be measured.
        estimate: seconds of a case.
        clock: what tells how old estimates are.
    """

    def __init__(
        self,
        cases: Iterable[Case],
        estimate: Callable[[Case], float],
        clock: Clock = time.monotonic,
    ) -> None:
        self._estimate = estimate
        self._clock = clock
        self._cases: dict[str, Case] = {}
        self._counts: Counter[str] = Counter()
        for case in cases:
            self._cases[case.id] = case
            self._counts[case.id] += 1
        self.count = self._counts.total()
        """Of cases that are left."""
        self.seconds: dict[str, float] = {}
        """Of each case that is left, once."""
        self._total_s = 0.0
        self._made_s = -math.inf
        self._making_s = 0.0

    def add(self, case: Case) -> None:
        """Take a case in once more: what was measured of it is lost."""
        self._cases[case.id] = case
        self._counts[case.id] += 1
        self.count += 1
        seconds = self.seconds.setdefault(case.id, self._estimate(case))
        self._total_s += seconds

    def remove(self, case: str) -> None:
        """Take a case out, once: it was measured, or is not going to be."""
        if self._counts[case] > 0:
            self._counts[case] -= 1
            self.count -= 1
            self._total_s -= self.seconds.get(case, 0.0)
            if self._counts[case] == 0:
                del self._cases[case], self._counts[case]
                self.seconds.pop(case, None)

    def refresh(self) -> bool:
        """Make the estimates anew, unless that is too soon; return whether they were made."""
        now_s = self._clock()
        if now_s - self._made_s < _COST * self._making_s:
            return False
        self.seconds = {name: self._estimate(case) for name, case in self._cases.items()}
        self._total_s = math.fsum(s * self._counts[name] for name, s in self.seconds.items())
        self._made_s = self._clock()
        self._making_s = self._made_s - now_s
        return True

    @property
    def total_s(self) -> float:
        """Seconds of all cases that are left."""
        return max(0.0, self._total_s)


def why_left_out(budget_s: float) -> str:
    """Return the reason of a row whose case a time budget has no room for."""
    return f"{LEFT_OUT}the time budget of {budget_s:g} s has no room for it"


def why_too_long(operation_s: float) -> str:
    """Return the reason of a row whose samples would not have fitted into a time budget."""
    return (
        f"{LEFT_OUT}one operation takes {format_seconds(operation_s)}, and the time budget has no "
        f"room for {LEAST_SAMPLES} of it"
    )


def _total(sums: Mapping[str, _Sum], benchmark: str) -> tuple[float, int]:
    """Return the sum of a benchmark, of all where it has none."""
    known = [sums[benchmark]] if benchmark in sums else [*sums.values()]
    return sum(one.seconds for one in known), sum(one.count for one in known)


def _sampling_s(rule: Sampling, operation_s: float) -> float:
    """Return what warming up and sampling take at most by a rule, once."""
    warmup_s = min(max(rule.warmup_s, LEAST_WARMUPS * operation_s), rule.warmup_cap_s + operation_s)
    most_s = MOST_SAMPLES * max(_SHORT_SAMPLE_S, operation_s)
    return warmup_s + max(min(rule.cap_s, most_s), LEAST_SAMPLES * operation_s)


def _extrapolate(known: _Points, size: float, in_bytes: bool) -> float:
    """Return the seconds at any size; above all that were measured they grow in proportion.

    So they do only where sizes are large: for few bytes it is the call that takes the time, and for
    few rows of a product the other matrix, which is read in any case.
    """
    first, first_s = known[0]
    last, last_s = known[-1]
    if size <= first:
        return first_s
    if size > last:
        return last_s * max(1.0, size / max(last, _LARGE if in_bytes else _LARGE_ROWS))
    return _interpolate(known, size)


def _interpolate(known: _Points, size: float) -> float:
    """Return the seconds at a size between others, on a line between logarithms."""
    right = bisect_left(known, (size, 0.0))
    high, high_s = known[right]
    low, low_s = known[max(0, right - 1)]
    if not 0 < low < size < high or low_s <= 0 or high_s <= 0:
        return high_s
    share = math.log(size / low) / math.log(high / low)
    return math.exp((1 - share) * math.log(low_s) + share * math.log(high_s))


def _locate(case: Case) -> tuple[Curve, float]:
    """Return the curve of a case, and where it lies there: by the bytes that it moves.

    Windows of large messages hold fewer of them, so that time does not grow with the size alone.
    """
    curve, size = split_size(case)
    return curve, _moved(case) or size


def _moved(case: Case) -> float:
    """Return the bytes that one timed operation moves between ranks; 0 inside one process."""
    if int(case.axes["ranks"]) < 2:
        return 0.0
    alone = sent_per_operation(case)
    if alone is not None:
        return float(alone)
    work = MEASUREMENTS[case.benchmark].work(case)
    return float(work.bytes_total or work.rate_bytes or work.bytes or 0)
