"""Order statistics: exact ranks, honest coverage, and nothing assumed of the distribution."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.orderstats import (
    CONFIDENCE,
    EXACT_BELOW,
    LEAST_FOR_INTERVAL,
    count_outliers,
    median_interval,
    relative_half_width,
)

times = st.floats(1e-9, 1e3)


def ranks(n: int) -> tuple[int, int]:
    """Return the 1-based places of the interval's ends among n sorted samples."""
    interval = median_interval([float(i) for i in range(1, n + 1)])
    assert interval is not None
    return int(interval[0]), int(interval[1])


@pytest.mark.parametrize("n", range(6))
def test_fewer_than_six_samples_have_no_interval(n):
    assert median_interval([1.0] * n) is None
    if n:
        assert relative_half_width(np.ones(n)) == math.inf


# The narrowest symmetric places whose binomial probability (p = 1/2) is at least 95 %.
@pytest.mark.parametrize(
    ("n", "places"),
    [
        (6, (1, 6)),
        (8, (1, 8)),
        (9, (2, 8)),
        (10, (2, 9)),
        (12, (3, 10)),
        (15, (4, 12)),
        (20, (6, 15)),
        (25, (8, 18)),
        (30, (10, 21)),
    ],
)
def test_the_ends_are_at_the_exact_binomial_places(n, places):
    assert ranks(n) == places


def coverage(n: int, low: int, high: int) -> float:
    """Return the probability that the median lies between two 1-based places of n samples."""
    return sum(math.comb(n, i) for i in range(low, high)) / 2**n


@pytest.mark.parametrize("n", [*range(LEAST_FOR_INTERVAL, EXACT_BELOW + 10), 60, 120, 240, 400])
def test_the_interval_covers_what_it_promises_and_is_symmetric(n):
    low, high = ranks(n)
    assert low + high == n + 1
    assert coverage(n, low, high) >= CONFIDENCE
    # No place could be given away, or for the approximation at most one on either side.
    spare = 1 if n < EXACT_BELOW else 2
    assert coverage(n, low + spare, high - spare) < CONFIDENCE


@pytest.mark.parametrize("n", [6, 10, 30, 60, 120])
def test_the_median_of_a_skewed_world_is_inside_as_often_as_promised(n):
    random = np.random.default_rng(20260101)
    # Latencies with a tail and now and then another mode: the shape that launches show.
    samples = random.lognormal(0, 0.5, (4000, n))
    samples[random.random((4000, n)) < 0.1] += 2.5
    world = random.lognormal(0, 0.5, 4_000_000)
    world[random.random(4_000_000) < 0.1] += 2.5
    truth = np.median(world)
    inside = sum(low <= truth <= high for low, high in map(median_interval, np.sort(samples)))
    # Three standard errors below the promise would be chance once in 700.
    assert inside / 4000 >= CONFIDENCE - 3 * math.sqrt(0.05 * 0.95 / 4000)


@given(st.lists(times, min_size=6, max_size=120))
def test_the_interval_holds_the_median_and_lies_within_the_samples(samples):
    ordered = sorted(samples)
    interval = median_interval(ordered)
    assert interval is not None
    assert ordered[0] <= interval[0] <= float(np.median(ordered)) <= interval[1] <= ordered[-1]


@given(st.lists(times, min_size=6, max_size=60), st.floats(0.1, 10))
def test_a_larger_sample_value_never_lowers_an_end_of_the_interval(samples, factor):
    low, high = median_interval(sorted(samples)) or (0.0, 0.0)
    raised = [*samples]
    raised[0] += factor
    raised_low, raised_high = median_interval(sorted(raised)) or (0.0, 0.0)
    assert raised_low >= low
    assert raised_high >= high


def test_more_samples_never_widen_the_interval_in_ranks_relative_to_their_number():
    widths = [(high - low) / n for n in range(10, 400, 10) for low, high in [ranks(n)]]
    assert widths[-1] < widths[0] / 4
    assert max(b - a for a, b in itertools.pairwise(widths)) < 0.06


@given(st.lists(times, min_size=6, max_size=60), st.sampled_from([0.5, 2.0, 1024.0]))
def test_the_relative_width_knows_no_unit(samples, scale):
    width = relative_half_width(np.array(samples))
    assert relative_half_width(np.array(samples) * scale) == pytest.approx(width)
    assert width >= 0


def test_the_relative_width_is_half_the_interval_over_the_median():
    # Ten samples: places 2 and 9 hold 2 and 9, the median is 5.5.
    assert relative_half_width(np.arange(1.0, 11.0)) == pytest.approx((9 - 2) / 2 / 5.5)


def test_samples_far_from_the_median_are_counted_and_never_removed():
    samples = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 50.0])
    kept = samples.copy()
    assert count_outliers(samples) == 1
    assert np.array_equal(samples, kept)


def test_ordinary_noise_has_no_outliers():
    assert count_outliers(np.linspace(0.95, 1.05, 100)) == 0
    assert count_outliers(np.ones(30)) == 0
