"""Products of other shapes: known truths recovered, and what was measured is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predict.model.shapes import fit_shapes

BATCHES = (1.0, 8.0, 32.0, 128.0, 512.0)
SHAPES = ((256, 256), (512, 512), (1024, 1024), (2048, 2048))


def truth(m: float, k: float, n: float) -> float:
    """Weights are read once, then used for every row."""
    return k * n * (4 / 1e10 + 2 * m / 5e10)


FITTED = fit_shapes({(k, n): {m: truth(m, k, n) for m in BATCHES} for k, n in SHAPES})


@given(st.floats(1, 512), st.integers(256, 2048), st.integers(256, 2048))
def test_shapes_between_those_measured_are_recovered(m, k, n):
    assert FITTED.seconds(m, k, n) == pytest.approx(truth(m, k, n), rel=1e-6)


def test_a_step_at_a_cache_stays_where_it_is():
    def stepped(m: float, k: int, n: int) -> float:
        return truth(m, k, n) * (1 if k * n < 2**20 else 2)

    fitted = fit_shapes({(k, n): {m: stepped(m, k, n) for m in BATCHES} for k, n in SHAPES})
    assert fitted.seconds(32, 300, 300) == pytest.approx(truth(32, 300, 300), rel=1e-6)
    assert fitted.seconds(32, 1500, 1500) == pytest.approx(2 * truth(32, 1500, 1500), rel=1e-6)


def test_beyond_what_was_measured_the_time_of_a_weight_stays():
    large = FITTED.seconds(32, 4096, 4096)
    assert large == pytest.approx(4 * FITTED.seconds(32, 2048, 2048))


@pytest.mark.parametrize(
    "measured", [{}, {(2, 3): {1.0: 1.0, 2.0: 2.0}, (3, 2): {1.0: 1.0, 2.0: 2.0}}]
)
def test_no_shape_or_two_alike_are_refused(measured):
    with pytest.raises(ValueError, match="sizes of weights"):
        fit_shapes(measured)


def test_a_shape_with_one_batch_is_refused():
    with pytest.raises(ValueError, match="a line needs 2"):
        fit_shapes({(2, 3): {1.0: 1.0}})
