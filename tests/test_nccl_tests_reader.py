"""Tables of nccl-tests, old and new: what they say is read, what they cannot mean is named."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.imports.nccl_tests import read_log

NEW = """# Collective test starting: all_reduce_perf
# nThread 1 nGpus 1 minBytes 8 maxBytes 1048576 step: 2(factor) warmup iters: 5 iters: 20
#
# Using devices
#  Rank  0 Group  0 Pid   4242 on    alpha device  0 [0x1b] Example GPU 80GB
#  Rank  1 Group  0 Pid   4243 on     beta device  0 [0x1b] Example GPU 80GB
#
#                                                  out-of-place                in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
           8             2     float     sum      -1    20.00    0.00    0.00      0    21.00    0.00    0.00      0
alpha:1:1 [0] NCCL INFO a line of another kind
     1048576        262144     float     sum       0    100.0   10.49   10.49      3    200.0    5.24    5.24    N/A
# Out of bounds values : 3 FAILED
# Avg bus bandwidth    : 3.93287
"""  # noqa: E501 - as wide as the program prints it
OLD = """#                                       out-of-place                       in-place
#       size         count    type     time   algbw   busbw  error     time   algbw   busbw  error
#        (B)    (elements)             (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
           0             0   float    34.27    0.00    0.00    N/A    33.57    0.00    0.00    N/A
     4194304       1048576   float    100.7   41.65   36.44  2e-07    99.56   42.13   36.86    N/A
"""


def test_a_new_table_is_read_whole():
    log = read_log(NEW)
    assert log.operation == "all_reduce_perf"
    assert log.devices == ("Example GPU 80GB", "Example GPU 80GB")
    assert log.out_of_bounds == 3
    assert log.problems == ()
    first, second = log.lines
    assert (first.size, first.count, first.dtype, first.redop) == (8, 2, "float", "sum")
    assert (first.root, second.root) == (None, 0)
    assert first.out_of_place.seconds == pytest.approx(20e-6)
    assert second.in_place is not None
    assert second.in_place.seconds == pytest.approx(200e-6)
    assert (second.out_of_place.wrong, second.in_place.wrong) == (3, None)
    assert second.out_of_place.algorithm_rate == pytest.approx(10.49e9)


def test_an_old_table_counts_no_wrong_values_and_names_no_operation():
    log = read_log(OLD)
    assert log.operation is None
    assert log.out_of_bounds is None
    assert [line.size for line in log.lines] == [0, 4194304]
    assert log.lines[1].redop is None
    assert log.lines[1].out_of_place.wrong is None
    assert log.lines[1].out_of_place.bus_rate == pytest.approx(36.44e9)


def test_lines_tagged_by_mpirun_and_with_carriage_returns_read_the_same():
    tagged = "".join(f"[1,0]<stdout>: {line}\r\n" for line in NEW.splitlines())
    assert read_log(tagged) == read_log(NEW)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("100.0   10.49", "0.0   10.49", "not above 0"),
        ("100.0   10.49", "nan   10.49", "not a number"),
        ("100.0   10.49", "1e99   10.49", "not above 0"),
        ("100.0   10.49", "10.0   10.49", "not size / time"),
        ("5.24    N/A", "5.24", "12 columns of 13"),
        ("sum       0    100.0", "su\x1bm       0    100.0", "not a word"),
        ("sum       0    100.0", "sum      -7    100.0", "no rank"),
        ("10.49      3", "10.49     -3", "not a whole number"),
        ("262144     float", "26214400000000000000     float", "not a whole number"),
    ],
)
def test_a_line_that_cannot_be_is_named_with_its_number(old, new, reason):
    assert old in NEW
    log = read_log(NEW.replace(old, new))
    assert len(log.lines) == 1
    (problem,) = log.problems
    assert problem.startswith("line 13: ")
    assert reason in problem
    assert problem.isprintable()


def test_what_is_no_table_is_refused():
    with pytest.raises(RequestError, match="no table of nccl-tests"):
        read_log("nothing\nof the kind 1 2 3\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(us)  (GB/s)", "(ms)  (GB/s)"),
        ("time   algbw", "time   swing"),
        ("redop    root", "root    redop"),
        ("busbw #wrong     time", "busbw     time"),
    ],
)
def test_columns_and_units_that_are_not_known_are_refused(old, new):
    with pytest.raises(RequestError, match="not known"):
        read_log(NEW.replace(old, new, 1))


def test_two_tables_of_other_columns_are_refused():
    with pytest.raises(RequestError, match="second table"):
        read_log(NEW + OLD)


@given(st.text(max_size=200), st.integers(0, 12), st.integers(0, 120))
def test_whatever_stands_in_a_log_it_is_read_or_refused(noise, row, column):
    lines = NEW.split("\n")
    lines[row] = lines[row][:column] + noise + lines[row][column:]
    try:
        log = read_log("\n".join(lines))
    except RequestError:
        return
    for line in log.lines:
        assert 0 < line.out_of_place.seconds < math.inf
        assert line.size >= 0
    assert all(problem.isprintable() for problem in log.problems)
