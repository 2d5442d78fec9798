"""Sizes and durations: decimal and binary never mixed, and what is shown can be read again."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.units import (
    format_bytes,
    format_number,
    format_rate,
    format_seconds,
    parse_bytes,
    parse_measure,
    parse_rate,
    parse_seconds,
)

SHOWN = re.compile(r"(\d+(?:\.\d+)?) ([numkMGTµ]?)(.+)")
FACTOR = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0 B", 0),
        ("1 B", 1),
        ("8B", 8),
        (" 8 B ", 8),
        ("1 kB", 1000),
        ("1 KB", 1000),
        ("1 KiB", 1024),
        ("4 MB", 4_000_000),
        ("4 MiB", 4 * 1024**2),
        ("1 GB", 10**9),
        ("1 GiB", 2**30),
        ("2 TB", 2 * 10**12),
        ("2 TiB", 2 * 2**40),
        ("1.5 KiB", 1536),
        ("0.001 kB", 1),
    ],
)
def test_a_size_is_read_with_its_unit(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "B",
        "-8 B",
        "+8 B",
        "8 b",
        "8 kib",
        "1 KIB",
        "8 XB",
        "8 B 8 B",
        "1e3 B",
        "1. B",
        "0.5 B",
        "1.0001 KiB",
        "\uff18 B",
        "1,5 KiB",
        "1 EiB",
        "nan B",
        "8 B\x00",
        "9" * 5000,
    ],
)
def test_what_is_no_whole_size_is_refused(text):
    with pytest.raises(ValueError):
        parse_bytes(text)


@pytest.mark.parametrize("digits", [400, 5_000, 1_100_000])
def test_a_size_beyond_every_machine_is_refused_not_computed(digits):
    with pytest.raises(ValueError):
        parse_bytes("9" * digits + " B")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1 ns", 1e-9),
        ("2us", 2e-6),
        ("3 ms", 3e-3),
        ("0.5 s", 0.5),
        ("10 min", 600.0),
        ("1h", 3600),
    ],
)
def test_a_duration_is_read_with_its_unit(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize("text", ["", "2", "us", "-2 us", "2 µs", "1 d", "1e-6 s", "2 us 3 ns"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (8, "8 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1024, "1 KiB"),
        (1536, "1.54 kB"),
        (10**6, "1.00 MB"),
        (2**20, "1 MiB"),
        (3 * 2**30, "3 GiB"),
        (10**9, "1.00 GB"),
        (2**40, "1 TiB"),
    ],
)
def test_binary_units_are_shown_only_for_whole_numbers_of_them(size, shown):
    assert format_bytes(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ns"),
        (1.034e-7, "103 ns"),
        (9.9996e-7, "1.00 µs"),
        (1.1e-5, "11.0 µs"),
        (0.4567, "457 ms"),
        (0.9996, "1.00 s"),
        (62.0, "62.0 s"),
    ],
)
def test_durations_have_three_digits_and_a_fitting_unit(seconds, shown):
    assert format_seconds(seconds) == shown


def test_rates_have_three_digits_and_their_own_unit():
    assert format_rate(12.34e9, "B/s") == "12.3 GB/s"
    assert format_rate(999.6e6, "FLOP/s") == "1.00 GFLOP/s"
    assert format_rate(4.5, "messages/s") == "4.50 messages/s"
    assert format_rate(float("inf"), "B/s") == "inf B/s"


@given(st.integers(0, 999) | st.integers(1, 2**13).map(lambda n: n * 2**20))
def test_a_whole_size_is_read_back_as_it_was(size):
    assert parse_bytes(format_bytes(size)) == size


@given(st.integers(1, 2**50))
def test_a_shown_size_is_within_half_a_percent(size):
    shown = parse_bytes_loosely(format_bytes(size))
    assert shown == pytest.approx(size, rel=5.1e-3)


def parse_bytes_loosely(text: str) -> float:
    number, unit = text.split()
    if "i" in unit:
        return float(number) * parse_bytes(f"1 {unit}")
    return float(number) * FACTOR[unit[:-1]]


@given(st.floats(1e-9, 999.0))
def test_a_shown_duration_is_within_half_a_percent_and_no_power_of_ten(seconds):
    match = SHOWN.fullmatch(format_seconds(seconds))
    assert match is not None
    number, prefix, unit = match.groups()
    assert unit == "s"
    assert 0.99 <= float(number) < 1000
    assert float(number) * FACTOR[prefix] == pytest.approx(seconds, rel=5.1e-3)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5GB/s", 5e9),
        ("15.75 GB/s", 15.75e9),
        ("40 Gbit/s", 5e9),
        ("1 bit/s", 0.125),
        ("1 GiB/s", 2**30),
        ("0 B/s", 0),
    ],
)
def test_a_rate_is_read_in_bytes_per_second(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "5", "5 GB", "5 Gb/s", "5 Gbps", "5 Gibit/s", "-5 GB/s", "5 GB/s each", "GB/s"]
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError):
        parse_rate(text)


def test_other_measures_need_their_own_unit():
    assert parse_measure("4.5 TFLOP/s", "FLOP/s") == 4.5e12
    assert parse_measure("837 MHz", "Hz") == 837e6
    assert parse_measure("8 GT/s", "T/s") == 8e9
    for text in ("837 MB/s", "837 MiHz", "837"):
        with pytest.raises(ValueError, match="unit Hz"):
            parse_measure(text, "Hz")


@given(st.floats(1, 999e12), st.integers(3, 6), st.sampled_from(["B/s", "FLOP/s", "Hz"]))
def test_a_shown_rate_is_read_back_to_its_digits(rate, digits, unit):
    shown = format_rate(rate, unit, digits)
    assert parse_measure(shown, unit) == pytest.approx(rate, rel=0.51 * 10.0 ** (1 - digits))


@given(st.integers(1, 10**15))
def test_bits_are_eight_to_a_byte(bits):
    assert parse_rate(f"{bits} bit/s") == pytest.approx(parse_rate(f"{bits} B/s") / 8)


def test_numbers_have_the_digits_asked_for():
    assert format_number(0.05581, 4) == "0.05581"
    assert format_seconds(20.25e-3, 4) == "20.25 ms"
    assert format_seconds(999.96e-6, 4) == "1.000 ms"
