"""How often a comparison of a set-up with itself calls anything changed."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from bench.core.verdict import Outcome
from bench.judge.compare.answer import decide_cases
from bench.judge.compare.looks import LEAST_LAUNCHES, share_at
from bench.judge.compare.needed import NO_CHANGE_LEVEL
from bench.judge.compare.shared_variance import LEAST_OF_OWN
from bench.judge.compare.spread import compare_means, compare_trimmed
from comparekit.other_rules import RULES
from comparekit.worlds import MOST, Drawn, World, cases_of, sides_at

MARGIN, LEVEL = 0.01, 0.01
ONCE = 10
"""Launches a side where it is looked at once."""
LOOKS = range(LEAST_LAUNCHES, MOST + 1)
CHANGED = (Outcome.FASTER, Outcome.SLOWER)


class Alarms(NamedTuple):
    """Of so many comparisons of a set-up with itself, those with any case called changed."""

    comparisons: int
    once: int
    """At one look."""
    ever: int
    """At any of the looks as launches accrue."""
    same: float
    """Part of the cases that were the same, at one look."""


def count_alarms(world: World, comparisons: int, seed: int) -> Alarms:
    """Return how often any case is called changed where nothing changed."""
    once = ever = same = 0
    cases = 0
    for number in range(comparisons):
        drawn = world(np.random.default_rng([seed, number]))
        outcomes = decide_cases(cases_of(drawn, ONCE), MARGIN, LEVEL)
        here = any(outcome in CHANGED for outcome in outcomes)
        once += here
        ever += here or any(calls_change(drawn, count) for count in suspicious(drawn))
        same += outcomes.count(Outcome.SAME)
        cases += len(outcomes)
    return Alarms(comparisons, once, ever, same / cases)


def count_others(world: World, comparisons: int, seed: int) -> list[tuple[int, int]]:
    """Return of each other rule the comparisons with any case called changed, once and ever."""
    counts = [(0, 0)] * len(RULES)
    for number in range(comparisons):
        drawn = world(np.random.default_rng([seed, number]))
        for place, rule in enumerate(RULES.values()):
            called = [rule(*sides_at(drawn, count)[:2]).any() for count in LOOKS]
            once, ever = counts[place]
            counts[place] = once + int(called[ONCE - LOOKS[0]]), ever + int(any(called))
    return counts


def calls_change(drawn: Drawn, count: int) -> bool:
    """Return whether any case is called changed at this many launches a side."""
    outcomes = decide_cases(cases_of(drawn, count), MARGIN, LEVEL)
    return any(outcome in CHANGED for outcome in outcomes)


def suspicious(drawn: Drawn) -> Iterator[int]:
    """Yield the looks at which a change may be called; at all others none can be.

    A case never has less than a part of its own variance, nor a smaller quantile than the normal
    one. Where that alone does not reach a change, the answer need not be worked out.
    """
    part = NO_CHANGE_LEVEL * LEVEL / (2 * len(drawn.kinds))
    for count in LOOKS:
        a, b, _, _ = sides_at(drawn, count)
        for found in (compare_means(a, b), compare_trimmed(a, b)):
            variance = found.variance * found.unit
            if drawn.interleaved and drawn.begun_s is not None:
                variance = np.minimum(variance, (b - a).var(axis=1, ddof=1) / count)
            error = -ndtri(part * share_at(count)) * np.sqrt(LEAST_OF_OWN * variance)
            if (np.abs(found.log_ratio) > np.maximum(MARGIN / 2, error)).any():
                yield count
                break
