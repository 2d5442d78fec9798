"""What launches of two sides are answered with: known truths, and what may not matter."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from bench.core.verdict import Outcome
from bench.judge.compare.answer import answer_cases
from bench.judge.compare.looks import share_at
from bench.judge.compare.needed import launches_to_see, seen_change
from bench.judge.compare.overall import overall
from bench.judge.compare.records import Aspect, CaseAnswer, CaseSides, Launches
from bench.judge.compare.shared_variance import count_independent, find_prior

CHANGED = {Outcome.FASTER, Outcome.SLOWER}
OPPOSITE = {Outcome.FASTER: Outcome.SLOWER, Outcome.SLOWER: Outcome.FASTER}


def launches(log_s, block=None, begun_s=None):
    count = len(log_s)
    return Launches(
        np.asarray(log_s, dtype=float),
        np.zeros(count, dtype=np.int64) if block is None else np.asarray(block),
        np.full(count, math.nan) if begun_s is None else np.asarray(begun_s, dtype=float),
    )


def side(case, a, b, kind="latency", aspect=Aspect.LEVEL):
    return CaseSides(case, None, aspect, kind, a, b)


def draw(random, count, spread, change=0.0, cases=60, kinds=3):
    """Return cases whose launches scatter alike, B slower by a relative change."""
    a, b = spread * random.standard_normal((2, cases, count)) + math.log(1e-6)
    return [
        side(f"case {i}", launches(a[i]), launches(b[i] + math.log1p(change)), f"kind {i % kinds}")
        for i in range(cases)
    ]


def words(random, comparisons, *arguments, margin=0.01, **more):
    found = Counter()
    for _ in range(comparisons):
        cases = draw(random, *arguments, **more)
        found.update(answer.outcome for answer in answer_cases(cases, margin))
    return {outcome: number / found.total() for outcome, number in found.items()}


@pytest.mark.parametrize(
    ("change", "count", "spread", "least"),
    [(0.25, 6, 0.02, 0.99), (0.08, 10, 0.02, 0.95), (0.05, 20, 0.02, 0.95), (0.05, 10, 0.01, 0.95)],
)
def test_a_change_is_found_with_its_sign(change, count, spread, least):
    found = words(np.random.default_rng(count), 15, count, spread, change)
    assert found[Outcome.SLOWER] >= least
    assert Outcome.FASTER not in found


def test_the_same_twice_is_the_same():
    found = words(np.random.default_rng(3), 15, 10, 0.01, margin=0.02)
    assert found[Outcome.SAME] >= 0.95
    assert not CHANGED & set(found)


def test_nothing_is_called_changed_that_is_not():
    found = words(np.random.default_rng(4), 40, 8, 0.2)
    assert set(found) == {Outcome.CANNOT_TELL}


def test_one_launch_a_side_tells_nothing():
    (answer,) = answer_cases([side("one", launches([-9.0]), launches([-8.0]))])
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "one run tells nothing of the next" in answer.reason
    assert answer.ratio == pytest.approx(math.e)
    assert answer.low is None
    assert answer.launches_needed == 6


@pytest.mark.parametrize("count", range(2, 6))
def test_below_six_launches_there_is_no_answer(count):
    cases = [
        side("few", launches(0.001 * np.arange(count)), launches(1 + 0.001 * np.arange(count)))
    ]
    (answer,) = answer_cases(cases)
    assert answer.outcome is Outcome.CANNOT_TELL
    assert answer.launches_needed >= 6


def test_two_modes_take_ten_launches():
    random = np.random.default_rng(5)
    for count, outcome in ((8, Outcome.CANNOT_TELL), (10, Outcome.SLOWER)):
        cases = draw(random, count, 0.005, 0.25, cases=12, kinds=1)
        # One case of the kind lies at 104 and 354 ns; the others are answered with it in mind.
        cases[0].a.log_s[: count // 2] += math.log(3.4)
        answers = answer_cases(cases)
        assert {answer.outcome for answer in answers[1:]} == {outcome}
        assert ("two modes" in answers[1].reason) == (count == 8)


def test_neighbours_cancel_a_drift_that_both_sides_share():
    random = np.random.default_rng(6)
    drift = np.cumsum(0.03 * random.standard_normal(20))
    begun = np.arange(20) * 60.0
    cases = []
    for i in range(20):
        noise = 0.005 * random.standard_normal(20)
        first = random.permuted(np.tile([True, False], (10, 1)), axis=1).ravel()
        value = drift + noise + np.where(first, 0.0, math.log1p(0.08))
        block = np.arange(20) // 2
        cases.append(
            side(
                f"case {i}",
                launches(value[first], block[first], begun[first]),
                launches(value[~first], block[~first], begun[~first]),
            )
        )
    plain = [case._replace(a=launches(case.a.log_s), b=launches(case.b.log_s)) for case in cases]
    width, without = (
        np.mean([math.log(one.high / one.low) for one in answer_cases(these)])
        for these in (cases, plain)
    )
    assert width < without / 1.5


sides = st.lists(
    st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=12), min_size=2, max_size=8
).map(lambda values: values if len(values) % 2 == 0 else values[:-1])


@given(sides, st.floats(-20, 3), st.floats(0.001, 0.2))
@settings(max_examples=40, deadline=None)
def test_names_order_and_scale_do_not_matter(values, scale, margin):
    pairs = list(zip(values[::2], values[1::2], strict=True))
    cases = [side(f"{i}", launches(a), launches(b)) for i, (a, b) in enumerate(pairs)]
    answers = answer_cases(cases, margin)
    swapped = answer_cases([case._replace(a=case.b, b=case.a) for case in cases], margin)
    scaled = answer_cases(
        [
            case._replace(a=launches(case.a.log_s + scale), b=launches(case.b.log_s + scale))
            for case in cases
        ],
        margin,
    )
    turned = answer_cases(cases[::-1], margin)[::-1]
    for one, other, moved, late in zip(answers, swapped, scaled, turned, strict=True):
        assert other.outcome is OPPOSITE.get(one.outcome, one.outcome)
        assert other.ratio == pytest.approx(1 / one.ratio)
        assert other.low == pytest.approx(1 / one.high)
        assert moved.outcome is one.outcome
        assert moved.ratio == pytest.approx(one.ratio)
        assert moved.high == pytest.approx(one.high)
        assert late.outcome is one.outcome
        assert late.high == pytest.approx(one.high)
        assert one.low <= one.ratio <= one.high


@given(st.integers(0, 1000), st.floats(0.001, 0.1), st.floats(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_wider_margin_calls_no_more_changes_and_no_less_the_same(seed, margin, wider):
    cases = draw(np.random.default_rng(seed), 10, 0.01, 0.03, cases=10, kinds=1)
    for narrow, wide in zip(
        answer_cases(cases, margin), answer_cases(cases, margin * wider), strict=True
    ):
        assert not (wide.outcome in CHANGED and narrow.outcome not in CHANGED)
        assert not (narrow.outcome is Outcome.SAME and wide.outcome is not Outcome.SAME)


def test_the_whole_is_said_in_one_word():
    def of(**counts):
        return overall(
            [
                CaseAnswer(outcome=Outcome[name], reason="", launches_a=10, launches_b=10)
                for name, count in counts.items()
                for _ in range(count)
            ]
        )

    assert of(SAME=90, FASTER=5, SLOWER=1) is Outcome.SLOWER
    assert of(SAME=90, FASTER=1) is Outcome.FASTER
    assert of(SAME=9, CANNOT_TELL=1) is Outcome.SAME
    assert of(SAME=89, CANNOT_TELL=11) is Outcome.CANNOT_TELL
    assert of() is Outcome.CANNOT_TELL


@pytest.mark.parametrize("cases", [1, 60, 600])
def test_looking_often_uses_up_no_more_than_the_level(cases):
    """The chance that a case at the margin is ever called changed, by integration."""
    part = 0.01 / (2 * cases)
    width = 9 * math.sqrt(100)
    grid = np.linspace(-width, width, 3001)
    step = grid[1] - grid[0]
    density = norm.pdf(grid / math.sqrt(6)) / math.sqrt(6)
    kernel = norm.pdf(np.arange(-9, 9 + step, step)) * step
    used = 0.0
    for count in range(6, 101):
        if count > 6:
            density = np.convolve(density, kernel, "same")
        beyond = grid > norm.isf(part * share_at(count)) * math.sqrt(count)
        used += density[beyond].sum() * step
        density[beyond] = 0
    # A case at the margin can be called on one side alone, so both parts are for it.
    assert part < used <= 2 * part


def test_variances_that_agree_are_shared_and_others_are_not():
    random = np.random.default_rng(8)
    alike = 0.02**2 * random.chisquare(10, 200) / 10
    degrees = np.full(200, 10.0)
    shared = find_prior(alike, degrees, 200)
    assert shared.degrees > 20
    assert shared.variance == pytest.approx(0.02**2, rel=0.2)
    apart = find_prior(alike * np.exp(random.normal(0, 2, 200)), degrees, 200)
    assert apart.degrees < 2
    assert find_prior(alike, degrees, 1).degrees == 0


def test_launches_that_disturb_all_cases_together_count_as_one_case():
    random = np.random.default_rng(9)
    own = random.standard_normal((40, 20))
    assert count_independent(own) > 25
    assert count_independent(own * 0.05 + random.standard_normal(20)) < 1.5


def in_order(values, begun_s):
    half = values.shape[1] // 2
    return [
        side(
            f"{i}",
            *(launches(row[at], None, begun_s[at]) for at in (slice(half), slice(half, None))),
        )
        for i, row in enumerate(values)
    ]


def test_a_drift_is_no_change():
    random = np.random.default_rng(10)
    begun = 60.0 * np.arange(20)
    values = 0.01 * random.standard_normal((60, 20)) + 0.02 * np.arange(20)
    answers = answer_cases(in_order(values, begun))
    assert {answer.outcome for answer in answers} == {Outcome.CANNOT_TELL}
    assert "drifted" in answers[0].reason
    # Without times nobody can know.
    unknown = answer_cases(in_order(values, np.full(20, math.nan)))
    assert Outcome.SLOWER in {answer.outcome for answer in unknown}


def test_a_step_between_sides_that_stand_still_is_a_change():
    random = np.random.default_rng(11)
    values = 0.01 * random.standard_normal((60, 20))
    values[:, 10:] += 0.1
    answers = answer_cases(in_order(values, 60.0 * np.arange(20)))
    assert sum(answer.outcome is Outcome.SLOWER for answer in answers) >= 55


def test_the_launches_that_are_needed_are_enough_and_no_fewer():
    needed = launches_to_see(0.05, 0.02, 60)
    assert seen_change(needed, 0.02, 60) <= math.log(1.05) < seen_change(needed - 1, 0.02, 60)
    assert launches_to_see(0.25, 0.02, 60) < needed < launches_to_see(0.05, 0.04, 60)
    assert launches_to_see(0.05, 0.02, 6) <= needed
    assert launches_to_see(0.009, 0.02, 60) is None
    words_there = words(np.random.default_rng(12), 10, needed, 0.02, 0.05, kinds=60)
    assert words_there[Outcome.SLOWER] >= 0.85


def test_what_says_least_would_have_been_seen():
    random = np.random.default_rng(13)
    answers = answer_cases(draw(random, 10, 0.02))
    least = float(np.median([answer.least_change for answer in answers]))
    assert words(random, 10, 10, 0.02, least - 1)[Outcome.SLOWER] == pytest.approx(0.9, abs=0.07)


def test_an_outlier_widens_its_own_interval_alone():
    cases = draw(np.random.default_rng(14), 10, 0.01, kinds=1)
    before = answer_cases(cases)
    cases[3].b.log_s[0] += 1.0
    after = answer_cases(cases)
    assert after[3].high > 1.5 * before[3].high
    assert after[4].high == pytest.approx(before[4].high, rel=0.03)
