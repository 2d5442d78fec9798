"""The `params` column: whatever a value is, it is read back, and old rows are read as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.records import params_text, parse_params

names = st.text("abc_0%", min_size=1, max_size=6)
words = st.text(max_size=12) | st.text("ab;=%235BDbd", max_size=12)
values = st.integers() | st.floats(allow_nan=False) | words


@given(st.dictionaries(names, values, max_size=5))
def test_any_pairs_are_read_back(params):
    text = params_text(params)
    assert parse_params(text) == {name: str(value) for name, value in params.items()}
    assert (text is None) == (not params)


@given(st.dictionaries(names, values, min_size=1, max_size=5))
def test_semicolons_and_the_first_equals_sign_still_part_the_pairs(params):
    pairs = (params_text(params) or "").split(";")
    assert len(pairs) == len(params)
    assert all("=" in pair for pair in pairs)


@pytest.mark.parametrize(
    ("text", "params"),
    [
        (None, {}),
        ("", {}),
        ("a=1;b=x y", {"a": "1", "b": "x y"}),
        ("a=x=y", {"a": "x=y"}),  # as it was always written
        ("share=50%;rate=3%", {"share": "50%", "rate": "3%"}),
        ("a=", {"a": ""}),
        ("throttle=power-cap+thermal;junk;b=2", {"throttle": "power-cap+thermal", "b": "2"}),
    ],
)
def test_rows_of_before_are_read_as_they_were(text, params):
    assert parse_params(text) == params


@pytest.mark.parametrize("value", ["50%", "1.5", "a=b", "x y", "100%2", "%"])
def test_values_without_a_semicolon_are_written_as_they_are(value):
    assert params_text({"a": value}) == f"a={value}"
