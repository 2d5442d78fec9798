"""What ranks do together: none goes another way than the others by what it alone sees."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from meeting import Meeting, World
from test_measure import make_case

from bench.contracts import Context, Seconds
from bench.core.orderstats import relative_half_width
from bench.core.records import Sampling
from bench.measure import MEASUREMENTS
from bench.rank import active
from bench.rank import context as contexts
from bench.rank.context import open_context
from bench.rank.core_probe import open_wake
from bench.rank.outcome import Pass
from bench.rank.timing.sampling import CHECKPOINTS, Run

UNLIKE = (0, 0, 1)
"""Nodes of three ranks: two share one node, the third has the other to itself."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ranks that wait for one that never comes give up soon."""
    monkeypatch.setattr("meeting.TIMEOUT_S", 5)


def together(nodes: tuple[int, ...], work: Callable[[World], Any]) -> list[Any]:
    """Return what every rank's work returns, each with a world of its own."""
    meeting = Meeting(len(nodes))
    worlds = [World(meeting, rank, nodes) for rank in range(len(nodes))]
    return meeting.all_do(lambda rank: work(worlds[rank]))


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every node one core, which two ranks of the first one share."""
    monkeypatch.setattr(contexts, "usable_cores", lambda: (0,))


@pytest.mark.usefixtures("short", "one_core")
def test_whether_ranks_have_cores_of_their_own_is_one_answer_for_all():
    assert together(UNLIKE, lambda world: open_context(world, 1).own_cores) == [False] * 3
    assert together((0, 1, 2), lambda world: open_context(world, 1).own_cores) == [True] * 3
    assert together((0, 1, 2), lambda world: open_context(world, 2).own_cores) == [False] * 3


def sample_undisturbed(run: Run, rule: Sampling, world: World, context: Context) -> Pass:
    case = make_case("allreduce", ranks=world.size)
    watch = active.Watch(counters=False, gpus=False, clocks=False)
    task = active.Task(case, MEASUREMENTS["allreduce"], rule, watch)
    return active._sample_undisturbed(run, SimpleNamespace(params={}), task, world, context)


@pytest.mark.parametrize("wide", [0, 1])
def test_sampling_goes_on_until_the_times_of_the_slowest_rank_are_known(wide):
    """Rank 0 has steady times; those of rank 1 are longer, and steady or not."""

    def work(world: World) -> Pass:
        random = np.random.default_rng(1)

        def run(seconds: Seconds, _loops: int) -> None:
            noise = random.uniform(-0.5, 0.5, len(seconds)) * wide
            seconds[:] = 1e-3 if world.rank == 0 else 2e-3 * (1 + noise)

        context = open_context(world, 1)
        rule = Sampling(cap_s=1e6, warmup_s=0.0, warmup_cap_s=0.0)
        return sample_undisturbed(run, rule, world, context)

    one, other = together((0, 1), work)
    assert one.sampled.converged == other.sampled.converged
    assert len(one.sampled.seconds) == len(other.sampled.seconds)
    slowest = np.maximum(one.sampled.seconds, other.sampled.seconds)
    tolerance = MEASUREMENTS["allreduce"].tolerance
    assert one.sampled.converged == (relative_half_width(slowest) <= tolerance)
    assert len(slowest) == (CHECKPOINTS[-1] if wide else CHECKPOINTS[0])


@pytest.mark.usefixtures("short", "one_core")
def test_disturbed_ranks_of_unlike_nodes_take_equally_many_passes(monkeypatch):
    monkeypatch.setattr(active, "PAUSE_S", 0.0)
    # No rank ever runs, by its own clock: every pass is a disturbed one.
    monkeypatch.setattr(active.time, "thread_time", lambda: 0.0)

    def run(seconds: Seconds, _loops: int) -> None:
        seconds[:] = 1e-3

    def work(world: World) -> int:
        context: Context = open_context(world, 1)
        rule = Sampling(cap_s=0.0, warmup_s=0.0, warmup_cap_s=0.0)
        return sample_undisturbed(run, rule, world, context).passes

    assert len(set(together(UNLIKE, work))) == 1


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("broken", ["no folder", "no pipes"])
def test_without_a_folder_for_pipes_ranks_do_not_wake_each_other(monkeypatch, tmp_path, broken):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(
        *((tempfile, "mkdtemp") if broken == "no folder" else (os, "mkfifo")), refuse
    )
    assert together((0, 0), open_wake) == [None, None]
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("short")
def test_where_one_rank_cannot_open_the_pipes_none_uses_them(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened: list[Path] = []
    whole = os.open

    def open_some(path: Any, *arguments: Any, **others: Any) -> int:
        if Path(path).name in ("to0", "to1"):
            opened.append(path)
            if len(opened) > 2:
                raise OSError("not here")
        return whole(path, *arguments, **others)

    monkeypatch.setattr("bench.rank.core_probe.os.open", open_some)
    assert together((0, 0), open_wake) == [None, None]
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("short")
def test_ranks_of_one_node_wake_each_other(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("bench.rank.core_probe._WAKES", 3)

    def work(world: World) -> bool:
        wake = open_wake(world)
        assert wake is not None
        wake()
        return True

    assert together((0, 0), work) == [True, True]
    assert together((0, 1), open_wake) == [None, None]
    assert not list(tmp_path.iterdir())
