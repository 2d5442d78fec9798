"""Copies between the GPUs of one process: which, whether they are right, and how long they take."""

import os
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from meeting import Meeting, World
from simulated_cuda import FIXED_MOST_S, RATE, simulate
from test_measure import make_case

from bench.contracts import Context
from bench.core.events import CaseEnded
from bench.core.records import Axis, Case, Sampling, Status, Work
from bench.measure import MEASUREMENTS
from bench.measure.peer_copy import routes
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.rank.case import execute_case
from bench.rank.context import open_context
from bench.rank.gpu_queues import QUEUE_VARIABLES, ask_for_queues
from bench.rank.world import SoloWorld

PEER_COPY = MEASUREMENTS["peer_copy"]
SIZE = 50_000


def peer_case(**axes: Axis) -> Case:
    """Return the first of the cases: from GPU 0 to GPU 1, or GPU 0 is the one."""
    return make_case("peer_copy", **{"bytes": SIZE, "gpus": 4, **axes})


def open_simulated(monkeypatch: pytest.MonkeyPatch, gpus: int, peers: bool = True) -> Context:
    simulate(monkeypatch, gpus, peers)
    return open_context(SoloWorld(), 1)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({}, [(0, 1)]),
        ({"direction": "bi"}, [(0, 1), (1, 0)]),
        ({"pattern": "one_to_all"}, [(0, 1), (0, 2), (0, 3)]),
        ({"pattern": "all_to_one"}, [(1, 0), (2, 0), (3, 0)]),
    ],
)
def test_a_case_is_its_copies_and_every_byte_counts(axes, expected):
    case = peer_case(**axes)
    assert routes(case) == expected
    total = SIZE * len(expected)
    assert PEER_COPY.work(case) == Work(
        bytes=total, bytes_per_rank=total, bytes_total=total, rate_bytes=total
    )


SUITE = """
[suite]
name = "peers"
[[benchmark]]
name = "peer_copy"
gpus = 4
bytes = "1 MiB"
direction = ["uni", "bi"]
pattern = ["pair", "one_to_all", "all_to_one"]
"""


def test_the_plan_shows_every_pair_and_every_gpu_in_the_middle():
    plan = make_plan(parse_suite(SUITE, "peers.toml"))
    cases = [case for job in plan.jobs for case in job.cases]
    kinds = Counter((case.axes["pattern"], case.axes["direction"]) for case in cases)
    # Both ways at once have no order.
    assert kinds == {
        ("pair", "uni"): 12,
        ("pair", "bi"): 6,
        **{(p, d): 4 for p in ("one_to_all", "all_to_one") for d in ("uni", "bi")},
    }
    assert len({case.id for case in cases}) == len(cases)
    assert {job.ranks for job in plan.jobs} == {1}


@pytest.mark.parametrize("access", ["write", "read"])
@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("pattern", ["pair", "one_to_all", "all_to_one"])
def test_copies_between_gpus_are_right_and_begin_together(
    pattern, direction, engine, access, monkeypatch
):
    context = open_simulated(monkeypatch, 4)
    case = peer_case(pattern=pattern, direction=direction, engine=engine, access=access)
    assert PEER_COPY.unsupported(case, context) is None
    operation = PEER_COPY.prepare(case, context)
    count = (1 if pattern == "pair" else 3) * (2 if direction == "bi" else 1)
    for seed in (1, 2):
        assert operation.verify(seed) == (SIZE * count, 0)
    seconds = np.zeros(3)
    operation.run(seconds, 4)
    # Every one has a stream of its own, and the simulated links share nothing.
    assert (seconds >= SIZE / RATE).all()
    assert (4 * (seconds - SIZE / RATE) <= FIXED_MOST_S).all()
    assert operation.timing_layer == "device events"
    assert operation.params["peer_access"] == "yes"
    assert 0 < int(operation.params["fixed_ns"]) <= FIXED_MOST_S * 1e9


def test_a_wrong_byte_on_another_gpu_is_seen(monkeypatch):
    context = open_simulated(monkeypatch, 4)
    operation: Any = PEER_COPY.prepare(peer_case(pattern="one_to_all"), context)
    right = operation._timed.time

    def spoil(times: int) -> float:
        seconds = float(right(times))
        target = operation._moves[2].target
        data = target.read()
        data[SIZE // 2] ^= 1
        target.write(data)
        return seconds

    operation._timed.time = spoil
    assert operation.verify(1).bytes_wrong == 1


def test_without_peer_access_copies_pass_the_host_and_kernels_are_skipped(monkeypatch):
    context = open_simulated(monkeypatch, 2, peers=False)
    case = peer_case(gpus=2)
    operation = PEER_COPY.prepare(case, context)
    assert operation.verify(1) == (SIZE, 0)
    assert operation.params["peer_access"] == "no"
    assert operation.timing_layer == "device events, not held"
    *_, ended = execute_case(case, Sampling(cap_s=0.05), SoloWorld(), context)
    assert ended.status is Status.OK
    reason = PEER_COPY.unsupported(peer_case(gpus=2, engine="kernel"), context) or ""
    assert reason == "GPU 0 and GPU 1 have no peer access"


@pytest.mark.parametrize(
    ("gpus", "reason"),
    [
        (1, "it needs 2 GPUs in one process, and this one sees 1 GPU"),
        (0, "no device memory here: it needs a GPU and CuPy"),
    ],
)
def test_too_few_gpus_are_a_plain_reason(gpus, reason, monkeypatch):
    if gpus:
        context = open_simulated(monkeypatch, gpus)
    else:
        context = open_context(SoloWorld(), 1)
        if context.memories.lacks("device") is None:
            pytest.skip("there is a GPU")
    assert (PEER_COPY.unsupported(peer_case(gpus=2), context) or "").startswith(reason)


class Second(SoloWorld):
    """A rank that takes no part."""

    rank = 1
    size = 2
    nodes = (0, 0)


def test_ranks_beside_the_first_one_sleep(monkeypatch):
    context = open_simulated(monkeypatch, 4)
    beside = msgspec.structs.replace(context, communicator=Second())
    case = peer_case(ranks=4)
    assert PEER_COPY.unsupported(case, beside) is None
    assert PEER_COPY.prepare(case, beside).idle
    assert not PEER_COPY.prepare(case, context).idle


@pytest.mark.parametrize("opened", [True, False])
def test_a_rank_that_sleeps_is_no_place_and_copied_nothing_meanwhile(opened, monkeypatch):
    """Whether or not an earlier case had opened its GPU."""
    simulate(monkeypatch, 2)
    meeting, case = Meeting(2), peer_case(gpus=2, ranks=2)

    def work(rank: int) -> CaseEnded:
        world = World(meeting, rank, (0, 0))
        context = open_context(world, 1)
        for turn in (1, 0):  # the GPU of the first rank is the current one in the end
            if opened and turn == rank:
                assert context.memories.lacks("device") is None
            world.sleep_until_all_arrive()
        *_, ended = execute_case(case, Sampling(cap_s=0.02), world, context)
        assert isinstance(ended, CaseEnded)
        return ended

    ended, *_ = meeting.all_do(work)
    (place,) = ended.places
    assert (place.gpu, place.ranks, place.status) == ("0000:00:00.0", (0,), Status.OK)
    assert "gpus_beside" not in place.params
    assert ended.sampled_ranks == 1


def test_streams_share_hardware_queues_unless_there_are_enough(monkeypatch):
    case = peer_case(gpus=10, pattern="one_to_all")
    seconds = {}
    for asked in (False, True):
        for name in QUEUE_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        if asked:
            ask_for_queues(os.environ)
        operation = PEER_COPY.prepare(case, open_simulated(monkeypatch, 10))
        times = np.zeros(1)
        operation.run(times, 100)
        seconds[asked] = times[0]
    # 9 copies are one more than CUDA has queues: two take turns.
    assert seconds[False] == pytest.approx(2 * SIZE / RATE, rel=0.02)
    assert seconds[True] == pytest.approx(SIZE / RATE, rel=0.02)


def test_queues_that_somebody_chose_are_left():
    environment = {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    ask_for_queues(environment)
    assert environment["CUDA_DEVICE_MAX_CONNECTIONS"] == "1"


def test_a_case_runs_from_its_check_to_its_end(monkeypatch):
    context = open_simulated(monkeypatch, 4)
    *_, ended = execute_case(peer_case(direction="bi"), Sampling(cap_s=0.05), SoloWorld(), context)
    assert (ended.status, ended.bytes_wrong) == (Status.OK, 0)
    assert ended.timing_layer == "device events"
    assert ended.params["peer_access"] == "yes"


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("pattern", ["pair", "one_to_all", "all_to_one"])
def test_copies_between_real_gpus_are_right_and_take_time(pattern, direction, engine):
    context = open_context(SoloWorld(), 1)
    axes = {"pattern": pattern, "direction": direction, "engine": engine}
    case = peer_case(bytes=2**20 + 5, gpus=2, **axes)
    reason = PEER_COPY.unsupported(case, context)
    if reason is not None:
        pytest.skip(reason)
    operation = PEER_COPY.prepare(case, context)
    for seed in (1, 2):
        checked = operation.verify(seed)
        assert checked == (len(routes(case)) * (2**20 + 5), 0)
    seconds = np.zeros(5)
    operation.run(seconds, 300)
    assert (seconds > 0).all()
    assert operation.params["peer_access"] in ("yes", "no")
