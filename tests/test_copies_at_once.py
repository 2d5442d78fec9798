"""Copies of several ranks of a node, each with a GPU: they begin at once, and fail together.

Each rank is a thread with a simulated machine of its own, as processes have contexts of their own.
Their clocks are one: nobody leaves a meeting before the last one has come.
"""

import ctypes
from typing import Any

import msgspec
import pytest
from meeting import Meeting, World
from simulated_cuda import LAUNCH_S, CudaError, Simulated, SimulatedGpu
from test_measure import make_case

from bench.core.events import CaseEnded, Event
from bench.core.records import Sampling, Status
from bench.rank.at_once import group_places
from bench.rank.case import execute_case
from bench.rank.context import open_context

RULE = Sampling(cap_s=0.02, warmup_s=0.0, warmup_cap_s=0.001)
VERIFIED = 13
"""Batches behind a hold of a rank alone: rehearsed, `fixed_s`, verified."""
NBYTES = 20_000
"""20 us."""


class Node:
    """Ranks with a GPU each, whose clocks differ at first."""

    def __init__(self, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machines = [Simulated(ranks) for _ in range(ranks)]
        self.spans: list[list[tuple[float, float]]] = [[] for _ in range(ranks)]
        kinds = []
        for rank, machine in enumerate(self.machines):
            for queue in machine._hardware[rank]:
                queue.at = 7e-3 * rank
            machine.get_elapsed_time = self.record(rank)  # type: ignore[method-assign]
            kinds.append(type("Own", (SimulatedGpu,), {"machine": machine}))
        monkeypatch.setattr("bench.rank.memory.Gpu", lambda number: kinds[number](number))

    def record(self, rank: int) -> Any:
        def elapsed(begin: Any, end: Any) -> float:
            self.spans[rank].append((begin.at, end.at))
            return Simulated.get_elapsed_time(begin, end)

        return elapsed

    def now_s(self, rank: int) -> float:
        """Return what the clock of a host shows, which has launched what holds its stream."""
        machine = self.machines[rank]
        latest_s = max(queue.at for own in machine._hardware for queue in own)
        return latest_s + (LAUNCH_S if machine.holding else 0.0)


class ClockedWorld(World):
    """Nobody leaves a meeting before the last one has come."""

    node: Node
    number: int

    def gather(self, value: Any) -> list[Any]:
        told = super().gather((self.node.now_s(self.number), value))
        self.node.machines[self.number].host_s = max(at for at, _ in told)
        return [given for _, given in told]

    def split(self, colors: Any) -> "ClockedWorld":
        part = super().split(colors)
        part.__class__ = ClockedWorld
        assert isinstance(part, ClockedWorld)
        part.node, part.number = self.node, self.number
        return part


def carry_out(node: Node) -> list[Event]:
    ranks = len(node.machines)
    meeting = Meeting(ranks)
    case = make_case("copy", bytes=NBYTES, memory="pinned", dst_memory="device", ranks=ranks)

    def work(rank: int) -> list[Event]:
        world = ClockedWorld(meeting, rank, (0,) * ranks)
        world.node, world.number = node, rank
        context = msgspec.structs.replace(open_context(world, 1), own_cores=True)
        return list(execute_case(case, RULE, world, context))

    events: list[Event] = meeting.all_do(work)[0]
    return events


@pytest.mark.parametrize("ranks", [2, 4])
def test_copies_of_all_ranks_overlap(ranks, monkeypatch):
    node = Node(ranks, monkeypatch)
    *_, ended = carry_out(node)
    assert isinstance(ended, CaseEnded)
    assert [place.status for place in ended.places] == [Status.OK] * ranks
    assert [place.params["at_once"] for place in ended.places] == [1] * ranks
    count = ended.sample_count // ranks
    # The last one is of a verification.
    samples = list(zip(*(spans[-1 - count : -1] for spans in node.spans), strict=True))
    assert len(samples) == count >= 6
    for spans in samples:
        begins, ends = zip(*spans, strict=True)
        assert min(ends) - max(begins) >= 0.9 * (max(ends) - min(begins))
        assert max(ends) - min(begins) >= 5e-3


def test_copies_begin_together_where_only_the_faster_ones_have_untimed_ones_before(monkeypatch):
    """Those that take 9.5 ms have, and those of 10.5 ms have none while they are alone."""
    node = Node(2, monkeypatch)
    for machine, each_s in zip(node.machines, (9.5e-3, 10.5e-3), strict=True):
        monkeypatch.setattr(machine, "copy_s", lambda *_, s=each_s: s)
    *_, ended = carry_out(node)
    assert isinstance(ended, CaseEnded)
    count = ended.sample_count // 2
    for one, other in zip(*(spans[-1 - count : -1] for spans in node.spans), strict=True):
        assert min(one[1], other[1]) - max(one[0], other[0]) >= 0.9 * (one[1] - one[0])


@pytest.mark.parametrize("name", ["memcpyAsync", "eventSynchronize"])
@pytest.mark.parametrize("batch", [VERIFIED, VERIFIED + 1, VERIFIED + 6])
def test_an_error_of_one_rank_fails_all_and_nobody_waits_for_it(name, batch, monkeypatch):
    """As it queues and as it waits; while it verifies alone, and at once with others."""
    node = Node(3, monkeypatch)
    faults = node.machines[1].faults
    right, holds = faults.meet, [0]

    def meet(asked: str) -> None:
        holds[0] += asked == "hold"
        if asked == "hold" and holds[0] == batch:
            faults.raise_at(name, CudaError(1, "it broke"))
        right(asked)

    monkeypatch.setattr(faults, "meet", meet)
    *_, ended = carry_out(node)
    assert isinstance(ended, CaseEnded)
    assert [place.status for place in ended.places] == [Status.FAILED] * 3
    for place in ended.places:
        assert "rank 1: CudaError: it broke" in (place.reason or "")
    assert not ended.sample_count
    machine = node.machines[0]
    machine.wait_for_all()
    assert machine.holding == 0


def test_a_wrong_byte_on_one_gpu_leaves_none_of_the_others_unmeasured_and_ok(monkeypatch):
    node = Node(2, monkeypatch)
    machine = node.machines[1]
    right = machine.runtime.memcpy

    def spoil(target: int, source: int, nbytes: int, kind: int) -> None:
        right(target, source, nbytes, kind)
        if kind == 2:  # to the host
            ctypes.c_ubyte.from_address(target).value ^= 1

    monkeypatch.setattr(machine.runtime, "memcpy", spoil)
    *_, ended = carry_out(node)
    assert isinstance(ended, CaseEnded)
    reasons = [place.reason or "" for place in ended.places]
    assert [place.status for place in ended.places] == [Status.FAILED] * 2
    assert "wrong answer" in reasons[1]
    assert "rank 1 had wrong bytes" in reasons[0]


def test_places_of_a_node_sample_together_where_all_of_them_can():
    yes, no = (True,) * 4, (True, False, True, True)
    assert group_places((0, 1, 2, 3), yes, (0, 0, 1, 1)) == [0, 0, 2, 2]
    assert group_places((0, 1, 2, 3), no, (0, 0, 1, 1)) == [0, 1, 2, 2]
    # One that sleeps is not waited for.
    assert group_places((0, 4, 4, 1), no, (0, 0, 0, 0)) == [0, 4, 4, 0]
