"""A barrier against ranks: hand-computed values, a known truth recovered, no fit of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.rounds import Rounds, fit_rounds


def test_a_round_is_added_for_every_doubling_of_ranks():
    curve = Rounds(1e-6, 2e-6)
    assert [curve.seconds(n) for n in (2, 3, 4, 5, 8, 9, 1024)] == pytest.approx(
        [3e-6, 5e-6, 5e-6, 7e-6, 7e-6, 9e-6, 21e-6]
    )
    assert curve.formula == "t = 1.00 µs + 2.00 µs x ceil(log2(ranks))"


@given(st.floats(1e-9, 1e-3), st.floats(1e-9, 1e-3))
def test_a_known_truth_is_recovered(alpha_s: float, round_s: float):
    truth = Rounds(alpha_s, round_s)
    ranks = [2.0, 6.0, 64.0, 500.0]
    curve = fit_rounds(ranks, [truth.seconds(n) for n in ranks])
    assert curve.seconds(32) == pytest.approx(truth.seconds(32), rel=1e-6)


def test_costs_are_never_below_zero():
    curve = fit_rounds([2.0, 64.0], [9e-6, 3e-6])
    assert min(curve.parameters) >= 0


@pytest.mark.parametrize("ranks", [[], [4.0], [3.0, 4.0]])
def test_one_number_of_rounds_tells_nothing_about_a_round(ranks: list[float]):
    with pytest.raises(ValueError, match="the same number of rounds"):
        fit_rounds(ranks, [1e-6] * len(ranks))
