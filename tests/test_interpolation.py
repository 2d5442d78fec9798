"""Between measured sizes: through the points, never falling, and on as the last segment goes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.interpolation import join_sizes

SIZES = [float(2**power) for power in range(0, 24, 2)]


def affine(size: float, alpha_s: float = 1e-6, rate: float = 1e10) -> float:
    return alpha_s + size / rate


def test_what_was_measured_is_predicted_where_it_rises():
    seconds = [affine(size) for size in SIZES]
    curve = join_sizes(SIZES, seconds)
    assert [curve.seconds(size) for size in SIZES] == pytest.approx(seconds, rel=1e-12)


def test_between_points_of_a_line_there_is_no_bias():
    wide = SIZES[::2]
    curve = join_sizes(wide, [affine(size) for size in wide])
    between = [math.sqrt(a * b) for a, b in itertools.pairwise(wide)]
    misses = [math.log(curve.seconds(size) / affine(size)) for size in between]
    chords = [
        math.log(math.sqrt(affine(a) * affine(b)) / affine(math.sqrt(a * b)))
        for a, b in itertools.pairwise(wide)
    ]
    assert max(chords) > 0.15
    assert max(map(abs, misses)) < max(chords) / 2


def test_a_step_stays_between_the_sizes_on_either_side_of_it():
    seconds = [affine(size) * (1 if size < 2**12 else 8) for size in SIZES]
    curve = join_sizes(SIZES, seconds)
    assert curve.seconds(2**9) == pytest.approx(affine(2**9), rel=0.05)
    assert curve.seconds(2**13) == pytest.approx(8 * affine(2**13), rel=0.1)


def test_a_point_that_was_disturbed_is_taken_down_to_the_next_larger_one():
    seconds = [affine(size) for size in SIZES]
    disturbed = [t * (2.3 if i == 3 else 1) for i, t in enumerate(seconds)]
    curve = join_sizes(SIZES, disturbed)
    assert curve.seconds(SIZES[3]) == pytest.approx(seconds[4])


def test_the_largest_size_is_believed_and_the_rate_goes_on_beyond_it():
    curve = join_sizes(SIZES, [affine(size) for size in SIZES])
    assert curve.seconds(2.0**30) == pytest.approx(affine(2.0**30), rel=0.02)
    assert curve.seconds(0.5) == curve.seconds(1.0)


def test_the_formula_counts_the_points_and_explains_them():
    curve = join_sizes(SIZES, [affine(size) for size in SIZES])
    assert curve.formula == (
        "joined on log axes through 12 sizes; near them t = 1.00 µs + m / (10.0 GB/s)"
    )
    assert curve.parameters == (*SIZES, *curve.points_s)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_sizes_are_no_curve(count):
    with pytest.raises(ValueError, match="a line needs 2"):
        join_sizes(SIZES[:count], [1e-6] * count)


@given(
    st.lists(
        st.tuples(st.integers(1, 2**31), st.floats(1e-9, 1e3)),
        min_size=2,
        max_size=10,
        unique_by=lambda point: point[0],
    ).map(sorted)
)
def test_a_larger_message_is_never_predicted_to_be_faster(measured):
    curve = join_sizes([float(m) for m, _ in measured], [t for _, t in measured])
    times = [curve.seconds(size) for size in np.geomspace(1, 2.0**34, 50)]
    assert all(0 < time < math.inf for time in times)
    assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(times))
