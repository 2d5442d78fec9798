"""The product of m rows: hand-computed values between batches, and the measured ceilings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.gemm import Rows, fit_rows


def test_between_two_batches_time_is_linear_in_rows():
    curve = fit_rows([1.0, 101.0], [10e-6, 60e-6])
    # 10 us and 0.5 us for each row beyond the first.
    assert curve.seconds(51) == pytest.approx(35e-6)
    assert curve.seconds(2) == pytest.approx(10.5e-6)


def test_each_pair_of_neighbours_has_a_line_of_its_own():
    curve = fit_rows([1.0, 11.0, 21.0], [10e-6, 20e-6, 60e-6])
    assert curve.seconds(6) == pytest.approx(15e-6)
    assert curve.seconds(16) == pytest.approx(40e-6)


def test_beyond_the_last_batch_its_line_goes_on():
    curve = fit_rows([1.0, 11.0, 21.0], [10e-6, 20e-6, 60e-6])
    assert curve.seconds(31) == pytest.approx(100e-6)


def test_no_row_is_predicted_faster_than_at_the_best_rate_that_was_seen():
    # The last two batches take the same time: their line alone would promise rows for nothing.
    curve = fit_rows([1.0, 32.0, 64.0], [10e-6, 64e-6, 64e-6])
    assert curve.row_s == pytest.approx(1e-6)
    assert curve.seconds(128) == pytest.approx(128e-6)


def test_no_product_is_predicted_faster_than_the_fastest_that_was_seen():
    curve = fit_rows([10.0, 20.0], [50e-6, 90e-6])
    # The line would cross 10 us at no rows at all.
    assert curve.seconds(1) == pytest.approx(50e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_batches_are_no_line(count):
    with pytest.raises(ValueError, match="a line needs 2"):
        fit_rows([1.0] * count, [1e-6] * count)


def test_the_formula_names_what_was_measured_and_the_ceiling():
    curve = fit_rows([1.0, 512.0], [1e-5, 1.024e-3])
    assert curve.formula == (
        "linear in m between 10.0 µs at 1, 1.02 ms at 512; at least 2.00 µs a row "
        "(measured ceiling)"
    )
    assert curve.parameters == (1.0, 512.0, 1e-5, 1.024e-3)


def test_a_cost_in_tiles_of_32_rows_is_met_within_a_tile():
    def truth(batch: float) -> float:
        return 2e-5 + 1e-5 * -(-batch // 32)

    batches = [1.0, 32.0, 128.0, 512.0]
    curve = fit_rows(batches, [truth(b) for b in batches])
    for batch in range(1, 513):
        assert abs(curve.seconds(batch) - truth(batch)) <= 1.01e-5


batches = st.lists(
    st.tuples(st.integers(1, 2**20), st.floats(1e-9, 1e3)),
    min_size=2,
    max_size=5,
    unique_by=lambda point: point[0],
).map(sorted)


def fit(measured: list[tuple[int, float]]) -> Rows:
    return fit_rows([float(m) for m, _ in measured], [t for _, t in measured])


@given(batches)
def test_at_a_measured_batch_the_prediction_is_what_was_measured(measured):
    curve = fit(measured)
    for batch, seconds in measured:
        assert curve.seconds(batch) == pytest.approx(seconds, rel=1e-9)


@given(batches, st.integers(1, 2**24))
def test_no_prediction_beats_a_measured_ceiling(measured, batch):
    curve = fit(measured)
    seconds = curve.seconds(batch)
    assert seconds >= min(t for _, t in measured)
    best_rate = max(m / t for m, t in measured)
    assert batch / seconds <= best_rate * (1 + 1e-9)


@given(batches, st.floats(0, 1))
def test_between_two_batches_the_prediction_leaves_their_times_only_for_a_ceiling(measured, share):
    curve = fit(measured)
    (m0, t0), (m1, t1) = measured[0], measured[1]
    size = m0 + share * (m1 - m0)
    ceiling = max(size * curve.row_s, min(t for _, t in measured))
    predicted = curve.seconds(size)
    assert predicted >= min(t0, t1) * (1 - 1e-9)
    assert predicted <= max(t0, t1, ceiling) * (1 + 1e-9)
