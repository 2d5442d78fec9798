"""Nodes and GPUs that measure for themselves: from the ranks of each to a row of its own.

Ranks are threads whose agreements are really passed on.
"""

import time
from typing import Any

import msgspec
import numpy as np
import pytest
from meeting import Meeting, World

from bench.contracts import Checked, Context, Seconds
from bench.core.events import (
    CaseEnded,
    Event,
    Facts,
    PlaceEnded,
    RankFacts,
    Samples,
    decode,
    encode,
)
from bench.core.fleet import middle_rows
from bench.core.records import Axis, Case, Job, Origin, Row, Sampling, Stage, Status, parse_params
from bench.measure import MEASUREMENTS
from bench.measure.matmul import Matmul
from bench.plan.plan import expand, make_plan
from bench.plan.suite import Block, fill_nodes, override_ranks, parse_suite
from bench.rank import places
from bench.rank.case import execute_case
from bench.rank.context import open_context
from bench.rank.outcome import Seat
from bench.rank.places import count_beside, find_turns
from bench.rank.world import SoloWorld
from bench.run.place_rows import make_rows
from bench.run.rows import Place

RULE = Sampling(cap_s=0.002, warmup_s=0.0, warmup_cap_s=0.001)
STARTED = "2026-11-20T09:00:00.000000Z"


def make_case(name: str, **axes: Axis) -> Case:
    chosen = {axis.name: (axis.default[0],) for axis in MEASUREMENTS[name].axes}
    return next(expand(Block(name, {**chosen, **{axis: (v,) for axis, v in axes.items()}})))


def small(ranks: int) -> Case:
    return make_case("matmul", batch=4, k=8, n=8, ranks=ranks)


class Timed:
    """Takes as long as it is told, and computes wrongly where it is told."""

    idle = False
    timing_layer = "told"
    overhead_s = None

    def __init__(self, seconds: float, wrong: int = 0) -> None:
        self.seconds, self.wrong = seconds, wrong
        self.params: dict[str, Axis] = {"threads": round(seconds)}

    def run(self, seconds: Seconds, loops: int) -> None:
        del loops
        seconds[:] = self.seconds

    def verify(self, seed: int) -> Checked:
        del seed
        return Checked(100, self.wrong)


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def carry_out(
    case: Case,
    nodes: tuple[int, ...],
    context: Context,
    turns: tuple[tuple[int, int], ...] = (),
) -> list[Event]:
    """Return what rank 0 sends of a case of ranks on these nodes."""
    meeting = Meeting(len(nodes))

    def work(rank: int) -> list[Event]:
        world = World(meeting, rank, nodes)
        here = msgspec.structs.replace(
            context, communicator=world, host=f"n{nodes[rank]}", turns=turns
        )
        return list(execute_case(case, RULE, world, here))

    events: list[Event] = meeting.all_do(work)[0]
    return [event for event in (decode(encode(event)) for event in events) if event is not None]


def rows_of(case: Case, nodes: tuple[int, ...], events: list[Event]) -> list[Row]:
    samples = {event.rank: event.seconds for event in events if isinstance(event, Samples)}
    (ended,) = (event for event in events if isinstance(event, CaseEnded))
    job = Job("j", Stage.TARGET, 0, len(nodes), 1, (case,))
    place = Place("r", Origin.MEASURED, job, 0)
    return make_rows(place, case, ended, samples, facts(nodes), STARTED)


def facts(nodes: tuple[int, ...], gpus: dict[str, Any] | None = None) -> Facts:
    ranks = tuple(RankFacts(f"n{node}", 1, (0, 1, 2, 3), node) for node in nodes)
    return Facts(ranks, "MPI", "single", "numba", None, nodes=gpus or {})


@pytest.mark.parametrize("nodes", [(0, 1), (0, 0, 1, 1), (0, 1, 2, 3), (0, 0, 0, 1)])
def test_every_node_has_a_row_of_its_own_ranks(nodes, context, monkeypatch):
    monkeypatch.setattr(
        Matmul, "prepare", lambda _self, _case, here: Timed(1.0 + here.communicator.rank)
    )
    case = small(len(nodes))
    events = carry_out(case, nodes, context)
    rows = rows_of(case, nodes, events)
    assert [row.src for row in rows] == [f"n{node}" for node in dict.fromkeys(nodes)]
    for node, row in zip(dict.fromkeys(nodes), rows, strict=True):
        own = [rank for rank, other in enumerate(nodes) if other == node]
        # Its slowest rank, its first rank's facts, and the work of its own ranks.
        assert (row.status, row.t_median_s, row.slowest_rank) == (Status.OK, 1.0 + own[-1], own[-1])
        assert parse_params(row.params)["threads"] == str(1 + own[0])
        assert row.bytes_checked == 200 * len(own)
        assert row.tflops == pytest.approx(2 * 4 * 8 * 8 * len(own) / (1.0 + own[-1]) / 1e12)
        assert (row.case, row.nodes, row.ranks, row.src_host, row.dst) == (
            case.id,
            len(set(nodes)),
            len(nodes),
            f"n{node}",
            None,
        )
        assert row.ranks_per_node == max(nodes.count(n) for n in nodes)


def test_a_wrong_answer_fails_the_row_of_its_node_alone(context, monkeypatch):
    def prepare(_self: Matmul, _case: Case, here: Context) -> Timed:
        return Timed(1.0, wrong=8 * (here.communicator.rank == 2))

    monkeypatch.setattr(Matmul, "prepare", prepare)
    nodes = (0, 1, 2, 3)
    rows = rows_of(small(4), nodes, carry_out(small(4), nodes, context))
    assert [row.status for row in rows] == [Status.OK, Status.OK, Status.FAILED, Status.OK]
    assert rows[2].reason == "wrong answer: 16 of 200 bytes checked, on rank 2"
    assert [row.bytes_wrong for row in rows] == [0, 0, 16, 0]
    assert [row.t_median_s for row in rows] == [1.0, 1.0, None, 1.0]


def test_a_node_that_cannot_is_skipped_and_the_others_measure(context, monkeypatch):
    def unsupported(_self: Matmul, _case: Case, here: Context) -> str | None:
        return "no such thing here" if here.communicator.rank == 1 else None

    monkeypatch.setattr(Matmul, "unsupported", unsupported)
    rows = rows_of(small(3), (0, 1, 2), carry_out(small(3), (0, 1, 2), context))
    assert [(row.status, row.reason) for row in rows] == [
        (Status.OK, None),
        (Status.SKIPPED, "no such thing here"),
        (Status.OK, None),
    ]


def test_nodes_of_one_machine_take_turns_and_others_do_not_wait(context, monkeypatch):
    busy: list[tuple[int, float, float]] = []
    measure = places.measure_among

    def watched(active: Any, operation: Any, task: Any, here: Context) -> Any:
        begin_s = time.monotonic()
        found = measure(active, operation, task, here)
        time.sleep(0.1)
        busy.append((here.communicator.rank, begin_s, time.monotonic()))
        return found

    monkeypatch.setattr(places, "measure_among", watched)
    nodes = (0, 1, 2, 3)
    # Nodes 0, 1 and 3 share a machine; node 2 has one of its own.
    turns = ((0, 3), (1, 3), (0, 1), (2, 3))
    rows = rows_of(small(4), nodes, carry_out(small(4), nodes, context, turns))
    spans = {rank: (begin_s, end_s) for rank, begin_s, end_s in busy}
    assert spans[0][1] <= spans[1][0]
    assert spans[1][1] <= spans[3][0]
    assert spans[2][0] < spans[0][1]
    assert spans[0][0] < spans[2][1]
    told = [parse_params(row.params).get("turns") for row in rows]
    assert told == ["3", "3", None, "3"]


def test_turns_follow_from_the_number_that_a_kernel_drew_when_it_booted(tmp_path):
    nodes, machines = (0, 0, 1, 2, 3), ("a", "a", "b", "a", None)
    meeting = Meeting(len(nodes))

    def work(rank: int) -> tuple[tuple[int, int], ...]:
        root = tmp_path / str(rank)
        machine = machines[rank]
        if machine is not None:
            file = root / "proc/sys/kernel/random/boot_id"
            file.parent.mkdir(parents=True)
            file.write_text(f"{machine}\n")
        return find_turns(World(meeting, rank, nodes), root)

    assert set(meeting.all_do(work)) == {((0, 2), (0, 1), (1, 2), (0, 1))}


def ended_in(count: int, per_place: int = 1) -> CaseEnded:
    told = (
        PlaceEnded(
            host=f"n{i}",
            ranks=tuple(range(i * per_place, (i + 1) * per_place)),
            status=Status.OK,
            loops=1,
        )
        for i in range(count)
    )
    return CaseEnded(case=small(count).id, status=Status.OK, places=tuple(told))


def make_many(count: int) -> float:
    """Return the seconds that the rows of so many nodes take, the least of three times."""
    case, where = small(count), facts(tuple(range(count)))
    job = Job("j", Stage.TARGET, 0, count, 1, (case,))
    samples = dict.fromkeys(range(count), (1e-06,) * 5)
    ended, took = ended_in(count), []
    for _ in range(3):
        begin_s = time.process_time()
        rows = make_rows(Place("r", Origin.MEASURED, job, 0), case, ended, samples, where, STARTED)
        took.append(time.process_time() - begin_s)
        assert len(rows) == count
    return min(took)


def test_rows_of_a_thousand_nodes_cost_as_much_each_as_those_of_a_hundred():
    make_many(10)
    few, many = make_many(100), make_many(1000)
    assert many / few < 25, "ten times the nodes cost over 25 times as much"


def test_gpus_are_numbered_as_the_facts_of_their_node_have_them():
    addresses = ("0000:C1:00.0", "0000:17:00.0")
    gpus = [
        {"index": 5, "pci_address": "00000000:17:00.0"},
        {"index": 6, "pci_address": "00000000:c1:00.0"},
    ]
    case = make_case("matmul", batch=4, k=8, n=8, ranks=2, memory="device")
    told = tuple(
        PlaceEnded(host="n0", gpu=address, ranks=(rank,), status=Status.OK)
        for rank, address in enumerate(addresses)
    )
    ended = CaseEnded(case=case.id, status=Status.OK, places=told)
    job = Job("j", Stage.TARGET, 0, 2, 1, (case,))
    for known, expected in (
        ({"n0": {"gpus": gpus}}, ["n0:gpu6", "n0:gpu5"]),
        ({}, ["n0:gpu1", "n0:gpu0"]),
    ):
        rows = make_rows(
            Place("r", Origin.MEASURED, job, 0),
            case,
            ended,
            {0: (1.0,) * 5, 1: (2.0,) * 5},
            facts((0, 0), known),
            STARTED,
        )
        assert [row.src for row in rows] == expected
        assert [row.t_median_s for row in rows] == [1.0, 2.0]


def test_a_case_that_no_rank_told_of_is_one_row_of_no_node():
    case = small(4)
    ended = CaseEnded(case=case.id, status=Status.FAILED, reason="killed")
    place = Place("r", Origin.MEASURED, Job("j", Stage.TARGET, 0, 4, 1, (case,)), 0)
    (row,) = make_rows(place, case, ended, {}, facts((0, 1, 2, 3)), STARTED)
    assert (row.status, row.src, row.src_host, row.nodes) == (Status.FAILED, None, None, 4)


OPEN = """
[suite]
name = "open"
[[benchmark]]
name = "matmul"
batch = 64
[[benchmark]]
name = "stream"
kernel = "triad"
ranks = 2
[[benchmark]]
name = "latency"
"""


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        (1, None, {"matmul": 1, "stream": 2, "latency": 2}),
        (4, None, {"matmul": 4, "stream": 2, "latency": 2}),
        (4, 3, {"matmul": 3, "stream": 3, "latency": 3}),
    ],
)
def test_a_rank_runs_on_every_node_where_nobody_said_how_many(nodes, asked, expected):
    suite = parse_suite(OPEN, "open")
    if asked is not None:
        suite = override_ranks(suite, asked)
    plan = make_plan(fill_nodes(suite, nodes))
    found = {case.benchmark: job.ranks for job in plan.jobs for case in job.cases}
    assert found == expected


def test_ids_of_one_node_stay_as_they_were():
    (case, *_) = (
        case
        for job in make_plan(fill_nodes(parse_suite(OPEN, "open"), 1)).jobs
        for case in job.cases
        if case.benchmark == "matmul"
    )
    assert case.id == "matmul/batch=64/dtype=fp32/k=1000/n=1000"


def test_the_middle_place_of_each_launch_stands_for_all():
    random = np.random.default_rng(3)
    rows = [
        a_row(f"n{i}", launch, float(t))
        for launch in range(3)
        for i, t in enumerate(random.permutation(np.arange(1.0, 8.0)))
    ]
    assert [row.t_median_s for row in middle_rows(rows)] == [4.0, 4.0, 4.0]


def a_row(src: str, launch: int, seconds: float) -> Row:
    return Row(
        run="r",
        origin=Origin.MEASURED,
        launch=launch,
        case="c",
        benchmark="matmul",
        status=Status.OK,
        src=src,
        t_median_s=seconds,
    )


def test_places_without_a_time_stand_for_none_that_has_one():
    failed = Row(
        run="r",
        origin=Origin.MEASURED,
        launch=0,
        case="c",
        benchmark="matmul",
        status=Status.FAILED,
        src="n0",
    )
    assert middle_rows([failed, a_row("n1", 0, 2.0)])[0].src == "n1"
    assert middle_rows([failed])[0].src == "n0"


def test_a_kept_journal_of_before_places_gives_the_row_that_it_gave():
    case = small(2)
    place = Place("r", Origin.MEASURED, Job("j", Stage.TARGET, 0, 2, 1, (case,)), 0)
    old = decode(encode(CaseEnded(case=case.id, status=Status.OK, loops=1, sampled_ranks=2)))
    assert isinstance(old, CaseEnded)
    samples = {0: (1.0,) * 5, 1: (3.0,) * 5}
    (row,) = make_rows(place, case, old, samples, facts((0, 1)), STARTED)
    assert (row.src, row.t_median_s, row.slowest_rank) == ("n0", 3.0, 1)


def test_gpus_of_a_node_that_measure_meanwhile_are_counted():
    seats = [
        Seat(0, "a", "0000:01:00.0"),
        Seat(0, "a", "0000:02:00.0"),
        Seat(0, "a", "0000:03:00.0", Status.SKIPPED, "no"),
        Seat(1, "b", "0000:01:00.0"),
        Seat(0, "a", "0000:04:00.0", idle=True),
    ]
    assert [count_beside(seats, seat.place) for seat in seats] == [1, 1, 0, 0, 0]
    assert count_beside([Seat(0, "a", None), Seat(0, "a", None)], (0, None)) == 0
