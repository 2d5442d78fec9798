"""Predicted against measured on held-out cases, beside what the measurements themselves scatter."""

import math
from collections.abc import Callable, Sequence
from statistics import median

import msgspec
import pandas as pd

from bench.core.units import format_seconds
from bench.judge.accuracy import Accuracy, Coverage, Skill, judge
from bench.judge.heldout import Pair, Refused, Unscored, pair_up
from bench.judge.noise import NoiseFloor
from bench.judge.places import middle_places
from bench.judge.strata import SPLITS
from bench.judge.table import load, measured
from bench.measure.profiles import profile_of
from bench.predict.model.conformal import COVERAGE
from bench.store.folder import RunFolder


class Noise(msgspec.Struct, frozen=True):
    """How far the measurements of a group are from themselves."""

    median: float | None
    """Relative, as errors are; None where nothing repeats."""
    kind: str | None
    """`over launches`, or `within one launch`: that cannot see what differs between launches."""
    count: int


class Steady(msgspec.Struct, frozen=True):
    """The predictions whose cases met the machine in the state that was calibrated."""

    count: int
    median_error: float | None
    """None where every case met another state."""


class GroupScore(Accuracy, frozen=True):
    """Held-out errors of a group of cases, beside what the measurements themselves scatter."""

    name: str
    noise: Noise
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
    """The headline: a group for each family of benchmarks."""
    benchmarks: tuple[GroupScore, ...]
    series: tuple[GroupScore, ...]
    """Each curve of a benchmark that has several, such as a shape and dtype of products."""
    strata: tuple[GroupScore, ...]
    """Size class by benchmark; benchmarks that are not sized in bytes are one stratum each."""
    splits: tuple[GroupScore, ...]
    """By what was held out, the hardest last."""
    median_of_strata: float | None
    """The headline: the median of the strata's median errors; None where nothing was scored."""
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
    return score_table(run, load(run))


def score_table(run: RunFolder, table: pd.DataFrame) -> Score:
    """Score a run whose table has been read."""
    pairs, refused, unscored = pair_up(run, middle_places(table))
    times = measured(table)
    floor = NoiseFloor(times[times["case"].isin({pair.case for pair in pairs})], run)

    def by(key: Callable[[Pair], str]) -> tuple[GroupScore, ...]:
        groups: dict[str, list[Pair]] = {}
        for pair in pairs:
            groups.setdefault(key(pair), []).append(pair)
        return tuple(_group(name, group, floor) for name, group in groups.items())

    problems = _problems(pairs, refused)
    strata = by(lambda pair: pair.stratum)
    splits = {group.name: group for group in by(lambda pair: pair.held_out_by)}
    return Score(
        run=run.meta.run,
        origin=run.meta.origin.value,
        launches=int(times["launch"].nunique()),
        groups=by(lambda pair: profile_of(pair.benchmark).family),
        benchmarks=by(lambda pair: pair.benchmark),
        series=tuple(
            group
            for group in by(lambda pair: f"{pair.benchmark} {pair.label}" if pair.label else "")
            if group.name
        ),
        strata=strata,
        splits=tuple(splits[name] for name in SPLITS.values() if name in splits),
        median_of_strata=median(group.median_error for group in strata) if strata else None,
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
    accuracy = judge([pair.miss for pair in pairs])
    return GroupScore(
        **msgspec.structs.asdict(accuracy),
        name=name,
        noise=Noise(*floor.of([(pair.case, pair.launch) for pair in pairs])),
        steady=_steady(pairs),
    )


def _steady(pairs: Sequence[Pair]) -> Steady | None:
    errors = [abs(pair.miss.error) for pair in pairs if not pair.moved]
    if len(errors) == len(pairs):
        return None
    return Steady(len(errors), median(errors) if errors else None)


def score_text(score: Score) -> list[str]:
    """Return the score as lines for a terminal, errors beside noise floor, count and worst case."""
    header = f"{'held-out error':<34}{'median':>8}{'noise':>9}{'P90':>8}{'bias':>8}{'n':>5}  worst"
    lines = [header] if score.groups else []
    for title, groups in (
        ("", score.groups),
        ("by benchmark", score.benchmarks),
        ("by size class", score.strata if len(score.strata) > len(score.benchmarks) else ()),
        ("by what was held out", score.splits if len(score.splits) > 1 else ()),
    ):
        lines += [title] if title and groups else []
        lines += [_group_line(group) for group in groups]
    if score.median_of_strata is not None:
        lines.append(headline_text(score.median_of_strata, score.strata))
    kinds = {group.noise.kind for group in score.groups} - {None}
    lines += [
        f"noise: the median difference of a measurement from itself, {kind}"
        for kind in sorted(map(str, kinds))
    ]
    lines += [line for group in score.groups for line in _verdict_lines(group)]
    lines += steady_lines(score)
    lines += [f"not scored: {u.count} cases, {u.reason}" for u in score.unscored]
    lines += [f"refused: {r.name} (launch {r.launch}): {r.reason}" for r in score.refused]
    return lines


def headline_text(median_of_strata: float, strata: Sequence[GroupScore]) -> str:
    """Return the headline in words: one voice for each size class of each benchmark."""
    worst = max(strata, key=lambda stratum: stratum.median_error)
    return (
        f"headline: {format_percent(median_of_strata)}, the median over {len(strata)} strata "
        f"(size class by benchmark) of their median errors; the worst of them is {worst.name} "
        f"with {format_percent(worst.median_error)}"
    )


def _group_line(group: GroupScore) -> str:
    noise = "?" if group.noise.median is None else format_percent(group.noise.median)
    worst = (
        f"{group.worst.name}: {format_seconds(group.worst.predicted_s)} predicted, "
        f"{format_seconds(group.worst.measured_s)} measured"
    )
    return (
        f"{group.name:<34}{format_percent(group.median_error):>8}{noise:>9}"
        f"{format_percent(group.p90_error):>8}{group.bias_text:>8}{group.count:>5}  {worst}"
    )


def _verdict_lines(group: GroupScore) -> list[str]:
    lines = []
    if group.coverage is not None:
        c = group.coverage
        lines.append(f"{group.name}: {coverage_text(c)}")
    lines += [f"{group.name}: {skill_text(skill)}" for skill in group.skills]
    return lines


def coverage_text(coverage: Coverage) -> str:
    """Return in words how often intervals held the measurement, and how wide they were."""
    bounds = f"{format_percent(coverage.low)} to {format_percent(coverage.high)} at 95 %"
    verdict = (
        ""
        if coverage.allows(COVERAGE)
        else f", NOT the {format_percent(COVERAGE)} that they are meant to"
    )
    return (
        f"{coverage.inside} of {coverage.count} inside their interval ({bounds}){verdict}; "
        f"half-width x{coverage.half_width:.3g}"
    )


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
