"""The latency-bandwidth curve: known truths come back, jumps are found, nothing is negative."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.link import MOST_SEGMENTS, Segment, Segments, fit_segments

SIZES = [float(2**power) for power in range(0, 25, 3)]  # 1 B to 16 MiB, nine sizes
MANY = [float(2**power) for power in range(25)]


def noise(count: int, sigma: float, seed: int) -> list[float]:
    return np.exp(sigma * np.random.default_rng(seed).standard_normal(count)).tolist()


def measure(
    sizes: list[float], alpha_s: float, rate: float, sigma: float = 0.0, seed: int = 0
) -> list[float]:
    """Return times of a link of one latency and one rate, with relative noise."""
    factors = noise(len(sizes), sigma, seed)
    return [(alpha_s + m / rate) * f for m, f in zip(sizes, factors, strict=True)]


@pytest.mark.parametrize("alpha_s", [1e-7, 2e-6, 5e-5])
@pytest.mark.parametrize("rate", [1e9, 12.5e9, 2e11])
def test_latency_and_rate_come_back_exactly_from_a_link_without_noise(alpha_s, rate):
    curve = fit_segments(SIZES, measure(SIZES, alpha_s, rate))
    assert len(curve.segments) == 1
    assert curve.segments[0].alpha_s == pytest.approx(alpha_s, rel=1e-6)
    assert 1 / curve.segments[0].s_per_byte == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sizes", [SIZES, MANY])
def test_latency_and_rate_come_back_through_two_percent_of_noise(sizes, seed):
    curve = fit_segments(sizes, measure(sizes, 1.2e-6, 11e9, 0.02, seed))
    assert curve.segments[0].alpha_s == pytest.approx(1.2e-6, rel=0.04)
    assert 1 / curve.segments[-1].s_per_byte == pytest.approx(11e9, rel=0.04)
    assert curve.seconds(1.0) == pytest.approx(1.2e-6, rel=0.04)
    assert curve.seconds(2.0**30) == pytest.approx(2.0**30 / 11e9, rel=0.05)


def test_noise_alone_makes_no_further_segment():
    alone = [
        len(fit_segments(MANY, measure(MANY, 1e-6, 1e10, 0.01, seed)).segments)
        for seed in range(20)
    ]
    assert alone.count(1) >= 18


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("at", [2.0**10, 2.0**13, 2.0**18])
def test_a_protocol_switch_is_found_where_it_is(at, seed):
    factors = noise(len(MANY), 0.01, seed)
    seconds = [
        ((4e-7 + m / 4e9) if m < at else (3e-6 + m / 12e9)) * f
        for m, f in zip(MANY, factors, strict=True)
    ]
    curve = fit_segments(MANY, seconds)
    ends = [segment.high for segment in curve.segments[:-1]]
    assert any(at / 2 < end < at for end in ends)
    for m, measured in zip(MANY, seconds, strict=True):
        assert curve.seconds(m) == pytest.approx(measured, rel=0.06)


def test_a_cost_that_falls_at_a_switch_is_followed_down():
    # 256 KiB in 93 us and 512 KiB in 68 us: a larger message may be faster.
    seconds = [3e-6 + m / 3e9 if m < 2**19 else 2e-5 + m / 11e9 for m in MANY]
    curve = fit_segments(MANY, seconds)
    assert curve.seconds(2.0**19) < curve.seconds(2.0**18)


def test_the_smallest_message_counts_as_much_as_the_largest():
    # Absolute residuals would be ruled by 16 MiB and leave latency wrong by any factor.
    seconds = measure(SIZES, 1e-7, 1e9)
    seconds[-1] *= 1.1
    assert fit_segments(SIZES, seconds).seconds(1.0) == pytest.approx(1e-7, rel=0.05)


def test_a_constant_time_has_a_latency_and_no_rate():
    curve = fit_segments(SIZES, [1e-6] * len(SIZES))
    assert curve.segments[0].alpha_s == pytest.approx(1e-6)
    assert curve.segments[0].s_per_byte == 0
    assert "B/s" not in curve.formula


def test_times_that_fall_with_size_give_no_negative_rate():
    curve = fit_segments([1.0, 1024.0], [2e-6, 1e-6])
    assert curve.segments[0].s_per_byte == 0
    assert 1e-6 < curve.seconds(512.0) < 2e-6


def test_a_line_through_the_origin_has_no_negative_latency():
    curve = fit_segments([1.0, 1000.0], [1e-12, 2e-6])
    assert all(segment.alpha_s >= 0 for segment in curve.segments)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_sizes_are_no_line(count):
    with pytest.raises(ValueError, match="a line needs 2"):
        fit_segments(SIZES[:count], [1e-6] * count)


def test_two_sizes_are_a_line_through_both():
    curve = fit_segments([8.0, 2.0**20], [1e-6, 1e-4])
    assert curve.seconds(8.0) == pytest.approx(1e-6)
    assert curve.seconds(2.0**20) == pytest.approx(1e-4)


def test_the_formula_names_latency_rate_and_where_a_segment_ends():
    curve = Segments(
        (Segment(0.0, 8192.0, 4e-7, 1 / 4e9), Segment(8192.0, math.inf, 3e-6, 1 / 12e9))
    )
    assert curve.formula == (
        "t = 400 ns + m / (4.00 GB/s) up to 8 KiB; t = 3.00 µs + m / (12.0 GB/s)"
    )
    assert curve.parameters == (8192.0, 4e-7, 1 / 4e9, math.inf, 3e-6, 1 / 12e9)


def test_an_end_belongs_to_the_segment_before_it():
    curve = Segments((Segment(0.0, 10.0, 1.0, 0.0), Segment(10.0, math.inf, 2.0, 0.0)))
    assert [curve.seconds(size) for size in (9.99, 10.0, 10.01)] == [1.0, 1.0, 2.0]


points = st.lists(
    st.tuples(st.integers(1, 2**31), st.floats(1e-9, 1e3)),
    min_size=2,
    max_size=10,
    unique_by=lambda point: point[0],
).map(sorted)


@given(points)
def test_whatever_was_measured_no_latency_rate_or_time_is_negative(measured):
    curve = fit_segments([float(m) for m, _ in measured], [t for _, t in measured])
    assert 1 <= len(curve.segments) <= MOST_SEGMENTS
    for segment in curve.segments:
        assert segment.alpha_s >= 0
        assert segment.s_per_byte >= 0
    for size in (1.0, 3.5, 2.0**20, 2.0**31, 2.0**40):
        assert 0 < curve.seconds(size) < math.inf


@given(points)
def test_segments_follow_each_other_from_nothing_to_everything(measured):
    curve = fit_segments([float(m) for m, _ in measured], [t for _, t in measured])
    assert curve.segments[0].low == 0
    assert curve.segments[-1].high == math.inf
    assert all(a.high == b.low for a, b in pairwise(curve.segments))
    assert all(segment.low < segment.high for segment in curve.segments)


@given(points, st.floats(1, 2.0**31), st.floats(1, 16))
def test_within_a_segment_a_larger_message_is_never_faster(measured, size, factor):
    curve = fit_segments([float(m) for m, _ in measured], [t for _, t in measured])
    for segment in curve.segments:
        if segment.low <= size and size * factor < segment.high:
            assert curve.seconds(size * factor) >= curve.seconds(size)


@given(st.floats(1e-8, 1e-3), st.floats(1e6, 1e12), st.integers(0, 1000))
def test_at_the_measured_sizes_the_curve_is_near_what_was_measured(alpha_s, rate, seed):
    seconds = measure(SIZES, alpha_s, rate, 0.02, seed)
    curve = fit_segments(SIZES, seconds)
    for size, measured in zip(SIZES, seconds, strict=True):
        assert curve.seconds(size) == pytest.approx(measured, rel=0.15)


@given(st.sampled_from([1e-3, 1e-6, 1e3]), st.integers(0, 100))
def test_the_fit_knows_no_unit_of_time(scale, seed):
    seconds = measure(SIZES, 1e-6, 1e10, 0.05, seed)
    one = fit_segments(SIZES, seconds)
    other = fit_segments(SIZES, [t * scale for t in seconds])
    for size in SIZES:
        assert other.seconds(size) == pytest.approx(one.seconds(size) * scale, rel=1e-6)
