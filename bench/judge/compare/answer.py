"""Faster, slower, the same, or too few launches to tell: the answer for each case."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from bench.core.verdict import Outcome
from bench.judge.compare.blocks import compare_in_blocks
from bench.judge.compare.drift import find_drift
from bench.judge.compare.looks import (
    LEAST_LAUNCHES,
    LEAST_LAUNCHES_OF_TWO_MODES,
    even_launches,
    share_at,
)
from bench.judge.compare.modes import LEAST_OFF, count_off
from bench.judge.compare.needed import (
    NO_CHANGE_LEVEL,
    SAME_LEVEL,
    launches_to_be_same,
    launches_to_see,
    least_seen,
)
from bench.judge.compare.records import LEVEL, MARGIN, Aspect, CaseAnswer, CaseSides
from bench.judge.compare.shared_variance import count_independent, find_prior, moderate
from bench.judge.compare.spread import Differences, Floats, compare_means, compare_trimmed

WEIGHTS = {Aspect.LEVEL: 8.0, Aspect.TAIL: 1.0, Aspect.RANKS: 1.0}
"""How the level is divided among the aspects that are asked for."""

_ENOUGH_CASES = 5
"""Independent cases of a kind that tell outliers from modes."""
_RARE = 0.15
"""Of all launches, those in the rarer mode at most, for it to count as outliers."""
_WORTH_TRIMMING = 1.2
"""Least gain of variance from leaving the outer launches out; of gaussian ones it is 0.8."""
_SAYS_NOTHING = math.log(1000)
"""Nothing is known of a ratio whose interval reaches this far in logarithms."""


class _Estimate(NamedTuple):
    """What is known of one case before it is answered."""

    log_ratio: float
    error: float
    degrees: float
    modes: bool
    """Whether launches of its kind lie in two modes."""
    drift: bool = False
    """Whether the machine seems to have drifted from one side to the other."""
    in_order: bool = False
    """Whether one side was measured after the other one, not in turns with it."""
    own_modes: bool = False
    """Whether its own launches lie in two modes."""

    @property
    def may_have_changed_over(self) -> bool:
        """Whether modes that launches stay in for a while would look like a change."""
        return self.in_order and self.own_modes

    def half_width(self, chance: float) -> float:
        """Return how far the interval reaches to each side that is missed there by this chance."""
        return -self.error * float(stdtrit(self.degrees, chance))


def answer_cases(
    cases: Sequence[CaseSides], margin: float = MARGIN, level: float = LEVEL
) -> list[CaseAnswer]:
    """Return an answer for each case, in their order.

    Args:
        cases: of one comparison, all of them: they share the level, and those of one kind and
            aspect may share what they know of the spread of launches.
        margin: relative change of the seconds that nobody minds; as far up as down in logarithms.
        level: chance that the whole comparison calls any case changed that is not, however often
            its launches are looked at as they accrue.
    """
    return [
        _describe(case, estimate, margin, part) for case, estimate, part in _estimate(cases, level)
    ]


def decide_cases(
    cases: Sequence[CaseSides], margin: float = MARGIN, level: float = LEVEL
) -> list[Outcome]:
    """Return the outcomes of `answer_cases` alone, for those who ask a million times."""
    return [
        _decide(case, estimate, margin, part) for case, estimate, part in _estimate(cases, level)
    ]


def _estimate(
    cases: Sequence[CaseSides], level: float
) -> list[tuple[CaseSides, _Estimate | None, float]]:
    """Return each case with what is known of it, and its part of the level on each side."""
    estimates: dict[int, _Estimate] = {}
    for members in _kinds(cases).values():
        estimates |= _estimate_kind({index: cases[index] for index in members})
    for aspect in Aspect:
        _allow_for_drift(estimates, {i: cases[i] for i in estimates if cases[i].aspect is aspect})
    parts = _divide_level(cases, level)
    return [(case, estimates.get(index), parts[case.aspect]) for index, case in enumerate(cases)]


def _kinds(cases: Sequence[CaseSides]) -> dict[tuple[Aspect, str], list[int]]:
    """Return the places of the cases that two launches a side or more let be estimated."""
    kinds: dict[tuple[Aspect, str], list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        if min(len(case.a.log_s), len(case.b.log_s)) >= 2:
            kinds[case.aspect, case.kind].append(index)
    return kinds


def _divide_level(cases: Sequence[CaseSides], level: float) -> dict[Aspect, float]:
    """Return what each case of an aspect may use of the level, for each of its two sides."""
    counts = {aspect: sum(case.aspect is aspect for case in cases) for aspect in Aspect}
    whole = sum(WEIGHTS[aspect] for aspect, count in counts.items() if count)
    return {
        aspect: level * WEIGHTS[aspect] / whole / (2 * count)
        for aspect, count in counts.items()
        if count
    }


def _estimate_kind(cases: dict[int, CaseSides]) -> dict[int, _Estimate]:
    """Return what is known of the cases of one kind and aspect, by their place."""
    shapes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, case in cases.items():
        shapes[len(case.a.log_s), len(case.b.log_s)].append(index)
    order: list[int] = []
    found: list[Differences] = []
    modes: list[bool] = []
    independent = 0.0
    for members in shapes.values():
        a = np.stack([cases[index].a.log_s for index in members])
        b = np.stack([cases[index].b.log_s for index in members])
        centred = [side - side.mean(axis=1, keepdims=True) for side in (a, b)]
        here = count_independent(np.concatenate(centred, axis=1))
        off = count_off((a, b))
        order += members
        found.append(_compare(a, b, float(off.mean()), here))
        modes += (off >= LEAST_OFF).tolist()
        independent += here
    differences = Differences(*map(np.concatenate, zip(*found, strict=True)))
    differences = _use_blocks([cases[index] for index in order], differences)
    prior = find_prior(differences.variance, differences.degrees, independent)
    settled = moderate(differences, prior)
    errors = np.sqrt(settled.variance * settled.unit)
    return {
        index: _Estimate(float(ratio), float(error), float(degrees), any(modes), own_modes=two)
        for index, ratio, error, degrees, two in zip(
            order, settled.log_ratio, errors, settled.degrees, modes, strict=True
        )
    }


def _compare(a: Floats, b: Floats, off: float, independent: float) -> Differences:
    """Return how means over launches differ, of the middle ones where a kind has outliers.

    Args:
        a: cases by launches.
        b: the same of the other side.
        off: launches of a case that lie in the rarer one of two modes, on average.
        independent: as how many cases these count.

    A mode that is not rare may fill the middle of one side by chance.
    """
    plain = compare_means(a, b)
    fewer = min(a.shape[1], b.shape[1])
    enough = fewer >= LEAST_LAUNCHES and independent >= _ENOUGH_CASES
    if not enough or off > _RARE * (a.shape[1] + b.shape[1]):
        return plain
    trimmed = compare_trimmed(a, b)
    gain = float(np.log(plain.variance / trimmed.variance).mean())
    return trimmed if gain > math.log(_WORTH_TRIMMING) else plain


def _allow_for_drift(estimates: dict[int, _Estimate], cases: dict[int, CaseSides]) -> None:
    """Widen what is known of cases of one aspect, where one side came after the other in a drift.

    As much as the sides could differ by it is known from two halves of two sides alone.
    """
    places = list(cases)
    for place, drift in find_drift(list(cases.values())).items():
        estimate = estimates[places[place]]
        error = math.hypot(estimate.error, drift.error)
        degrees = 2.0 if drift.seen else estimate.degrees
        estimates[places[place]] = estimate._replace(
            error=error, degrees=degrees, drift=drift.seen, in_order=True
        )


def _use_blocks(cases: Sequence[CaseSides], plain: Differences) -> Differences:
    """Return the differences within blocks, where the blocks of a kind take off what they cost."""
    if not any(case.a.block.any() or case.b.block.any() for case in cases):
        return plain
    blocked = [compare_in_blocks(case) for case in cases]
    if any(one is None for one in blocked):
        return plain
    found = Differences(*np.array([one[:4] for one in blocked if one is not None]).T)
    crossed = any(math.isinf(one.gain) for one in blocked if one is not None)
    gain = np.log(plain.variance * plain.unit / (found.variance * found.unit)).mean()
    # Pairs have half of the degrees of freedom; that is worth paying for a third of the variance.
    return found if crossed or gain > math.log(1.4) else plain


def _decide(case: CaseSides, estimate: _Estimate | None, margin: float, part: float) -> Outcome:
    count = min(len(case.a.log_s), len(case.b.log_s))
    if estimate is None or count < _least(estimate) or estimate.may_have_changed_over:
        return Outcome.CANNOT_TELL
    now = part * share_at(even_launches(len(case.a.log_s), len(case.b.log_s)))
    edge = math.log1p(margin)
    distance = abs(estimate.log_ratio)
    if distance > edge:
        outer, strict = estimate.half_width(now), estimate.half_width(now * NO_CHANGE_LEVEL)
        if distance - outer > edge and distance > strict:
            return Outcome.SLOWER if estimate.log_ratio > 0 else Outcome.FASTER
    elif distance + estimate.half_width(SAME_LEVEL / 2) < edge:
        return Outcome.SAME
    return Outcome.CANNOT_TELL


def _describe(
    case: CaseSides, estimate: _Estimate | None, margin: float, part: float
) -> CaseAnswer:
    count_a, count_b = len(case.a.log_s), len(case.b.log_s)
    counts = {"launches_a": count_a, "launches_b": count_b}
    if estimate is None:
        ratio = None
        if count_a and count_b:
            ratio = math.exp(float(case.b.log_s.mean() - case.a.log_s.mean()))
        return CaseAnswer(
            outcome=Outcome.CANNOT_TELL,
            reason=_say_few(min(count_a, count_b)),
            ratio=ratio,
            launches_needed=LEAST_LAUNCHES,
            **counts,
        )
    outcome = _decide(case, estimate, margin, part)
    even = even_launches(count_a, count_b)
    now = part * share_at(even)
    outer = estimate.half_width(now)
    known = min(count_a, count_b) >= LEAST_LAUNCHES and outer < _SAYS_NOTHING
    least_change = least_seen(estimate.error, estimate.degrees, now, margin)
    return CaseAnswer(
        outcome=outcome,
        reason=_say(outcome, estimate, min(count_a, count_b), margin),
        ratio=math.exp(estimate.log_ratio),
        low=math.exp(estimate.log_ratio - outer) if known else None,
        high=math.exp(estimate.log_ratio + outer) if known else None,
        launches_needed=None
        if outcome is not Outcome.CANNOT_TELL
        else _needed(estimate, even, margin, part),
        least_change=math.exp(least_change) if known and least_change < _SAYS_NOTHING else None,
        **counts,
    )


def _least(estimate: _Estimate) -> int:
    return LEAST_LAUNCHES_OF_TWO_MODES if estimate.modes else LEAST_LAUNCHES


def _needed(estimate: _Estimate, even: float, margin: float, part: float) -> int | None:
    """Return the launches of each side for an answer, were the ratio the one that is seen."""
    if estimate.drift or estimate.may_have_changed_over:
        return None
    spread = estimate.error * math.sqrt(even / 2)
    floor = max(_least(estimate), math.floor(even) + 1)
    if abs(estimate.log_ratio) <= math.log1p(margin):
        return launches_to_be_same(estimate.log_ratio, spread, margin, floor)
    # `part` is for one side of one case already.
    change = math.expm1(abs(estimate.log_ratio))
    return launches_to_see(change, spread, 1, margin, 2 * part, floor)


def _say_few(count: int) -> str:
    """Return why nothing can be said at all."""
    if count == 0:
        return "one side has no launch of it"
    return "one launch a side: one run tells nothing of the next"


def _say(outcome: Outcome, estimate: _Estimate, count: int, margin: float) -> str:
    """Return why, in words for people."""
    limit = f"{100 * margin:.3g} %"
    if outcome is Outcome.SAME:
        return f"the difference lies within {limit}"
    if outcome is not Outcome.CANNOT_TELL:
        return f"the interval lies wholly beyond {limit}"
    if count < LEAST_LAUNCHES:
        return f"{count} launches a side are too few: an answer takes {LEAST_LAUNCHES}"
    if estimate.modes and count < LEAST_LAUNCHES_OF_TWO_MODES:
        return (
            f"launches fall into two modes, and {count} a side may all fall into one by chance: "
            f"an answer takes {LEAST_LAUNCHES_OF_TWO_MODES}"
        )
    if estimate.may_have_changed_over:
        return (
            "launches fall into two modes, and may have changed over while one side was measured "
            "after the other: `clusterbench ab` measures them in turns"
        )
    if estimate.drift:
        return (
            "the machine drifted while one side was measured after the other: `clusterbench ab` "
            "measures them in turns"
        )
    if abs(estimate.log_ratio) > math.log1p(margin):
        return f"launches scatter too much to say that they differ by more than {limit}"
    return f"launches scatter too much to say that they differ by less than {limit}"
