"""The proof of comparisons passes over no look at which a change is called."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.judge.compare.answer import answer_cases, decide_cases

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
false_alarms = pytest.importorskip("comparekit.false_alarms")
worlds = pytest.importorskip("comparekit.worlds")
other_rules = pytest.importorskip("comparekit.other_rules")

ALL = worlds.all_worlds(Path(__file__).parent.parent)
SOME = ["recorded, in turns", "heavy tails", "a slow mode, 1 of 10", "drift: a line, in turns"]


def with_change(drawn, change):
    """Return the launches with B slower, so that there is something to be called."""
    values = drawn.values.copy()
    taken = np.arange(len(drawn.order))
    values[:, 2 * taken + drawn.order] += change
    return drawn._replace(values=values)


@pytest.mark.parametrize("name", SOME)
def test_no_look_is_passed_over_at_which_a_change_is_called(name):
    called = 0
    for seed, change in enumerate((0.02, 0.05, 0.1, 0.2)):
        drawn = with_change(ALL[name](np.random.default_rng(seed)), change)
        suspicious = set(false_alarms.suspicious(drawn))
        for count in (6, 10, 21, 35):
            changed = false_alarms.calls_change(drawn, count)
            called += changed
            assert count in suspicious or not changed
    assert called


def test_outcomes_alone_are_those_of_the_answers():
    for name, world in ALL.items():
        cases = worlds.cases_of(world(np.random.default_rng(1)), 10, 0.05)
        assert decide_cases(cases) == [answer.outcome for answer in answer_cases(cases)], name


def test_other_rules_see_a_large_change_and_its_sign():
    random = np.random.default_rng(2)
    a, b = 0.01 * random.standard_normal((2, 5, 10))
    for rule in other_rules.RULES.values():
        assert (rule(a, b + 0.3) == 1).all()
        assert (rule(a, b - 0.3) == -1).all()
