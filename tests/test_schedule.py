"""Schedules: every kind of step does over MPI what it says, compiled and interpreted alike."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.core.records import Job, Stage
from bench.core.schedule import Code, Schedule
from bench.launch.mpirun import MpirunLauncher
from bench.machine.mpi import find_mpi

PROGRAM = """
import sys, numpy as np
import mpi4py; mpi4py.rc.thread_level = "single"
from mpi4py import MPI
from bench.core.schedule import DeviceCopies, Schedule
from bench.rank.timing.interpreted import Mpi4pyMessageLoops
from bench.rank.timing.layers import open_message_loops

world = MPI.COMM_WORLD
rank, ranks = world.rank, world.size
loops = Mpi4pyMessageLoops(MPI) if sys.argv[1] == "interpreted" else open_message_loops(MPI)
assert loops.name == ("mpi4py" if sys.argv[1] == "interpreted" else "numba"), loops.name
N = 1000

def follow(write, samples=2, passes=3):
    schedule = Schedule()
    write(schedule)
    steps = schedule.cut()
    seconds, stamps = np.zeros(samples), np.zeros((samples, steps.stamps))
    loops.follow(seconds, passes, steps, None, stamps)
    return seconds, stamps

def numbers(rank, kind=np.float32, count=N):
    return (np.arange(count) + 7 * rank).astype(kind)

def addr(array):
    return array.ctypes.data

every = [numbers(r) for r in range(ranks)]
own = numbers(rank)

got = np.zeros_like(own)
def ring(s):
    s.meet(rank, ranks)
    s.begin()
    s.exchange(addr(own), own.nbytes, (rank + 1) % ranks, addr(got), got.nbytes, (rank - 1) % ranks)
    s.stamp()
    s.end()
seconds, stamps = follow(ring)
assert (got == every[(rank - 1) % ranks]).all()
assert (seconds > 0).all() and (stamps[:, 0] > 0).all() and (stamps[:, 0] <= seconds).all()

got[:] = 0
if ranks % 2 == 0:
    def pair(s):
        if rank % 2:
            s.receive(addr(got), got.nbytes, rank - 1)
        else:
            s.send(addr(own), own.nbytes, rank + 1)
    assert (follow(pair)[0] == 0).all()
    assert (got == (every[rank - 1] if rank % 2 else 0)).all()

got[:] = 0
follow(lambda s: (s.barrier(), s.allreduce(addr(own), addr(got), N, "fp32")))
assert (got == sum(every)).all()
double, doubled = numbers(rank, np.float64), np.zeros(N)
follow(lambda s: s.allreduce(addr(double), addr(doubled), N, "fp64"))
assert (doubled == sum(every).astype(float)).all()

wide = np.concatenate([numbers(rank) + p for p in range(ranks)])
follow(lambda s: s.reduce_scatter(addr(wide), addr(got), N, "fp32"))
assert (got == sum(every) + ranks * rank).all()

follow(lambda s: s.add(addr(got), addr(own), N, "fp32"), samples=1, passes=1)
assert (got == sum(every) + ranks * rank + numbers(rank)).all()

gathered = np.zeros(ranks * N, np.float32)
follow(lambda s: s.allgather(addr(own), addr(gathered), own.nbytes))
assert (gathered == np.concatenate(every)).all()

shuffled = np.zeros(ranks * N, np.float32)
follow(lambda s: s.alltoall(addr(wide), addr(shuffled), own.nbytes))
assert (shuffled == np.concatenate([e + rank for e in every])).all()

root = ranks - 1
text = every[root].copy() if rank == root else np.zeros(N, np.float32)
follow(lambda s: s.broadcast(addr(text), text.nbytes, root))
assert (text == every[root]).all()
follow(lambda s: s.scatter(addr(wide), addr(got), own.nbytes, root))
assert (got == every[root] + rank).all()
gathered[:] = 0
follow(lambda s: s.gather(addr(own), addr(gathered), own.nbytes, root))
assert (gathered == (np.concatenate(every) if rank == root else 0)).all()

# A conversation cut in two: messages are on their way between the cuts.
got[:] = 0
schedule = Schedule()
schedule.start_receive(addr(got), got.nbytes, (rank - 1) % ranks)
schedule.start_send(addr(own), own.nbytes, (rank + 1) % ranks)
first = schedule.cut()
schedule.test()
between = schedule.cut()
schedule.wait()
second = schedule.cut()
requests = loops.requests(second.requests)
loops.follow(np.zeros(1), 1, first, requests)
# Some of these find the messages done, and the last ones nothing left to do.
loops.follow(np.zeros(1), 50, between, requests)
loops.follow(np.zeros(1), 1, second, requests)
assert (got == every[(rank - 1) % ranks]).all()
print("right", flush=True)
"""


def launch_tokens(ranks: int) -> tuple[str, ...]:
    """Return what starts so many ranks here, without the program."""
    mpi = find_mpi()
    assert mpi is not None
    launcher = MpirunLauncher(mpi, len(os.sched_getaffinity(0)))
    tokens = launcher.command(Job("", Stage.TARGET, 0, ranks, 1, ())).tokens
    return tokens[: tokens.index(sys.executable)]


@pytest.mark.mpi
@pytest.mark.parametrize("layer", ["native", "interpreted"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_every_step_does_what_it_says(ranks: int, layer: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [*launch_tokens(ranks), sys.executable, str(program), layer],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("right") == ranks


def test_a_cut_leaves_what_was_started_open() -> None:
    schedule = Schedule()
    schedule.start_receive(64, 8, 1)
    schedule.start_send(128, 8, 1)
    first = schedule.cut()
    schedule.wait()
    second = schedule.cut()
    assert first.table[:, 0].tolist() == [Code.IRECV, Code.ISEND]
    assert second.table.tolist() == [[Code.WAITALL, 0, 2, 0, 0, 0]]
    assert second.requests == 2


def test_waiting_for_nothing_is_no_step() -> None:
    schedule = Schedule()
    schedule.wait()
    assert len(schedule.cut().table) == 0


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
def test_whoever_leaves_a_meeting_has_heard_of_all(ranks: int) -> None:
    """Follow who has heard of whom through the rounds of every rank."""
    tables = []
    for rank in range(ranks):
        schedule = Schedule()
        schedule.meet(rank, ranks)
        tables.append(schedule.cut().table)
    heard = [{rank} for rank in range(ranks)]
    rounds = len(tables[0]) // 3
    assert rounds == int(np.ceil(np.log2(ranks)))
    for turn in range(rounds):
        sources = [int(table[3 * turn, 3]) for table in tables]
        heard = [mine | heard[source] for mine, source in zip(heard, sources, strict=True)]
    assert heard == [set(range(ranks))] * ranks
