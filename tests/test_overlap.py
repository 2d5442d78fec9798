"""Overlap: the three definitions, wires whose truth is known, faults seen, and real messages."""

import threading
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meeting import Loops, Meeting
from test_measure import make_case, spoil_products
from test_mpi import by_case, run

from bench.contracts import Checked, Context
from bench.core.records import Axis, Case, Status, parse_params
from bench.core.schedule import Code
from bench.measure import MEASUREMENTS
from bench.measure.overlap import EDGES, TEST_EVERY_S, overlaps
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

OVERLAP = MEASUREMENTS["overlap"]
WIRE_S = 0.02
ROUNDS = 5


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def overlap_case(**axes: Axis) -> Case:
    return make_case("overlap", **{"bytes": 5000, "ratio_percent": 50, **axes})


# The definitions, by hand.


@pytest.mark.parametrize(
    ("comm", "comp", "both", "by_min", "by_max", "by_omb"),
    [
        (1, 1, 1, 1, 1, 1),
        (1, 1, 2, 0, 0, 0),
        (1, 1, 1.5, 0.5, 0.5, 0.5),
        # All that can be hidden is hidden, and two definitions do not say 1.
        (1, 2, 2, 1, 0.5, 1),
        (2, 1, 2, 1, 0.5, 0.5),
        (2, 1, 2.5, 0.5, 0.25, 0.25),
        (1, 2, 2.5, 0.5, 0.25, 0.5),
    ],
)
def test_the_definitions_are_what_is_computed_by_hand(comm, comp, both, by_min, by_max, by_omb):
    told = overlaps(comm, comp, both)
    assert told["overlap_min"] == told["overlap_min_raw"] == pytest.approx(by_min)
    assert told["overlap_max"] == told["overlap_max_raw"] == pytest.approx(by_max)
    assert told["overlap_omb"] == told["overlap_omb_raw"] == pytest.approx(by_omb)


def test_what_is_slower_together_is_no_overlap_and_the_raw_value_says_how_much():
    told = overlaps(1.0, 2.0, 3.5)
    assert (told["overlap_min"], told["overlap_max"], told["overlap_omb"]) == (0, 0, 0)
    assert told["overlap_min_raw"] == pytest.approx(-0.5)
    assert told["overlap_max_raw"] == pytest.approx(-0.25)
    assert told["overlap_omb_raw"] == pytest.approx(-0.5)


SOME_SECONDS = st.floats(1e-7, 10)


@given(SOME_SECONDS, SOME_SECONDS, SOME_SECONDS)
def test_what_is_clipped_lies_between_none_and_all_and_the_strictest_comes_first(comm, comp, both):
    told = overlaps(comm, comp, both)
    assert all(0 <= told[f"overlap_{name}"] <= 1 for name in ("min", "max", "omb"))
    assert told["overlap_max"] <= told["overlap_omb"] <= told["overlap_min"]


# Wires whose truth is known, in a time of their own: the machine's would be that of its load.

PRODUCT_S = {16: 1e-6, 32: 4e-6, 64: 20e-6, 128: 160e-6}


class OwnTime(threading.local):
    """A clock for each rank, which goes on only when the rank computes or waits."""

    now_s = 0.0

    def perf_counter_ns(self) -> int:
        return round(self.now_s * 1e9)


class Wire(Loops):
    """Takes so long for a message, of which it carries so much without a call of MPI."""

    clock: OwnTime
    buffered_s = 0.0
    left_s = last_s = 0.0

    def take(self, code: Code, told: list[int], room: Any) -> None:
        if code is Code.ISEND and told[1]:
            self.left_s, self.last_s = WIRE_S, self.clock.now_s
        if code in (Code.TEST, Code.WAITALL):
            passed = min(self.clock.now_s - self.last_s, self.buffered_s)
            self.left_s, self.last_s = max(0.0, self.left_s - passed), self.clock.now_s
        if code is Code.WAITALL:
            self.clock.now_s += self.left_s
            self.left_s = 0.0
        super().take(code, told, room)


def measure(
    buffered_s: float, case: Case, context: Context, monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    """Return what rank 0 told after some rounds over such a wire."""
    clock, meeting = OwnTime(), Meeting(2)

    def multiply(left: Any, _right: Any, out: Any) -> None:
        clock.now_s += PRODUCT_S[len(left)]

    monkeypatch.setattr("bench.measure.overlap.time", clock)
    monkeypatch.setattr(np, "matmul", multiply)
    operations: list[Any] = meeting.prepare(OVERLAP, case, context)
    for operation in operations:
        operation.loops = Wire(meeting, operation.rank)
        operation.loops.clock, operation.loops.buffered_s = clock, buffered_s
    meeting.all_do(lambda rank: operations[rank].run(np.zeros(ROUNDS), 1))
    assert operations[0].params == operations[1].params
    return operations[0].params


@pytest.mark.parametrize("ratio", [50, 100, 200])
@pytest.mark.parametrize("progress", ["none", "test"])
@pytest.mark.parametrize(
    ("buffered_s", "least", "most"),
    [
        (1.0, 0.99, 1.0),  # a wire that needs no one
        (0.0, 0.0, 0.01),  # one that carries only while someone waits
    ],
)
def test_a_wire_that_works_alone_overlaps_and_one_that_needs_a_wait_does_not(
    buffered_s, least, most, progress, ratio, context, monkeypatch
):
    case = overlap_case(progress=progress, ratio_percent=ratio)
    told = measure(buffered_s, case, context, monkeypatch)
    assert told["t_comm_s"] == pytest.approx(WIRE_S)
    assert told["t_comp_s"] == pytest.approx(WIRE_S * ratio / 100, rel=0.02)
    assert least <= told["overlap_min"] <= most
    # The definitions differ by no more than what the shorter of the two can hide.
    assert told["overlap_max"] == pytest.approx(
        told["overlap_min"] * min(ratio, 100) / max(ratio, 100), rel=0.02, abs=1e-6
    )
    assert told["comp_inflation"] == pytest.approx(1.0)


def test_a_wire_that_moves_a_buffer_at_every_call_overlaps_only_where_it_is_called(
    context, monkeypatch
):
    """As a kernel's TCP does below a library without a thread of its own."""
    silent = measure(1e-3, overlap_case(progress="none"), context, monkeypatch)
    called = measure(1e-3, overlap_case(progress="test"), context, monkeypatch)
    assert silent["overlap_min"] == pytest.approx(1e-3 / silent["t_comp_s"], rel=0.01)
    assert called["overlap_min"] == pytest.approx(1.0, abs=0.01)
    assert silent["tests"] == 0
    assert called["tests"] == pytest.approx(called["t_comp_s"] / TEST_EVERY_S, rel=0.05)


def test_both_ranks_compute_the_same_as_the_leader_chose(context):
    meeting = Meeting(2)
    operations: list[Any] = meeting.prepare(OVERLAP, overlap_case(), context)
    meeting.all_do(lambda rank: operations[rank].run(np.zeros(1), 1))
    chosen = [operation._computation for operation in operations]
    assert chosen[0].count == chosen[1].count >= 1
    assert chosen[0].edge == chosen[1].edge
    assert chosen[0].edge in EDGES


# Whether a wrong answer is seen.


@pytest.mark.parametrize("progress", ["none", "test"])
def test_messages_and_product_are_checked(progress, context):
    meeting = Meeting(2)
    operations: list[Any] = meeting.prepare(OVERLAP, overlap_case(progress=progress), context)
    for seed in (1, 2):
        found = meeting.all_do(lambda rank, seed=seed: operations[rank].verify(seed))
        edge = operations[0]._computation.edge
        assert found == [Checked(5000 + 4 * edge**2, 0)] * 2


@pytest.mark.parametrize("place", [0, 1234, -1])
def test_one_wrong_byte_on_one_rank_is_seen_there_alone(place, context):
    def spoil(_code: Code, rank: int, message: Any) -> None:
        if rank == 1 and len(message) == 5000:
            message[place] ^= 1

    meeting = Meeting(2, spoil)
    operations = meeting.prepare(OVERLAP, overlap_case(), context)
    found = meeting.all_do(lambda rank: operations[rank].verify(1))
    assert [checked.bytes_wrong for checked in found] == [0, 1]


def test_a_wrong_product_is_seen(context, monkeypatch):
    def spoil(_left: Any, _right: Any, product: Any) -> None:
        product[0, 0] += 0.01

    spoil_products(monkeypatch, spoil)
    meeting = Meeting(2)
    operations = meeting.prepare(OVERLAP, overlap_case(), context)
    found = meeting.all_do(lambda rank: operations[rank].verify(1))
    edge = operations[0]._computation.edge
    assert [checked.bytes_wrong for checked in found] == [4 * edge, 4 * edge]


def test_it_needs_mpi_and_host_memory(context):
    assert "needs MPI" in (OVERLAP.unsupported(overlap_case(), context) or "")
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    assert OVERLAP.unsupported(overlap_case(), here) is None
    assert "device" in (OVERLAP.unsupported(overlap_case(memory="device"), here) or "")


# For real.

SUITE = """
[suite]
name = "overlap"
cap_s = 0.02
[[benchmark]]
name = "overlap"
bytes = ["8 B", "64 KiB"]
ratio_percent = 100
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_messages_between_two_ranks_overlap_by_three_definitions_or_not(tmp_path: Any) -> None:
    rows = by_case(run(tmp_path, suite=SUITE))
    assert len(rows) == 4
    for row in rows.values():
        assert (row.status, row.bytes_wrong) == (Status.OK, 0)
        assert row.timing_layer == "numpy+numba"
        assert row.gbytes_per_s is None
        params = parse_params(row.params)
        comm, comp, both = (float(params[f"t_{name}_s"]) for name in ("comm", "comp", "both"))
        for name, value in overlaps(comm, comp, both).items():
            # Four digits are told of each.
            assert float(params[name]) == pytest.approx(value, abs=0.01 * (1 + abs(value)))
        assert (int(params["tests"]) > 0) == (params["progress"] == "test")
        assert float(params["comp_inflation"]) > 0
