"""Allreduce: exact sums on every rank, faults seen on each, and busbw with its factor."""

from typing import Any

import msgspec
import numpy as np
import pytest
from meeting import Loops, Meeting, Rank
from test_measure import make_case
from test_mpi import by_case, run

from bench.context import open_context
from bench.contracts import Checked, Context
from bench.measure import MEASUREMENTS
from bench.measure.allreduce import DTYPES
from bench.plan import expand
from bench.rates import allreduce_bus_factor, busbw_gbytes_per_s, gbytes_per_s
from bench.record import Axis, Case, Status, Work, parse_params
from bench.schedule import Code
from bench.suite import Block
from bench.world import SoloWorld

SUM = MEASUREMENTS["allreduce"]
Numbers = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def sum_case(ranks: int = 3, **axes: Axis) -> Case:
    return make_case("allreduce", ranks=ranks, **{"bytes": 4096, **axes})


def verify(case: Case, context: Context, meeting: Meeting, seed: int = 1) -> list[Checked]:
    """Verify a case on all ranks at once; return what each of them found."""
    operations = meeting.prepare(SUM, case, context)
    return meeting.all_do(lambda rank: operations[rank].verify(seed))


# What an operation accomplishes.


@pytest.mark.parametrize(
    ("ranks", "factor"), [(2, 1.0), (3, 4 / 3), (4, 1.5), (6, 5 / 3), (1000, 1.998)]
)
def test_the_bus_factor_is_that_of_a_ring(ranks: int, factor: float) -> None:
    assert allreduce_bus_factor(ranks) == pytest.approx(factor)


def test_a_buffer_of_1_mb_on_4_ranks_in_1_ms_is_1_gb_per_s_and_one_and_a_half_on_the_bus() -> None:
    work = SUM.work(sum_case(4, bytes=1_000_000))
    assert work == Work(
        bytes=1_000_000,
        bytes_per_rank=1_000_000,
        bytes_total=1_000_000,
        rate_bytes=1_000_000,
        bus_bytes=1_500_000.0,
    )
    assert gbytes_per_s(work, 1e-3) == pytest.approx(1.0)
    assert busbw_gbytes_per_s(work, 1e-3) == pytest.approx(1.5)


@pytest.mark.parametrize(("dtype", "nbytes"), [("fp32", 20), ("fp64", 16)])
def test_only_whole_numbers_are_sent_and_counted(dtype: str, nbytes: int) -> None:
    assert SUM.work(sum_case(bytes=23, dtype=dtype)).bytes == nbytes


def test_the_algorithm_is_said_to_be_the_librarys() -> None:
    assert SUM.columns(sum_case()) == {"algorithm": "library"}


def test_it_needs_mpi_and_host_memory(context: Context) -> None:
    assert "needs MPI" in (SUM.unsupported(sum_case(), context) or "")
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    assert SUM.unsupported(sum_case(), here) is None
    assert "device" in (SUM.unsupported(sum_case(memory="device"), here) or "")


# Whether a wrong sum is seen.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_right_sums_are_right_in_whichever_order_they_were_added(
    ranks: int, dtype: str, context: Context
) -> None:
    case = sum_case(ranks, bytes=100_000, dtype=dtype)
    for seed in (1, 2):
        found = verify(case, context, Meeting(ranks), seed)
        assert found == [Checked(100_000, 0)] * ranks


@pytest.mark.parametrize("place", [0, 511, -1])
@pytest.mark.parametrize("bad", [0, 2])
def test_one_wrong_number_on_one_rank_is_seen_there_alone(
    bad: int, place: int, context: Context
) -> None:
    def spoil(_code: Code, rank: int, numbers: Numbers) -> None:
        if rank == bad:
            numbers[place] += 1

    found = verify(sum_case(), context, Meeting(3, spoil))
    assert [checked.bytes_wrong for checked in found] == [4 * (rank == bad) for rank in range(3)]


def test_a_sum_that_never_arrives_is_wrong_in_every_byte(context: Context) -> None:
    class Nothing(Loops):
        def follow(self, *arguments: Any) -> None:
            pass

    here = msgspec.structs.replace(
        context, communicator=Rank(0, 2), message_loops=Nothing(Meeting(2), 0)
    )
    operation = SUM.prepare(sum_case(2), here)
    assert operation.verify(1) == Checked(4096, 4096)
    assert operation.verify(2) == Checked(4096, 4096)


@pytest.mark.parametrize("twice", [True, False])
def test_a_rank_left_out_or_counted_twice_is_seen_everywhere(twice: bool, context: Context) -> None:
    meeting = Meeting(3)

    def spoil(_code: Code, _rank: int, numbers: Numbers) -> None:
        numbers += meeting.given[1] if twice else -meeting.given[1]

    meeting.spoil = spoil
    assert verify(sum_case(), context, meeting) == [Checked(4096, 4096)] * 3


def test_one_rank_in_the_place_of_another_is_seen_everywhere(context: Context) -> None:
    meeting = Meeting(3)

    def spoil(_code: Code, _rank: int, numbers: Numbers) -> None:
        numbers += meeting.given[1] - meeting.given[2]

    meeting.spoil = spoil
    assert verify(sum_case(), context, meeting) == [Checked(4096, 4096)] * 3


def test_segments_in_each_others_places_are_seen(context: Context) -> None:
    def spoil(_code: Code, _rank: int, numbers: Numbers) -> None:
        numbers[:] = np.roll(numbers, 256)

    for checked in verify(sum_case(), context, Meeting(3, spoil)):
        assert checked.bytes_wrong > 0.98 * checked.bytes_checked


def test_the_largest_sums_are_exact_in_single_precision() -> None:
    """The largest term, on the most ranks that a case may have."""
    most = next(axis.most for axis in SUM.axes if axis.name == "ranks")
    assert most * (1020 + 61) < 2**24


# For real.

SUITE = """
[suite]
name = "sums"
cap_s = 0.02
[[benchmark]]
name = "allreduce"
bytes = ["8 B", "1 KiB", "1 MiB"]
dtype = ["fp32", "fp64"]
ranks = [2, 3]
"""


@pytest.mark.mpi
def test_sums_over_2_and_3_ranks_are_measured_and_right(tmp_path: Any) -> None:
    done = run(tmp_path, suite=SUITE)
    rows = by_case(done)
    assert len(rows) == 12
    assert {row.status for row in rows.values()} == {Status.OK}
    for row in rows.values():
        size, ranks = row.bytes or 0, row.ranks or 0
        assert (row.bytes_checked, row.bytes_wrong) == (2 * ranks * size, 0)
        assert (row.bytes_per_rank, row.bytes_total) == (size, size)
        assert row.rank_agg == "max"
        assert row.slowest_rank in range(ranks)
        assert row.timing_layer == "numba"
        assert row.algorithm == "library"
        factor = float(parse_params(row.params)["busbw_factor"])
        assert factor == pytest.approx(2 * (ranks - 1) / ranks, abs=1e-4)
        assert row.busbw_gbytes_per_s == pytest.approx(factor * (row.gbytes_per_s or 0), rel=1e-3)
    samples = {(s.case, s.rank) for s in done.samples()}
    assert ("allreduce/bytes=8/ranks=3", 2) in samples


@pytest.mark.mpi
def test_without_numba_sums_are_right_too(tmp_path: Any, monkeypatch: Any) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "numba.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(blocked))
    rows = by_case(run(tmp_path, suite=SUITE))
    assert {row.timing_layer for row in rows.values()} == {"mpi4py"}
    assert {(row.status, row.bytes_wrong) for row in rows.values()} == {(Status.OK, 0)}


def test_ranks_of_a_plan_are_those_of_the_suite() -> None:
    axes = {axis.name: axis.default for axis in SUM.axes}
    cases = list(expand(Block("allreduce", {**axes, "ranks": (2, 5)})))
    assert [case.id for case in cases] == [
        "allreduce/bytes=1048576",
        "allreduce/bytes=1048576/ranks=5",
    ]
