"""Intervals: the share that they promise, wide where a curve bends, none from too few points."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.conformal import FLOOR, conformal_quantile, difficulty

SIZES = [float(2**power) for power in range(0, 24, 2)]


@pytest.mark.parametrize(("count", "place"), [(4, 4), (9, 8), (14, 12), (99, 80)])
def test_the_rank_is_that_of_split_conformal(count, place):
    assert conformal_quantile(list(range(count, 0, -1)), 0.8) == place


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_points_promise_nothing(count):
    assert conformal_quantile([1.0] * count, 0.8) is None


def test_new_misses_stay_below_the_quantile_as_often_as_promised():
    random = np.random.default_rng(1)
    held = [
        abs(random.standard_normal()) <= (conformal_quantile(abs(old), 0.8) or 0)
        for old in random.standard_normal((4000, 14))
    ]
    assert np.mean(held) == pytest.approx(0.8, abs=0.02)


def test_a_straight_piece_is_easy_and_a_switch_is_hard():
    power = [1e-6 * size**0.7 for size in SIZES]
    assert difficulty(SIZES, power, 3000.0) == pytest.approx(FLOOR, abs=1e-4)
    switched = [t * (1 if size < 2**12 else 8) for size, t in zip(SIZES, power, strict=True)]
    assert difficulty(SIZES, switched, 3000.0) > 5 * FLOOR
    assert difficulty(SIZES, switched, 2.0**19) == pytest.approx(FLOOR, abs=1e-4)


def test_a_point_left_out_is_judged_by_the_gap_of_a_new_case():
    switched = [1e-6 if size < 2**12 else 8e-6 for size in SIZES]
    whole, half = (difficulty(SIZES, switched, 3000.0, left_out=left) for left in (False, True))
    assert (whole - FLOOR) / (half - FLOOR) == pytest.approx(2 ** (1 / 3))


@given(st.lists(st.floats(1e-9, 1e3), min_size=2, max_size=12), st.floats(0.1, 2**40))
def test_every_place_has_a_finite_difficulty(seconds, size):
    found = difficulty(SIZES[: len(seconds)], seconds, size)
    assert FLOOR <= found < math.inf
