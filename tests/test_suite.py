"""A suite file becomes axes with values: what is written is what is measured."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError, SuiteError
from bench.measure import MEASUREMENTS
from bench.plan.suite import (
    Suite,
    load_suite,
    override_ranks,
    parse_suite,
    suite_folder,
    suite_names,
)

SUITE = '[suite]\nname = "mine"\n'


def values(benchmark: str, axis: str, written: str) -> tuple[object, ...]:
    """Return the values of one axis, written so in a suite."""
    text = f'{SUITE}[[benchmark]]\nname = "{benchmark}"\n{axis} = {written}\n'
    return parse_suite(text, "mine.toml").blocks[0].axes[axis]


def test_the_head_is_read_and_the_text_is_kept():
    text = (
        '[suite]\nname = "a.b-c_1"\ndescription = "µ"\nlaunches = 3\nseed = 7\ncap_s = 1\n'
        '[[benchmark]]\nname = "latency"\n'
    )
    suite = parse_suite(text, "mine.toml")
    assert (suite.name, suite.description) == ("a.b-c_1", "µ")
    assert (suite.launches, suite.seed, suite.cap_s) == (3, 7, 1.0)
    assert suite.text == text


def test_what_the_head_leaves_out_has_a_default():
    suite = parse_suite(f'{SUITE}[[benchmark]]\nname = "latency"\n', "mine.toml")
    assert (suite.launches, suite.seed, suite.cap_s, suite.description) == (1, 0, 5.0, "")


@pytest.mark.parametrize("measured", MEASUREMENTS)
def test_every_axis_that_is_left_out_has_its_default(measured):
    suite = parse_suite(f'{SUITE}[[benchmark]]\nname = "{measured}"\n', "mine.toml")
    axes = suite.blocks[0].axes
    assert axes == {axis.name: axis.default for axis in MEASUREMENTS[measured].axes}
    assert list(axes) == sorted(axes)


@pytest.mark.parametrize(
    ("written", "sizes"),
    [
        ("8", (8,)),
        ('"1 KiB"', (1024,)),
        ('"1 kB"', (1000,)),
        ('[8, "8 B", "1 KiB"]', (8, 1024)),
        ('["1 KiB", 8]', (1024, 8)),
        ("{ from = 1, to = 16, per_octave = 1 }", (1, 2, 4, 8, 16)),
        ("{ from = 1, to = 20, per_octave = 1 }", (1, 2, 4, 8, 16)),
        ("{ from = 3, to = 24, per_octave = 1 }", (3, 6, 12, 24)),
        ("{ from = 1, to = 256, per_octave = 0.5 }", (1, 4, 16, 64, 256)),
        ("{ from = 64, to = 256, per_octave = 2 }", (64, 96, 128, 192, 256)),
        ("{ from = 1, to = 8, per_octave = 2 }", (1, 2, 3, 4, 6, 8)),
        ("{ from = 64, to = 128, per_octave = 4 }", (64, 80, 96, 112, 128)),
        ("{ from = 1, to = 4, per_octave = 8 }", (1, 2, 3, 4)),
        ("{ from = 10, to = 30, step = 10 }", (10, 20, 30)),
        ("{ from = 10, to = 39, step = 10 }", (10, 20, 30)),
        ('{ from = "1 KiB", to = "2 KiB", step = "512 B" }', (1024, 1536, 2048)),
        ("{ around = [32] }", (31, 32, 33)),
        ("{ around = [33, 32, 64] }", (31, 32, 33, 34, 63, 64, 65)),
    ],
)
def test_sizes_are_those_that_are_written(written, sizes):
    assert values("latency", "bytes", written) == sizes


@given(st.integers(1, 2**18), st.integers(0, 12), st.sampled_from([0.25, 0.5, 1, 2, 3, 4]))
def test_a_geometric_range_holds_both_ends_and_steps_evenly(low, octaves, density):
    high = low * 2**octaves
    sizes = values("latency", "bytes", f"{{ from = {low}, to = {high}, per_octave = {density} }}")
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[0] == low
    assert sizes[-1] <= high
    if octaves * density == int(octaves * density):
        assert sizes[-1] == high
    for small, large in itertools.pairwise(sizes):
        # Rounding to whole bytes moves each end by half a byte at most.
        step = 2 ** (1 / density) if density < 1 else 1 + 1 / density
        assert (large - 0.5) / (small + 0.5) <= step * (1 + 1e-9)


def test_around_a_word_axis_and_choices_keep_the_written_order():
    assert values("matmul", "dtype", '["fp64", "fp32"]') == ("fp64", "fp32")
    assert values("stream", "kernel", '"triad"') == ("triad",)


def test_the_same_benchmark_may_appear_in_several_blocks():
    text = f"{SUITE}" + '[[benchmark]]\nname = "latency"\nbytes = 8\n' * 2
    assert len(parse_suite(text, "mine.toml").blocks) == 2


def test_every_suite_that_comes_along_is_found_by_its_name_and_named_so():
    names = suite_names()
    assert {path.stem for path in suite_folder().glob("*.toml")} == set(names)
    for name in names:
        assert load_suite(name).name == name
        assert load_suite(name).description


def test_a_suite_is_found_by_its_path(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(f'{SUITE}[[benchmark]]\nname = "latency"\n', encoding="utf-8")
    assert load_suite(str(path)).name == "mine"


def test_a_file_in_the_working_folder_never_shadows_a_suite_that_comes_along(tmp_path, monkeypatch):
    (tmp_path / "quick").write_text("nonsense", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_suite("quick").name == "quick"


def test_the_command_line_beats_the_ranks_of_every_block():
    text = (
        f'{SUITE}[[benchmark]]\nname = "latency"\nranks = [2, 3]\n[[benchmark]]\nname = "memcpy"\n'
    )
    suite = override_ranks(parse_suite(text, "mine.toml"), 4)
    assert [block.axes["ranks"] for block in suite.blocks] == [(4,), (4,)]
    assert suite.text == text


def test_ranks_that_a_benchmark_cannot_run_on_are_refused():
    suite = parse_suite(f'{SUITE}[[benchmark]]\nname = "latency"\n', "mine.toml")
    with pytest.raises(RequestError, match="-n 1: latency runs on 2 to"):
        override_ranks(suite, 1)


@pytest.mark.parametrize("measured", MEASUREMENTS)
def test_every_default_of_an_axis_is_one_that_a_suite_may_write(measured):
    for axis in MEASUREMENTS[measured].axes:
        written = ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in axis.default)
        assert values(measured, axis.name, f"[{written}]") == axis.default


@given(st.integers(-(2**40), 2**40))
def test_a_size_is_accepted_exactly_where_one_mpi_call_can_count_it(size):
    if 1 <= size <= 2**31 - 1:
        assert values("latency", "bytes", str(size)) == (size,)
    else:
        with pytest.raises(SuiteError, match=r"benchmark\[0\]\.bytes"):
            values("latency", "bytes", str(size))


def test_a_suite_is_a_value():
    text = f'{SUITE}[[benchmark]]\nname = "latency"\n'
    one, two = parse_suite(text, "a"), parse_suite(text, "b")
    assert one == two
    assert isinstance(one, Suite)
    assert math.isfinite(one.cap_s)
