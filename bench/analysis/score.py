"""Predicted against measured on held-out cases, beside what the measurements themselves scatter."""

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import pandas as pd

from bench.analysis.heldout import Pair, Refused, Unscored, pair_up
from bench.analysis.noise import NoiseFloor
from bench.analysis.statistics import wilson_bounds
from bench.analysis.table import load, load_samples, measured
from bench.model import family
from bench.results import RunFolder
from bench.units import format_seconds


class Worst(msgspec.Struct, frozen=True):
    """The case that a group predicts worst."""

    case: str
    launch: int
    name: str
    predicted_s: float
    measured_s: float
    error: float
    """Predicted / measured - 1."""


class Noise(msgspec.Struct, frozen=True):
    """How far the measurements of a group are from themselves."""

    median: float | None
    """Relative, as errors are; None where nothing repeats."""
    kind: str | None
    """`over launches`, or `within one launch`: that cannot see what differs between launches."""
    count: int


class Coverage(msgspec.Struct, frozen=True):
    """How often a measurement lay in the interval of its prediction."""

    inside: int
    count: int
    low: float
    """Lower 95 % Wilson bound of the share."""
    high: float


class Steady(msgspec.Struct, frozen=True):
    """The predictions whose cases met the machine in the state that was calibrated."""

    count: int
    median_error: float | None
    """None where every case met another state."""


class Skill(msgspec.Struct, frozen=True):
    """A naive predictor through the same calibration cases, and what the model gains on it."""

    baseline: str
    count: int
    """Scored cases and launches that the baseline could predict too; the skill is over these."""
    median_error: float
    skill: float | None
    """1 - the model's median error / the baseline's; negative where the model is worse."""


class GroupScore(msgspec.Struct, frozen=True):
    """Held-out errors of a group of cases, relative: 0.07 is 7 %."""

    name: str
    count: int
    """Predictions scored, one per case and launch."""
    cases: int
    median_error: float
    """Median of |predicted / measured - 1|."""
    bias_ln: float
    """Median of ln(predicted / measured): positive where the model is too slow."""
    p90_error: float
    worst: Worst
    noise: Noise
    coverage: Coverage | None
    skills: tuple[Skill, ...]
    steady: Steady | None = None
    """None where no case is known to have met another state."""

    @property
    def bias_text(self) -> str:
        """The bias as a signed percentage."""
        return format_percent(math.expm1(self.bias_ln), signed=True)


class Score(msgspec.Struct, frozen=True):
    """The score of a run."""

    run: str
    origin: str
    launches: int
    groups: tuple[GroupScore, ...]
    """The headline: point to point, matmul, memory."""
    benchmarks: tuple[GroupScore, ...]
    series: tuple[GroupScore, ...]
    """Each curve of a benchmark that has several, such as a shape and dtype of matmul."""
    refused: tuple[Refused, ...]
    unscored: tuple[Unscored, ...]
    problems: tuple[str, ...]
    """Why the score is not complete; empty where it is."""
    complete: bool
    """False where nothing could be scored, or a prediction was refused."""


def score(run: RunFolder) -> Score:
    """Score the calibrated predictions of a run on its target cases.

    Raises:
        RequestError: where a file of the run is damaged.
    """
    return score_table(run, load(run), load_samples(run))


def score_table(run: RunFolder, table: pd.DataFrame, samples: pd.DataFrame) -> Score:
    """Score a run whose table and samples have been read."""
    pairs, refused, unscored = pair_up(run, table)
    times = measured(table)
    floor = NoiseFloor(times, samples)

    def by(key: Callable[[Pair], str]) -> tuple[GroupScore, ...]:
        groups: dict[str, list[Pair]] = {}
        for pair in pairs:
            groups.setdefault(key(pair), []).append(pair)
        return tuple(_group(name, group, floor) for name, group in groups.items())

    problems = _problems(pairs, refused)
    return Score(
        run=run.meta.run,
        origin=run.meta.origin.value,
        launches=int(times["launch"].nunique()),
        groups=by(lambda pair: family(pair.benchmark)),
        benchmarks=by(lambda pair: pair.benchmark),
        series=tuple(
            group
            for group in by(lambda pair: f"{pair.benchmark} {pair.label}" if pair.label else "")
            if group.name
        ),
        refused=refused,
        unscored=unscored,
        problems=problems,
        complete=not problems,
    )


def _problems(pairs: Sequence[Pair], refused: Sequence[Refused]) -> tuple[str, ...]:
    found = []
    if not pairs:
        found.append(
            "no prediction could be scored; run a suite with calibration and target cases, "
            "such as `clusterbench run quick`"
        )
    if refused:
        found.append(f"{len(refused)} predictions were refused and do not count")
    return tuple(found)


def _group(name: str, pairs: Sequence[Pair], floor: NoiseFloor) -> GroupScore:
    errors = np.array([abs(pair.error) for pair in pairs])
    worst = pairs[int(errors.argmax())]
    return GroupScore(
        name=name,
        count=len(pairs),
        cases=len({pair.case for pair in pairs}),
        median_error=float(np.median(errors)),
        bias_ln=float(np.median([math.log(p.predicted_s / p.measured_s) for p in pairs])),
        p90_error=float(np.quantile(errors, 0.9)),
        worst=Worst(
            worst.case,
            worst.launch,
            worst.name,
            worst.predicted_s,
            worst.measured_s,
            worst.error,
        ),
        noise=Noise(*floor.of([(pair.case, pair.launch) for pair in pairs])),
        coverage=_coverage(pairs),
        skills=_skills(pairs),
        steady=_steady(pairs),
    )


def _steady(pairs: Sequence[Pair]) -> Steady | None:
    errors = [abs(pair.error) for pair in pairs if not pair.moved]
    if len(errors) == len(pairs):
        return None
    return Steady(len(errors), float(np.median(errors)) if errors else None)


def _coverage(pairs: Iterable[Pair]) -> Coverage | None:
    inside = [
        (pair.case, pair.low_s <= pair.measured_s <= pair.high_s)
        for pair in pairs
        if pair.low_s is not None and pair.high_s is not None
    ]
    if not inside:
        return None
    covered = sum(is_inside for _, is_inside in inside)
    # Launches of one case are not independent: the bounds count cases.
    cases = len({case for case, _ in inside})
    return Coverage(covered, len(inside), *wilson_bounds(covered / len(inside), cases))


def _skills(pairs: Sequence[Pair]) -> tuple[Skill, ...]:
    names = dict.fromkeys(name for pair in pairs for name in pair.baselines)
    return tuple(_skill(name, [p for p in pairs if name in p.baselines]) for name in names)


def _skill(baseline: str, pairs: Sequence[Pair]) -> Skill:
    naive = float(np.median([abs(p.baselines[baseline] / p.measured_s - 1) for p in pairs]))
    model = float(np.median([abs(p.error) for p in pairs]))
    return Skill(baseline, len(pairs), naive, 1 - model / naive if naive > 0 else None)


def score_text(score: Score) -> list[str]:
    """Return the score as lines for a terminal, errors beside noise floor, count and worst case."""
    header = f"{'held-out error':<26}{'median':>8}{'noise':>9}{'P90':>8}{'bias':>8}{'n':>5}  worst"
    lines = [header] if score.groups else []
    for title, groups in (
        ("", score.groups),
        ("by benchmark", score.benchmarks),
        ("by curve", score.series),
    ):
        lines += [title] if title and groups else []
        lines += [_group_line(group) for group in groups]
    kinds = {group.noise.kind for group in score.groups} - {None}
    lines += [
        f"noise: the median difference of a measurement from itself, {kind}"
        for kind in sorted(map(str, kinds))
    ]
    lines += [line for group in score.groups for line in _verdict_lines(group)]
    lines += steady_lines(score)
    lines += [f"not scored: {u.count} cases, {u.reason}" for u in score.unscored]
    lines += [f"refused: {r.name} (launch {r.launch}): {r.reason}" for r in score.refused]
    return lines + [f"problem: {problem}" for problem in score.problems]


def _group_line(group: GroupScore) -> str:
    noise = "?" if group.noise.median is None else format_percent(group.noise.median)
    worst = (
        f"{group.worst.name}: {format_seconds(group.worst.predicted_s)} predicted, "
        f"{format_seconds(group.worst.measured_s)} measured"
    )
    return (
        f"{group.name:<26}{format_percent(group.median_error):>8}{noise:>9}"
        f"{format_percent(group.p90_error):>8}{group.bias_text:>8}{group.count:>5}  {worst}"
    )


def _verdict_lines(group: GroupScore) -> list[str]:
    lines = []
    if group.coverage is not None:
        c = group.coverage
        lines.append(
            f"{group.name}: {c.inside} of {c.count} inside their interval "
            f"({format_percent(c.low)} to {format_percent(c.high)} at 95 %)"
        )
    lines += [f"{group.name}: {skill_text(skill)}" for skill in group.skills]
    return lines


def steady_lines(score: Score) -> list[str]:
    """Return in words how far off the predictions were where the machine had not changed."""
    groups = {group.name: group for group in (*score.groups, *score.benchmarks)}
    lines = []
    for group in groups.values():
        steady = group.steady
        if steady is None:
            continue
        met = "met the machine in the state that was calibrated"
        if steady.median_error is None:
            lines.append(f"{group.name}: none of {group.count} {met}")
        else:
            error = format_percent(steady.median_error)
            lines.append(f"{group.name}: {error} on the {steady.count} of {group.count} that {met}")
    return lines


def skill_text(skill: Skill) -> str:
    """Return in words what the model gains on a baseline, or loses."""
    text = f"{skill.baseline} errs by {format_percent(skill.median_error)} on {skill.count} of them"
    if skill.skill is None:
        return f"{text}: no skill can be stated against an exact baseline"
    if skill.skill < 0:
        return f"{text}: skill {skill.skill:+.2f}, NEGATIVE, the model is worse than it"
    return f"{text}: skill {skill.skill:+.2f}"


def format_percent(share: float, signed: bool = False) -> str:
    """Return a share as a percentage with two significant digits, such as 0.07 as `7.0 %`."""
    percent = 100 * share
    digits = 0 if abs(percent) >= 9.95 else 1 if abs(percent) >= 0.1 or percent == 0 else 2
    return f"{percent:{'+' if signed else ''}.{digits}f} %"
