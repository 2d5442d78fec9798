"""From measured calibration cases to frozen predictions of all the others."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec
import numpy as np

from bench.measure import MEASUREMENTS
from bench.model import FITS
from bench.model.curve import Curve
from bench.plan import Plan
from bench.record import Axis, Case, Prediction, Row, Stage, Status

COVERAGE = 0.8
"""Share of cases that an interval is meant to hold."""
LEAST_FOR_INTERVAL = 3
"""Calibration cases that can be left out one at a time."""

Group = tuple[tuple[str, Axis], ...]
"""A benchmark and every axis but the size: cases that lie on one curve."""


class Calibrated(msgspec.Struct, frozen=True):
    """A curve, what it was fitted on, and how far it was off where a point was left out."""

    curve: Curve
    cases: tuple[str, ...]
    spread: float | None
    """Largest |ln(predicted / measured)| of most left-out points; None where too few."""


def predict_targets(plan: Plan, rows: Sequence[Row], frozen_at: str) -> list[Prediction]:
    """Return a prediction for every target case of every launch, empty with the reason where none.

    Args:
        plan: the plan; its calibration cases have run.
        rows: what they measured.
        frozen_at: the time of day, before any target case.
    """
    curves = _fit_groups(_calibration_cases(plan), rows)
    targets = [
        (case, job.launch) for job in plan.jobs if job.stage is Stage.TARGET for case in job.cases
    ]
    return [
        _predict(case, launch, curves.get(_group(case), _TOO_FEW), frozen_at)
        for case, launch in targets
    ]


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
    """Fit each group on the medians over launches of its cases, or say why it has no curve."""
    times: dict[str, list[float]] = {}
    for row in rows:
        if row.status is Status.OK and row.t_median_s and row.case in cases:
            times.setdefault(row.case, []).append(row.t_median_s)
    groups: dict[Group, list[tuple[float, str]]] = {}
    for case in cases.values():
        points = groups.setdefault(_group(case), [])
        if case.id in times:
            points.append((_size(case), case.id))
    fitted: dict[Group, Calibrated | str] = {}
    for group, points in groups.items():
        points.sort()
        names = tuple(name for _, name in points)
        seconds = [median(times[name]) for name in names]
        try:
            fitted[group] = _fit(str(group[0][1]), [size for size, _ in points], seconds, names)
        except ValueError as error:
            fitted[group] = f"none: {error}"
    return fitted


def _fit(
    benchmark: str, sizes: list[float], seconds: list[float], names: tuple[str, ...]
) -> Calibrated:
    fit = FITS[benchmark]
    return Calibrated(fit(sizes, seconds), names, _left_out_spread(benchmark, sizes, seconds))


def _left_out_spread(benchmark: str, sizes: list[float], seconds: list[float]) -> float | None:
    """Return how far off a curve without each inner point is there, as a conformal quantile.

    The smallest and the largest point stay: without them the curve would have to extrapolate.
    """
    errors = []
    for i in range(1, len(sizes) - 1):
        rest = [j for j in range(len(sizes)) if j != i]
        curve = FITS[benchmark]([sizes[j] for j in rest], [seconds[j] for j in rest])
        errors.append(abs(math.log(curve.seconds(sizes[i]) / seconds[i])))
    if len(errors) < LEAST_FOR_INTERVAL:
        return None
    level = min(1.0, COVERAGE * (len(errors) + 1) / len(errors))
    return float(np.quantile(errors, level, method="higher"))


def _predict(case: Case, launch: int, fitted: Calibrated | str, frozen_at: str) -> Prediction:
    if isinstance(fitted, str):
        return Prediction(
            case=case.id, launch=launch, tier="C", formula=fitted, frozen_at=frozen_at
        )
    seconds = fitted.curve.seconds(_size(case))
    factor = None if fitted.spread is None else math.exp(fitted.spread)
    return Prediction(
        case=case.id,
        launch=launch,
        tier="C",
        formula=fitted.curve.formula,
        seconds=seconds,
        low_s=None if factor is None else seconds / factor,
        high_s=None if factor is None else seconds * factor,
        parameters_hash=_hash(fitted.curve.parameters),
        calibration_cases=" ".join(fitted.cases),
        frozen_at=frozen_at,
    )


def _hash(parameters: tuple[float, ...]) -> str:
    return hashlib.sha256(repr(parameters).encode()).hexdigest()[:16]
