"""The error tree, advice on near misses, and hostile text made safe to print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.ending import error_code
from bench.core.errors import (
    BenchError,
    LaunchError,
    RequestError,
    StorageError,
    SuiteError,
    nearest,
    printable,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(RequestError, 2), (SuiteError, 2), (LaunchError, 4), (StorageError, 4)],
)
def test_every_error_has_the_exit_code_of_its_meaning(kind, code):
    assert issubclass(kind, BenchError)
    assert error_code(kind("x")) == code


def test_a_near_miss_is_answered_with_the_one_word_that_was_meant():
    assert nearest("latecny", ["latency", "bandwidth"]) == "did you mean 'latency'?"


def test_where_nothing_is_near_all_valid_words_are_told_in_order():
    assert nearest("zzz", ["b", "a"]) == "valid: a, b"
    assert nearest("zzz", []) == "none is valid here"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x00", r"\x00"),
        ("right\u202eleft", r"right\u202eleft"),
        ("\udcff", r"\udcff"),
        ("naïve µs ✓", "naïve µs ✓"),
        (12, "12"),
    ],
)
def test_control_characters_are_escaped_and_other_text_is_left_alone(text, shown):
    assert printable(text) == shown


@given(st.text(), st.integers(4, 80))
def test_what_is_made_printable_is_printable_and_no_longer_than_asked(text, limit):
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


def test_a_number_too_long_to_write_out_is_still_shown():
    assert len(printable(16**5000)) <= 60
