"""From measured calibration cases to frozen predictions of all the others."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

import msgspec

from bench.core.fleet import middle_rows
from bench.core.placement import Limits
from bench.core.records import CONTROL, Axis, Case, Prediction, Row, Stage, Status
from bench.measure import MEASUREMENTS
from bench.measure.profiles import profile_of
from bench.plan.plan import Plan
from bench.predict.compose import COMPOSED, Composition, NotComposed, compose_case, fit_parts
from bench.predict.model import FITS
from bench.predict.model.conformal import conformal_quantile, difficulty
from bench.predict.model.curve import Curve

Group = tuple[tuple[str, Axis], ...]
"""A benchmark and every axis but the size: cases that lie on one curve."""


class CalibrationPoint(msgspec.Struct, frozen=True):
    """A calibration case: its size, and what every launch measured."""

    size: float
    case: str
    times: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median over launches."""
        return median(self.times)


class Calibrated(msgspec.Struct, frozen=True):
    """A curve, and the points that it was fitted on, with rising sizes."""

    curve: Curve
    points: tuple[CalibrationPoint, ...]

    @property
    def cases(self) -> str:
        """Ids of the calibration cases, separated by spaces."""
        return " ".join(point.case for point in self.points)

    def difficulty(self, size: float) -> float:
        """Return how hard it is to predict the time at a size from the points around it."""
        return _difficulty(self.points, size)


def predict_targets(
    plan: Plan, rows: Sequence[Row], frozen_at: str, hosts: Limits | None = None
) -> list[Prediction]:
    """Return a prediction for every target case of every launch, empty with the reason where none.

    A case whose own sizes were calibrated lies on their curve; of the others some are composed of
    messages between two ranks and of products.

    Args:
        plan: the plan; its calibration cases have run.
        rows: what they measured.
        frozen_at: the time of day, before any target case.
        hosts: that ranks are spread over, how many or the most ranks of each; None where nobody
            knows.
    """
    calibration = _calibration_cases(plan)
    # Of nodes that measured for themselves the middle one of each launch is what models know.
    rows = middle_rows(rows)
    curves = _fit_groups(calibration, rows)
    widths = _widths(curves)
    targets = [
        (case, job.launch)
        for job in plan.jobs
        if job.stage is Stage.TARGET
        for case in job.cases
        if CONTROL not in case.axes
    ]
    fitted = {case.id: curves.get(_group(case), _TOO_FEW) for case, _ in targets}
    # Once for all launches, and no fits for a plan whose cases all have curves.
    without = {case.id: case for case, _ in targets if isinstance(fitted[case.id], str)}
    composed = _compose_all(without.values(), calibration, rows, hosts)
    predictions = []
    for case, launch in targets:
        found = fitted[case.id]
        if isinstance(found, Calibrated):
            made = _predict(case, launch, found, widths, frozen_at)
        else:
            made = _composed(case, launch, composed.get(case.id, found), frozen_at)
        predictions.append(made)
    return predictions


_TOO_FEW = "none: too few sizes to calibrate on; a third of them, and at least two, are measured"


def _calibration_cases(plan: Plan) -> dict[str, Case]:
    jobs = (job for job in plan.jobs if job.stage is Stage.CALIBRATE)
    return {case.id: case for job in jobs for case in job.cases}


def _group(case: Case) -> Group:
    axis = MEASUREMENTS[case.benchmark].size_axis
    rest = tuple(item for item in case.axes.items() if item[0] != axis)
    return (("benchmark", case.benchmark), *rest)


def _size(case: Case) -> float:
    return float(case.axes[MEASUREMENTS[case.benchmark].size_axis])


def _fit_groups(cases: dict[str, Case], rows: Iterable[Row]) -> dict[Group, Calibrated | str]:
    """Fit each group on the medians over launches of its cases, or note why it has no curve."""
    times: dict[str, list[float]] = {}
    for row in rows:
        if row.status is Status.OK and row.t_median_s and row.case in cases:
            times.setdefault(row.case, []).append(row.t_median_s)
    groups: dict[Group, list[CalibrationPoint]] = {}
    for case in cases.values():
        points = groups.setdefault(_group(case), [])
        if case.id in times:
            points.append(CalibrationPoint(_size(case), case.id, tuple(times[case.id])))
    fitted: dict[Group, Calibrated | str] = {}
    for group, points in groups.items():
        points.sort(key=lambda point: point.size)
        try:
            fitted[group] = Calibrated(_fit(_benchmark(group), points), tuple(points))
        except ValueError as error:
            fitted[group] = f"none: {error}"
    return fitted


def _benchmark(group: Group) -> str:
    return str(group[0][1])


def _fit(benchmark: str, points: Sequence[CalibrationPoint]) -> Curve:
    fit = FITS[profile_of(benchmark).fit]
    return fit([point.size for point in points], [point.seconds for point in points])


def _difficulty(points: Sequence[CalibrationPoint], size: float, left_out: bool = False) -> float:
    return difficulty([p.size for p in points], [p.seconds for p in points], size, left_out)


def _widths(curves: dict[Group, Calibrated | str]) -> dict[str, float | None]:
    """Return by family of benchmarks what a miss per unit of difficulty is expected to stay below.

    Curves of a family stand for each other: a single one has too few points to leave out.
    """
    misses: dict[str, list[float]] = {}
    for group, calibrated in curves.items():
        if isinstance(calibrated, Calibrated):
            benchmark = _benchmark(group)
            misses.setdefault(profile_of(benchmark).family, []).extend(
                _misses(benchmark, calibrated.points)
            )
    return {name: conformal_quantile(found) for name, found in misses.items()}


def _misses(benchmark: str, points: Sequence[CalibrationPoint]) -> Iterator[float]:
    """Yield |ln(predicted / measured)| per difficulty of each launch of each inner point left out.

    The smallest and the largest point stay: without them the curve would have to extrapolate.
    """
    for i in range(1, len(points) - 1):
        rest = [*points[:i], *points[i + 1 :]]
        seconds = _fit(benchmark, rest).seconds(points[i].size)
        hard = _difficulty(rest, points[i].size, left_out=True)
        yield from (abs(math.log(seconds / time)) / hard for time in points[i].times)


def _compose_all(
    cases: Iterable[Case], calibration: dict[str, Case], rows: Sequence[Row], hosts: Limits | None
) -> dict[str, Composition | str]:
    """Return what cases are composed of, or why not; nothing of benchmarks that never are."""
    composable = [case for case in cases if case.benchmark in COMPOSED]
    if not composable:
        return {}
    parts = fit_parts(calibration, rows)
    found: dict[str, Composition | str] = {}
    for case in composable:
        try:
            found[case.id] = compose_case(case, parts, hosts)
        except NotComposed as missing:
            found[case.id] = f"none: {missing}"
    return found


def _composed(case: Case, launch: int, found: Composition | str, frozen_at: str) -> Prediction:
    """Return a composed prediction, or an empty one with the reason."""
    if isinstance(found, str):
        return Prediction(case=case.id, launch=launch, tier="C", formula=found, frozen_at=frozen_at)
    return Prediction(
        case=case.id,
        launch=launch,
        tier="C",
        formula=found.formula,
        seconds=found.seconds,
        parameters_hash=_hash(found.parameters),
        calibration_cases=" ".join(sorted(found.cases)),
        frozen_at=frozen_at,
    )


def _predict(
    case: Case,
    launch: int,
    fitted: Calibrated,
    widths: dict[str, float | None],
    frozen_at: str,
) -> Prediction:
    size = _size(case)
    seconds = fitted.curve.seconds(size)
    width = widths[profile_of(case.benchmark).family]
    factor = None if width is None else math.exp(min(width * fitted.difficulty(size), _WIDEST))
    return Prediction(
        case=case.id,
        launch=launch,
        tier="C",
        formula=fitted.curve.formula,
        seconds=seconds,
        low_s=None if factor is None else seconds / factor,
        high_s=None if factor is None else seconds * factor,
        parameters_hash=_hash(fitted.curve.parameters),
        calibration_cases=fitted.cases,
        frozen_at=frozen_at,
    )


_WIDEST = math.log(1e9)
"""A factor beyond which an interval means nothing, and seconds would leave the range of numbers."""


def _hash(parameters: tuple[float, ...]) -> str:
    return hashlib.sha256(repr(parameters).encode()).hexdigest()[:16]
