"""How often a change is found, and the same called the same."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bench.core.verdict import Outcome
from bench.judge.compare.answer import decide_cases
from comparekit.other_rules import RULES, Floats
from comparekit.worlds import CASES, KINDS, MOST, Drawn, cases_of, sides_at

Noise = Callable[[np.random.Generator], Floats]
"""Draws cases by moments, of a spread of 1 by 1.48 MAD."""

_SHAPE = (CASES, 2 * MOST)
_MAD_T3 = 1.134
"""1.48 MAD of Student's distribution of three degrees of freedom."""
_MAD_SKEWED = 0.7402
"""1.48 MAD of exp(0.8 z), z gaussian with a standard deviation of 1."""

NOISES: dict[str, Noise] = {
    "gaussian": lambda random: random.standard_normal(_SHAPE),
    "skewed": lambda random: np.exp(0.8 * random.standard_normal(_SHAPE)) / _MAD_SKEWED,
    "heavy tails": lambda random: random.standard_t(3, _SHAPE) / _MAD_T3,
}


class Found(NamedTuple):
    """Parts of all cases, by rule; ours is the first."""

    right: dict[str, float]
    """Called slower, as they are."""
    wrong: dict[str, float]
    """Called faster."""
    same: float
    """Of ours."""


OURS = "compare"


def find_change(
    draw: Callable[[np.random.Generator], Drawn],
    change: float,
    count: int,
    comparisons: int,
    seed: int,
    margin: float = 0.01,
) -> Found:
    """Return the parts of cases that were found slower, where B is, in all cases."""
    right = dict.fromkeys([OURS, *RULES], 0)
    wrong = dict.fromkeys([OURS, *RULES], 0)
    same = total = 0
    for number in range(comparisons):
        drawn = draw(np.random.default_rng([seed, number]))
        outcomes = decide_cases(cases_of(drawn, count, change), margin)
        total += len(outcomes)
        right[OURS] += outcomes.count(Outcome.SLOWER)
        wrong[OURS] += outcomes.count(Outcome.FASTER)
        same += outcomes.count(Outcome.SAME)
        a, b, _, _ = sides_at(drawn, count)
        for name, rule in RULES.items():
            called = rule(a, b + math.log1p(change))
            right[name] += int((called > 0).sum())
            wrong[name] += int((called < 0).sum())
    return Found(
        {name: number / total for name, number in right.items()},
        {name: number / total for name, number in wrong.items()},
        same / total,
    )


def of_spread(noise: str, spread: float) -> Callable[[np.random.Generator], Drawn]:
    """Return what draws comparisons whose launches have this spread in every case."""

    def draw(random: np.random.Generator) -> Drawn:
        kinds = [f"kind {i % KINDS}" for i in range(CASES)]
        values = spread * NOISES[noise](random)
        return Drawn(values, None, kinds, order=np.ones(MOST, dtype=bool))

    return draw
