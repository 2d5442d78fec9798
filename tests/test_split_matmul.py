"""One product over ranks: right in both splits, uneven parts, faults seen, and what it says."""

from typing import Any

import msgspec
import numpy as np
import pytest
from meeting import Loops, Meeting, Rank
from test_measure import make_case
from test_mpi import by_case, run

from bench.contracts import Checked, Context
from bench.core.records import Axis, Case, Status, Work, parse_params
from bench.core.schedule import Code
from bench.measure import MEASUREMENTS
from bench.measure.rates import tflops
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

SPLIT = MEASUREMENTS["split_matmul"]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def product_case(split: str = "row", ranks: int = 3, **axes: Axis) -> Case:
    shape: dict[str, Axis] = {"batch": 40, "k": 90, "n": 60}
    return make_case("split_matmul", split=split, ranks=ranks, **{**shape, **axes})


def verify(case: Case, context: Context, meeting: Meeting) -> list[Checked]:
    operations = meeting.prepare(SPLIT, case, context)
    return meeting.all_do(lambda rank: operations[rank].verify(1))


def test_the_work_is_that_of_the_whole_product_whatever_the_ranks():
    assert SPLIT.work(product_case(ranks=2)) == Work(flop=2 * 40 * 90 * 60)
    assert SPLIT.work(product_case(ranks=7)) == Work(flop=2 * 40 * 90 * 60)
    assert tflops(SPLIT.work(product_case()), 432e-9) == pytest.approx(1.0)
    assert SPLIT.columns(product_case()) == {"m": 40, "algorithm": "library"}


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
@pytest.mark.parametrize("split", ["row", "column"])
@pytest.mark.parametrize(("ranks", "k", "n"), [(2, 90, 60), (3, 91, 61), (5, 93, 64), (4, 7, 13)])
def test_the_product_is_right_on_every_rank_of_any_number(ranks, k, n, split, dtype, context):
    case = product_case(split, ranks, k=k, n=n, dtype=dtype)
    size = 4 if dtype == "fp32" else 8
    assert verify(case, context, Meeting(ranks)) == [Checked(40 * n * size, 0)] * ranks


@pytest.mark.parametrize("split", ["row", "column"])
def test_the_product_is_the_same_however_it_is_split(split, context):
    """Rank 0 of two and of five come to the same numbers, up to the order of adding."""
    products = []
    for ranks in (2, 5):
        meeting = Meeting(ranks)
        operations: Any = meeting.prepare(SPLIT, product_case(split, ranks, dtype="fp64"), context)
        meeting.all_do(lambda rank, operations=operations: operations[rank].verify(1))
        product = operations[0]._received.read().view(np.float64)
        products.append(product[: 40 * 60])
    assert np.allclose(*products, rtol=0, atol=1e-12)


@pytest.mark.parametrize("split", ["row", "column"])
@pytest.mark.parametrize("bad", [0, 2])
@pytest.mark.parametrize("place", [0, 1111, -1])
def test_one_wrong_number_on_one_rank_is_seen_there_alone(place, bad, split, context):
    def spoil(_code: Code, rank: int, numbers: Any) -> None:
        if rank == bad:
            # An exponent's bit, whatever the type that the call moved.
            at = numbers.view(np.uint8).reshape(-1, 4)[place]
            at[3] ^= 0x20

    found = verify(product_case(split), context, Meeting(3, spoil))
    # All 60 numbers of its row are summed.
    assert [checked.bytes_wrong for checked in found] == [240 * (rank == bad) for rank in range(3)]


@pytest.mark.parametrize("split", ["row", "column"])
def test_a_rank_that_is_left_out_is_seen_everywhere(split, context):
    meeting = Meeting(3)

    def spoil(code: Code, _rank: int, numbers: Any) -> None:
        if code is Code.ALLREDUCE:
            numbers -= meeting.given[1]
        else:
            numbers.reshape(3, -1)[1] = numbers.reshape(3, -1)[0]

    meeting.spoil = spoil
    found = verify(product_case(split), context, meeting)
    least = 0.9 if split == "row" else 0.3
    assert all(checked.bytes_wrong > least * checked.bytes_checked for checked in found)


@pytest.mark.parametrize("split", ["row", "column"])
def test_a_product_that_never_arrives_is_wrong_in_every_byte(split, context):
    class Nothing(Loops):
        def follow(self, *arguments: Any) -> None:
            pass

    here = msgspec.structs.replace(
        context, communicator=Rank(0, 3), message_loops=Nothing(Meeting(3), 0)
    )
    operation = SPLIT.prepare(product_case(split), here)
    assert operation.verify(1) == Checked(40 * 60 * 4, 40 * 60 * 4)


def test_what_cannot_be_split_says_why(context):
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    assert SPLIT.unsupported(product_case(), here) is None
    assert "k = 2 leaves" in (SPLIT.unsupported(product_case("row", k=2), here) or "")
    assert SPLIT.unsupported(product_case("row", n=2), here) is None
    # Widths of 2 are used up by the first two ranks.
    assert "n = 4 leaves" in (SPLIT.unsupported(product_case("column", n=4), here) or "")
    large = product_case("row", batch=2**15, n=2**15)
    assert "larger than" in (SPLIT.unsupported(large, here) or "")


def test_the_parts_of_the_time_make_up_the_whole(context):
    meeting = Meeting(2)
    operations = meeting.prepare(SPLIT, product_case(ranks=2), context)
    seconds = np.zeros((2, 5))
    meeting.all_do(lambda rank: operations[rank].run(seconds[rank], 1))
    for rank in range(2):
        told = operations[rank].params
        computing, joining = float(told["t_comp_s"]), float(told["t_comm_s"])
        assert computing > 0
        assert joining > 0
        assert told["comm_percent"] == pytest.approx(100 * joining / (computing + joining), abs=0.2)
        assert seconds[rank].min() <= (computing + joining) * 1.01
        assert seconds[rank].max() >= (computing + joining) * 0.99


SUITE = """
[suite]
name = "split"
cap_s = 0.02
[[benchmark]]
name = "split_matmul"
batch = 33
k = 101
n = 103
dtype = ["fp32", "fp64"]
threads = 1
ranks = [2, 3]
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_a_product_over_2_and_3_ranks_is_measured_and_right(tmp_path: Any) -> None:
    rows = by_case(run(tmp_path, suite=SUITE))
    assert len(rows) == 8
    for row in rows.values():
        assert (row.status, row.bytes_wrong) == (Status.OK, 0)
        size = 4 if row.dtype == "fp32" else 8
        assert row.bytes_checked == 2 * (row.ranks or 0) * 33 * 103 * size
        assert (row.m, row.k, row.n) == (33, 101, 103)
        assert row.rank_agg == "max"
        assert row.timing_layer == "numpy+numba"
        assert row.tflops == pytest.approx(2 * 33 * 101 * 103 / (row.t_median_s or 0) / 1e12)
        params = parse_params(row.params)
        assert 0 < float(params["comm_percent"]) < 100
        assert f"split={params['split']}" in row.case
