"""A crossover: who runs when, and what is left of drift and of pairs that differ."""

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.records import Case, Job, Stage
from bench.judge.compare.crossover import Balanced, Crossed, balance
from bench.run.ab.crossover import Crossover, plan_crossover, why_not_crossed

seeds = st.integers(0, 10**6)
host_counts = st.integers(4, 17)


def names(count: int) -> list[str]:
    return [f"h{number}" for number in range(1, count + 1)]


def jobs_of(*ranks: int) -> list[Job]:
    case = Case("latency", "latency", {})
    return [Job(f"j{n}", Stage.TARGET, 0, n, 1, (case,)) for n in ranks]


@given(host_counts, st.integers(1, 6), seeds)
def test_every_pair_runs_both_sides_in_periods_that_follow_and_no_two_jobs_share_a_host(
    count: int, rounds: int, seed: int
) -> None:
    plan = plan_crossover(names(count), rounds, seed)
    assert len(plan.pairs) == count // 2
    assert len(plan.left_out) == count % 2
    everyone = [*itertools.chain(*plan.pairs), *plan.left_out]
    assert sorted(everyone) == sorted(names(count))
    assert [launch.period for launch in plan.launches] == sorted(
        launch.period for launch in plan.launches
    )
    for period in range(2 * rounds):
        now = [launch for launch in plan.launches if launch.period == period]
        busy = Counter(itertools.chain(*(launch.hosts for launch in now)))
        assert set(busy.values()) == {1}
        assert len(now) == len(plan.pairs)
        sides = Counter(launch.side for launch in now)
        assert abs(sides["a"] - sides["b"]) <= 1
    for pair, number in itertools.product(plan.pairs, range(rounds)):
        own = [
            launch
            for launch in plan.launches
            if launch.hosts == pair and launch.period // 2 == number
        ]
        assert sorted(launch.side for launch in own) == ["a", "b"]
        assert {launch.period % 2 for launch in own} == {0, 1}
        assert len({(launch.launch, launch.block) for launch in own}) == 1
    for side in "ab":
        numbers = [launch.launch for launch in plan.launches if launch.side == side]
        assert sorted(numbers) == list(range(rounds * len(plan.pairs)))


@given(host_counts, seeds)
def test_more_rounds_change_nothing_that_was_planned_before(count: int, seed: int) -> None:
    short, long = (plan_crossover(names(count), rounds, seed) for rounds in (2, 5))
    assert long.launches[: len(short.launches)] == short.launches
    assert long.pairs == short.pairs


def test_the_seed_draws_pairs_and_who_begins() -> None:
    plans = [plan_crossover(names(8), 3, seed) for seed in range(20)]
    assert plans[0] == plan_crossover(names(8), 3, 0)
    assert len({plan.pairs for plan in plans}) > 10
    begins = Counter(
        (launch.hosts, launch.side)
        for launch in plan_crossover(names(8), 200, 1).launches
        if launch.period % 2 == 0
    )
    assert len(begins) == 8
    assert all(70 < count < 130 for count in begins.values())


def test_what_cannot_cross_over_says_why() -> None:
    assert why_not_crossed(jobs_of(1, 2), names(4)) is None
    assert "there are 3" in (why_not_crossed(jobs_of(2), names(3)) or "")
    assert "takes four hosts" in (why_not_crossed(jobs_of(2), ["h1"] * 4) or "")
    assert "4 nodes" in (why_not_crossed(jobs_of(2, 8), names(4)) or "")


Truth = Callable[[str, tuple[str, str], int], float]


def measure(plan: Crossover, truth: Truth, lost: frozenset[int] = frozenset()) -> Balanced:
    """Return the blocks of a crossover in which each launch took what `truth` says.

    Args:
        truth: log seconds from side, pair and period.
        lost: places in the plan of launches that have no time.
    """

    def side(name: str) -> Crossed:
        own = [
            launch
            for place, launch in enumerate(plan.launches)
            if launch.side == name and place not in lost
        ]
        return Crossed(
            log_s=np.array([truth(name, launch.hosts, launch.period) for launch in own], float),
            block=np.array([launch.block for launch in own], np.int64),
            period=np.array([launch.period for launch in own], np.int64),
            pair=np.array([plan.pairs.index(launch.hosts) for launch in own], np.int64),
            begun_s=np.array([60.0 * launch.period for launch in own], float),
        )

    return balance(side("a"), side("b"))


@given(host_counts, st.integers(1, 5), seeds, st.floats(-1, 1))
def test_pairs_and_drift_leave_nothing_in_any_block(
    count: int, rounds: int, seed: int, gain: float
) -> None:
    plan = plan_crossover(names(count), rounds, seed)
    draw = np.random.default_rng(seed)
    level = dict(zip(plan.pairs, draw.normal(0, 1, len(plan.pairs)), strict=True))
    drift = draw.normal(0, 1, 2 * rounds)
    found = measure(
        plan, lambda side, pair, period: level[pair] + drift[period] + gain * (side == "b")
    )
    assert found.incomplete == 0
    assert len(found.a.log_s) == rounds * (count // 4)
    assert found.a.block.tolist() == found.b.block.tolist()
    assert found.b.log_s - found.a.log_s == pytest.approx(np.full(len(found.a.block), gain))


@given(host_counts, seeds, st.data())
def test_lost_launches_cost_their_blocks_and_bend_no_other(
    count: int, seed: int, data: st.DataObject
) -> None:
    plan = plan_crossover(names(count), 4, seed)
    places = st.integers(0, len(plan.launches) - 1)
    lost = data.draw(st.frozensets(places, max_size=len(plan.launches)))
    found = measure(
        plan,
        lambda side, pair, period: plan.pairs.index(pair) + period**2 + 0.05 * (side == "b"),
        lost,
    )
    assert found.b.log_s - found.a.log_s == pytest.approx(np.full(len(found.a.block), 0.05))
    blocks = {launch.block for place, launch in enumerate(plan.launches) if place not in lost}
    assert len(found.a.block) + found.incomplete == len(blocks)
    whole = {launch.block for launch in plan.launches} - {
        launch.block for place, launch in enumerate(plan.launches) if place in lost
    }
    assert whole <= set(found.a.block.tolist())
