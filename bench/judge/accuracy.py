"""How far predictions were off: one set of numbers for any group of held-out cases.

Errors are ratios, since sizes span nine decades. An interval is judged by both of its sides: how
often it held the measurement, and how wide it was; either alone is easily had.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bench.judge.statistics import wilson_bounds


class Miss(NamedTuple):
    """A prediction that counts, what was measured, and what naive predictors would give."""

    case: str
    launch: int
    name: str
    predicted_s: float
    measured_s: float
    low_s: float | None
    high_s: float | None
    baselines: Mapping[str, float]

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_s / self.measured_s - 1


class Worst(msgspec.Struct, frozen=True):
    """The case that a group predicts worst."""

    case: str
    launch: int
    name: str
    predicted_s: float
    measured_s: float
    error: float
    """Predicted / measured - 1."""


class Coverage(msgspec.Struct, frozen=True):
    """How often a measurement lay in the interval of its prediction, and how wide that was."""

    inside: int
    count: int
    low: float
    """Lower 95 % Wilson bound of the share."""
    high: float
    half_width: float
    """Median factor from the middle of an interval, on a logarithmic axis, to its ends."""

    def allows(self, share: float) -> bool:
        """Return whether the intervals may hold that share of all such cases."""
        return self.low <= share <= self.high


class Skill(msgspec.Struct, frozen=True):
    """A naive predictor through the same calibration cases, and what the model gains on it."""

    baseline: str
    count: int
    """Scored cases and launches that the baseline could predict too; the skill is over these."""
    median_error: float
    skill: float | None
    """1 - the model's median error / the baseline's; negative where the model is worse."""


class Accuracy(msgspec.Struct, frozen=True):
    """Errors of a group, relative: 0.07 is 7 %."""

    count: int
    """Predictions, one per case and launch."""
    cases: int
    median_error: float
    """Median of |predicted / measured - 1|."""
    bias_ln: float
    """Median of ln(predicted / measured): positive where the model is too slow."""
    p90_error: float
    worst: Worst
    coverage: Coverage | None
    skills: tuple[Skill, ...]


def judge(misses: Sequence[Miss]) -> Accuracy:
    """Return the errors of one prediction or more."""
    errors = np.array([abs(miss.error) for miss in misses])
    worst = misses[int(errors.argmax())]
    return Accuracy(
        count=len(misses),
        cases=len({miss.case for miss in misses}),
        median_error=float(np.median(errors)),
        bias_ln=float(np.median([math.log(m.predicted_s / m.measured_s) for m in misses])),
        p90_error=float(np.quantile(errors, 0.9)),
        worst=Worst(
            worst.case,
            worst.launch,
            worst.name,
            worst.predicted_s,
            worst.measured_s,
            worst.error,
        ),
        coverage=_coverage(misses),
        skills=tuple(_skills(misses)),
    )


def _coverage(misses: Iterable[Miss]) -> Coverage | None:
    inside: list[bool] = []
    cases: set[str] = set()
    widths: list[float] = []
    for miss in misses:
        if miss.low_s is not None and miss.high_s is not None:
            inside.append(miss.low_s <= miss.measured_s <= miss.high_s)
            cases.add(miss.case)
            widths.append(math.sqrt(miss.high_s / miss.low_s))
    if not inside:
        return None
    # Launches of one case are not independent: the bounds count cases.
    bounds = wilson_bounds(sum(inside) / len(inside), len(cases))
    return Coverage(sum(inside), len(inside), *bounds, float(np.median(widths)))


def _skills(misses: Collection[Miss]) -> Iterable[Skill]:
    for name in dict.fromkeys(name for miss in misses for name in miss.baselines):
        known = [miss for miss in misses if name in miss.baselines]
        naive = float(np.median([abs(m.baselines[name] / m.measured_s - 1) for m in known]))
        model = float(np.median([abs(miss.error) for miss in known]))
        yield Skill(name, len(known), naive, 1 - model / naive if naive > 0 else None)
