"""A crossover: who runs when, and what is left of drift and of pairs that differ."""

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import t

from bench.core.records import Case, Job, Stage
from bench.core.verdict import Outcome
from bench.judge.compare.answer import answer_cases
from bench.judge.compare.crossover import CrossedDifference, compare_crossed
from bench.judge.compare.records import Aspect, CaseSides, Launches
from bench.run.ab.crossover import (
    MOST_PAIRS,
    cross_over,
    draw_pairs,
    why_not_crossed,
)
from bench.store.ab import Slot

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
designs = pytest.importorskip("comparekit.designs")

seeds = st.integers(0, 10**6)
host_counts = st.integers(4, 13)


def names(count: int) -> list[str]:
    return [f"h{number}" for number in range(1, count + 1)]


def plan(hosts: int, launches: int, seed: int) -> list[Slot]:
    return cross_over(seed, draw_pairs(names(hosts), seed), launches)


@given(host_counts, seeds)
def test_no_two_pairs_share_a_host(count: int, seed: int) -> None:
    pairs = draw_pairs(names(count), seed)
    assert len(pairs) == min(count // 2, MOST_PAIRS)
    assert max(Counter(itertools.chain(*pairs)).values()) == 1
    assert set(itertools.chain(*pairs)) <= set(names(count))
    assert pairs == draw_pairs(names(count), seed)


@given(host_counts, st.integers(1, 9), seeds)
def test_at_every_moment_one_pair_runs_a_and_another_one_b_and_then_they_change(
    count: int, twice: int, seed: int
) -> None:
    moments = itertools.groupby(plan(count, 2 * twice, seed), lambda slot: slot.period)
    by_moment = [{slot.side: slot for slot in slots} for _, slots in moments]
    assert len(by_moment) == 2 * twice
    for now in by_moment:
        assert set(now) == {"a", "b"}
        assert not set(now["a"].hosts) & set(now["b"].hosts)
        assert (now["a"].launch, now["a"].block) == (now["b"].launch, now["b"].block)
    for before, after in zip(by_moment[::2], by_moment[1::2], strict=True):
        assert before["a"].hosts == after["b"].hosts
        assert before["b"].hosts == after["a"].hosts
    assert [now["a"].launch for now in by_moment] == list(range(2 * twice))
    turns = Counter(now["a"].hosts for now in by_moment)
    every = [turns[pair] for pair in draw_pairs(names(count), seed)]
    assert max(every) - min(every) <= 1


@given(host_counts, st.integers(0, 9), st.integers(0, 9), seeds)
def test_more_launches_change_nothing_that_was_planned_before(
    count: int, first: int, more: int, seed: int
) -> None:
    pairs = draw_pairs(names(count), seed)
    early = cross_over(seed, pairs, first)
    assert early + cross_over(seed, pairs, first + more, first) == plan(count, first + more, seed)


def test_the_seed_draws_pairs_and_who_begins_with_a() -> None:
    assert len({draw_pairs(names(8), seed) for seed in range(30)}) > 15
    begins = Counter(slot.hosts for slot in plan(4, 800, 1) if slot.side == "a")
    first = Counter(
        slot.hosts for slot in plan(4, 800, 1) if slot.side == "a" and slot.launch % 2 == 0
    )
    assert set(begins.values()) == {400}
    assert all(150 < count < 250 for count in first.values())


def jobs_of(*ranks: int) -> list[Job]:
    case = Case("latency", "latency", {})
    return [Job(f"j{n}", Stage.TARGET, 0, n, 1, (case,)) for n in ranks]


def test_what_cannot_cross_over_says_why() -> None:
    assert why_not_crossed(jobs_of(1, 2), names(4)) is None
    assert "there are 3" in (why_not_crossed(jobs_of(2), names(3)) or "")
    assert "four hosts or more" in (why_not_crossed(jobs_of(2), ["h1"] * 4) or "")
    assert "4 nodes" in (why_not_crossed(jobs_of(2, 8), names(4)) or "")


def compare(slots: list[Slot], log_s: Callable[[Slot], float]) -> CrossedDifference | None:
    """Return what comes of a crossover in which each launch took what `log_s` says."""
    return compare_crossed(*measure(slots, log_s))


def measure(slots: list[Slot], log_s: Callable[[Slot], float]) -> tuple[Launches, Launches]:
    """Return the launches of both sides where each took what `log_s` says."""
    pairs = sorted({slot.hosts for slot in slots})
    sides = []
    for side in "ab":
        own = [slot for slot in slots if slot.side == side]
        launches = Launches(
            log_s=np.array([log_s(slot) for slot in own], float),
            block=np.array([slot.block for slot in own], np.int64),
            begun_s=np.array([60.0 * (slot.period or 0) for slot in own], float),
            pair=np.array([pairs.index(slot.hosts) for slot in own], np.int64),
        )
        sides.append(launches)
    return sides[0], sides[1]


@given(host_counts, st.integers(6, 20), seeds, st.floats(-1, 1), st.data())
def test_neither_drift_nor_pairs_nor_lost_launches_bend_the_difference(
    count: int, launches: int, seed: int, gain: float, data: st.DataObject
) -> None:
    slots = plan(count, launches, seed)
    draw = np.random.default_rng(seed)
    level: dict[tuple[str, ...], float] = {slot.hosts: draw.normal() for slot in slots}
    drift = draw.normal(0, 1, launches)
    lost = data.draw(st.frozensets(st.integers(0, len(slots) - 1), max_size=3))
    left = [slot for place, slot in enumerate(slots) if place not in lost]
    found = compare(
        left, lambda slot: level[slot.hosts] + drift[slot.launch] + gain * (slot.side == "b")
    )
    assume(found is not None)
    assert found is not None
    assert found.log_ratio == pytest.approx(gain, abs=1e-9)
    assert found.variance == pytest.approx(0, abs=1e-12)


def test_a_side_that_always_had_the_same_pair_is_not_told_from_it() -> None:
    slots = [
        Slot(side=side, launch=launch, block=launch, period=launch, hosts=hosts)
        for launch in range(10)
        for side, hosts in (("a", ("h1", "h2")), ("b", ("h3", "h4")))
    ]
    assert compare(slots, lambda slot: float(slot.side == "b")) is None


def test_the_interval_of_two_pairs_is_that_of_students_t_on_the_moments() -> None:
    """Ten moments know the difference, the step between the pairs, and eight times the scatter."""
    draw = np.random.default_rng(1)
    noise = dict(enumerate(draw.normal(0, 0.01, 20)))
    slots = plan(4, 10, 1)
    at = {(slot.side, slot.launch): place for place, slot in enumerate(slots)}
    found = compare(slots, lambda slot: noise[at[slot.side, slot.launch]])
    assert found is not None
    assert found.degrees == 8
    assert found.unit == pytest.approx(2 / 10)
    moments = [noise[at["b", launch]] - noise[at["a", launch]] for launch in range(10)]
    assert found.log_ratio == pytest.approx(np.mean(moments))


@pytest.mark.parametrize("hosts", [4, 6, 8])
def test_intervals_under_drift_hold_the_truth_as_often_as_they_say(hosts: int) -> None:
    draw, trials = np.random.default_rng(7), 400
    inside = sum(holds_the_truth(plan(hosts, 12, seed), draw) for seed in range(trials))
    assert 0.92 < inside / trials < 0.98


def holds_the_truth(slots: list[Slot], draw: np.random.Generator) -> bool:
    """Return whether 95 % intervals of 5 % hold it, where all swings and steps by a fifth."""
    level: dict[tuple[str, ...], float] = {slot.hosts: draw.normal(0, 0.1) for slot in slots}
    swing = 0.2 * np.sin(2 * np.pi * (np.arange(12) / 4 + draw.random()))
    swing[6:] += 0.2

    def log_s(slot: Slot) -> float:
        common = level[slot.hosts] + swing[slot.launch] + 0.05 * (slot.side == "b")
        return float(common + draw.normal(0, 0.02))

    found = compare(slots, log_s)
    assert found is not None
    half = t.ppf(0.975, found.degrees) * np.sqrt(found.variance * found.unit)
    return bool(abs(found.log_ratio - 0.05) < half)


def test_under_a_sine_and_a_step_the_crossover_is_narrowest_and_right() -> None:
    draw, trials = np.random.default_rng(3), 200
    answers = []
    for trial in range(trials):
        log_s, b_on = designs.simulate(draw, 10, 0.01)
        orders = designs.cross(log_s, b_on), designs.interleave(log_s, trial), designs.follow(log_s)
        answers.append(orders)
    crossed, plain, after = np.median([[one.half for one in orders] for orders in answers], axis=0)
    assert crossed < plain / 3 < plain < after
    assert 0.91 < np.mean([orders[0].holds(0) for orders in answers]) < 0.985
    # A step between A and B is called a difference of theirs.
    assert np.mean([orders[2].holds(0) for orders in answers]) < 0.91


def test_the_answer_of_a_comparison_is_that_of_its_crossover() -> None:
    """Ten launches a side show 5 % where all of them swing and step by a fifth."""
    draw = np.random.default_rng(5)
    slots = plan(4, 10, 5)
    swing = 0.2 * np.sin(np.pi / 2 * np.arange(10)) + 0.2 * (np.arange(10) >= 5)

    def log_s(slot: Slot) -> float:
        gain = 0.05 * (slot.side == "b")
        return float(swing[slot.launch] + gain + draw.normal(0, 0.003))

    a, b = measure(slots, log_s)
    crossed = CaseSides("bandwidth", None, Aspect.LEVEL, "bandwidth", a, b)
    parted = crossed._replace(a=a._replace(pair=None), b=b._replace(pair=None))
    alone = crossed._replace(a=apart(a), b=apart(b))
    answers = [answer_cases([case])[0] for case in (crossed, parted, alone)]
    assert [answer.outcome for answer in answers] == [
        Outcome.SLOWER,
        Outcome.CANNOT_TELL,
        Outcome.CANNOT_TELL,
    ]
    assert answers[0].ratio == pytest.approx(np.exp(0.05), rel=0.005)


def apart(launches: Launches) -> Launches:
    """Return launches of which nobody knows what they share with others."""
    return launches._replace(pair=None, block=np.zeros_like(launches.block))
