"""Warm-up, loops and the stopping rule, in worlds whose times are known and pass in no time."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contracts import Seconds
from bench.core.limits import LEAST_SAMPLES, LEAST_WARMUPS
from bench.core.orderstats import relative_half_width
from bench.core.records import Sampling
from bench.rank.timing.sampling import (
    CHECKPOINTS,
    LEAST_SAMPLE_S,
    LEAST_WARMUPS_SHORT,
    MOST_LOOPS,
    Sampled,
    sample,
)

RULE = Sampling(cap_s=1000.0, warmup_s=0.05, warmup_cap_s=2.0)


class World:
    """A clock that moves only while an operation runs.

    Args:
        duration: seconds of the next operation, from the number of operations so far and the time.
    """

    def __init__(self, duration: Callable[[int, float], float]) -> None:
        self.now = 0.0
        self.operations = 0
        self.calls: list[tuple[int, int]] = []
        """Samples and loops of every call, as the measured program would see them."""
        self.began: list[float] = []
        self._duration = duration

    def clock(self) -> float:
        return self.now

    def run(self, seconds: Seconds, loops: int) -> None:
        self.calls.append((len(seconds), loops))
        self.began.append(self.now)
        for i in range(len(seconds)):
            seconds[i] = self._duration(self.operations, self.now)
            self.now += seconds[i] * loops
            self.operations += loops


def alone(value: Any) -> Any:
    return value


def sampled(world: World, rule: Sampling = RULE, tolerance: float = 0.02) -> Sampled:
    return sample(world.run, alone, rule, tolerance, world.clock)


def steady(seconds: float) -> World:
    return World(lambda _operations, _now: seconds)


def noisy(seconds: float, sigma: float, seed: int = 1) -> World:
    random = np.random.default_rng(seed)
    return World(lambda _operations, _now: seconds * math.exp(sigma * random.standard_normal()))


def first_block(world: World) -> int:
    """Return which call took the first samples: the first one of several at once."""
    return next(i for i, (samples, _) in enumerate(world.calls) if samples == LEAST_SAMPLES)


# Warm-up.


@pytest.mark.parametrize("seconds", [1e-7, 1e-6, 1.9e-5])
def test_short_operations_warm_up_over_a_hundred_calls_and_the_least_time(seconds):
    world = steady(seconds)
    warmups = sampled(world).warmups
    assert warmups >= LEAST_WARMUPS_SHORT
    assert warmups * seconds >= RULE.warmup_s


@pytest.mark.parametrize("seconds", [1e-4, 4e-3, 0.1, 0.19])
def test_longer_operations_warm_up_over_ten_calls_and_the_least_time(seconds):
    world = steady(seconds)
    warmups = sampled(world).warmups
    assert warmups >= LEAST_WARMUPS
    assert warmups * seconds >= RULE.warmup_s


def test_the_least_number_of_calls_holds_where_the_least_time_is_over_at_once():
    hasty = Sampling(warmup_s=1e-6, warmup_cap_s=60.0)
    assert LEAST_WARMUPS_SHORT <= sampled(steady(1.9e-5), hasty).warmups < 2 * LEAST_WARMUPS_SHORT
    assert LEAST_WARMUPS <= sampled(steady(2.1e-5), hasty).warmups < 2 * LEAST_WARMUPS


def test_very_long_operations_warm_up_no_longer_than_the_cap():
    assert sampled(steady(1.5)).warmups == 2


def test_the_warm_up_of_a_steady_world_ends_soon_after_the_least_time():
    world = steady(1e-6)
    sampled(world)
    assert world.began[first_block(world)] <= 1.2 * RULE.warmup_s


def test_samples_begin_only_when_times_no_longer_drift():
    # Clocks ramp up over half a second, from three times the final time.
    world = World(lambda _operations, now: 1e-5 * max(1.0, 3 - 4 * now))
    taken = sampled(world)
    assert world.began[first_block(world)] >= 0.5
    assert np.all(taken.seconds == 1e-5)


def test_a_drift_without_end_is_cut_off_at_the_cap():
    world = World(lambda _operations, now: 1e-5 * (1 + 5 * now))
    sampled(world)
    assert 2.0 <= world.began[first_block(world)] <= 2.2


def test_warm_up_operations_are_no_samples():
    world = World(lambda operations, _now: 1.0 if operations < LEAST_WARMUPS else 1e-3)
    taken = sampled(world, Sampling(cap_s=1.0, warmup_s=0.05, warmup_cap_s=60.0))
    assert taken.seconds.max() == 1e-3


# Loops of one sample.


@given(st.floats(-9.9, 0.3).map(lambda power: 10**power))
def test_a_sample_lasts_at_least_20_us_and_its_loops_are_the_least_power_of_two(seconds):
    world = steady(seconds)
    loops = sampled(world, Sampling(cap_s=1.0)).loops
    assert loops & (loops - 1) == 0
    assert loops * seconds >= LEAST_SAMPLE_S * (1 - 1e-9)
    assert loops == 1 or loops / 2 * seconds < LEAST_SAMPLE_S
    assert loops <= MOST_LOOPS


def test_every_sample_of_a_case_has_the_same_loops():
    world = noisy(1e-6, 0.8)
    taken = sampled(world)
    start = first_block(world)
    assert {loops for _, loops in world.calls[start:]} == {taken.loops}
    assert sum(samples for samples, _ in world.calls[start:]) == len(taken.seconds)


# When to stop.


def test_a_steady_world_is_known_at_the_first_checkpoint():
    taken = sampled(steady(1e-4))
    assert len(taken.seconds) == CHECKPOINTS[0]
    assert taken.converged


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1, 0.15])
@pytest.mark.parametrize("seed", range(4))
def test_a_noisy_world_stops_at_a_checkpoint_where_its_interval_is_narrow_enough(sigma, seed):
    taken = sampled(noisy(1e-4, sigma, seed))
    count = len(taken.seconds)
    assert count in CHECKPOINTS
    narrow = [c for c in CHECKPOINTS if relative_half_width(taken.seconds[:c]) <= 0.02]
    if taken.converged:
        assert narrow[0] == count
    else:
        assert count == CHECKPOINTS[-1]
        assert not [c for c in narrow if c <= count]


def test_more_noise_takes_more_samples():
    counts = [len(sampled(noisy(1e-4, sigma)).seconds) for sigma in (0.01, 0.08, 0.15, 0.6)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (CHECKPOINTS[0], CHECKPOINTS[-1])


def test_a_world_of_two_modes_never_converges_and_says_so():
    world = World(lambda operations, _now: 1e-4 if operations // 7 % 2 else 4e-4)
    taken = sampled(world)
    assert len(taken.seconds) == CHECKPOINTS[-1]
    assert not taken.converged


def test_a_lucky_streak_before_the_first_checkpoint_ends_nothing():
    random = np.random.default_rng(5)
    streak = iter([1e-4] * 12)

    def duration(_operations: int, _now: float) -> float:
        if world.calls[-1][0] == 1:  # still warming up
            return 1e-4
        return next(streak, 1e-4 * (1 + random.random()))

    world = World(duration)
    taken = sampled(world, tolerance=0.01)
    assert np.ptp(taken.seconds[:12]) == 0
    assert len(taken.seconds) > CHECKPOINTS[0]


def test_the_cap_wins_over_the_least_number_of_samples_after_five():
    world = steady(10.0)
    taken = sampled(world, Sampling(cap_s=2.0))
    assert len(taken.seconds) == LEAST_SAMPLES == 6
    assert not taken.converged


@pytest.mark.parametrize(("seconds", "at_once"), [(0.9, LEAST_SAMPLES), (1.1, 1), (20.0, 1)])
def test_between_two_long_samples_there_is_time_for_a_sign_of_life(seconds, at_once):
    world = steady(seconds)
    taken = sampled(world, Sampling(cap_s=2.0, warmup_s=0.01, warmup_cap_s=0.5))
    assert len(taken.seconds) == LEAST_SAMPLES
    assert max(samples for samples, _ in world.calls) == at_once


@given(st.floats(1e-3, 5.0), st.floats(0.1, 20.0))
def test_sampling_ends_at_the_cap_give_or_take_one_sample(seconds, cap_s):
    # No interval is narrower than this: only the cap or the last checkpoint can end it.
    taken = sampled(steady(seconds), Sampling(cap_s=cap_s), tolerance=-1.0)
    spent = seconds * len(taken.seconds)
    if len(taken.seconds) > LEAST_SAMPLES:
        assert spent < cap_s + seconds * (1 + 1e-9)
    if len(taken.seconds) < CHECKPOINTS[-1]:
        assert spent >= cap_s * (1 - 1e-9)


def test_a_case_cut_off_by_the_cap_has_not_converged_even_where_it_is_narrow():
    taken = sampled(steady(0.1), Sampling(cap_s=1.0))
    assert LEAST_SAMPLES <= len(taken.seconds) < CHECKPOINTS[0]
    assert not taken.converged


def test_every_sample_is_kept_as_it_was_measured():
    spikes = World(lambda operations, _now: 1e-3 if operations % 50 == 0 else 1e-4)
    given: list[float] = []

    def run(seconds: Seconds, loops: int) -> None:
        spikes.run(seconds, loops)
        given.extend(seconds.tolist())

    taken = sample(run, alone, RULE, 1e-9, spikes.clock)
    assert taken.seconds.tolist() == given[-len(taken.seconds) :]
    assert taken.seconds.max() == 1e-3


# Several ranks.


class Decisions:
    """What rank 0 broadcasts, kept for the ranks that come after it."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def make(self, value: Any) -> Any:
        self.made.append(value)
        return value

    def follow(self) -> Callable[[Any], Any]:
        left = iter(self.made)
        return lambda _mine: next(left)


@given(st.integers(0, 50), st.floats(-7, -2), st.floats(-7, -2))
def test_ranks_with_other_times_and_clocks_run_what_rank_0_decides(seed, here, there):
    decisions = Decisions()
    rank0 = noisy(10**here, 0.2, seed)
    rank1 = noisy(10**there, 0.6, seed + 1)
    rank1.now = 12_345.0
    rule = Sampling(cap_s=1.0)
    first = sample(rank0.run, decisions.make, rule, 0.02, rank0.clock)
    second = sample(rank1.run, decisions.follow(), rule, 0.02, rank1.clock)
    assert rank0.calls == rank1.calls
    assert (first.loops, first.warmups, first.converged) == (
        second.loops,
        second.warmups,
        second.converged,
    )
    assert len(first.seconds) == len(second.seconds)


def test_a_decision_is_broadcast_between_any_two_timed_regions():
    decisions = Decisions()
    world = noisy(1e-5, 0.1)
    calls_at: list[int] = []

    def broadcast(value: Any) -> Any:
        calls_at.append(len(world.calls))
        return decisions.make(value)

    sample(world.run, broadcast, Sampling(cap_s=0.5), 0.02, world.clock)
    assert all(b - a <= 1 for a, b in pairwise(calls_at))
