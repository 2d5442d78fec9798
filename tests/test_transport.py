"""Which way messages took, as the kernel saw it: under settings of either MPI that decide it."""

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_run

from bench.core.records import Case, Job, Stage
from bench.core.transport import Transport
from bench.machine.shared_memory import POSSIBLE, try_cross_attach
from bench.rank.message_signs import Told
from bench.rank.transport import Side, judge_transport, large_bytes, observe_transports
from bench.rank.world import SoloWorld
from bench.report.anonymise import anonymise
from bench.report.background import machine
from bench.report.data import read_run
from bench.store.folder import RunFolder
from bench.store.nodes import NodeRecorder, Nodes, read_nodes, write_nodes

ROOT = Path(__file__).parent.parent
RANK = """
import sys
import msgspec
from bench.core.records import Case, Job, Stage
from bench.rank.world import MpiWorld
world = MpiWorld()
from bench.rank.transport import observe_transports
case = Case("x", "latency", {"bytes": int(sys.argv[1])})
job = Job("x", Stage.TARGET, 0, world.size, 1, (case,))
found = observe_transports(world, job, [f"h{n}" for n in range(world.size)])
if world.rank == 0:
    print(msgspec.json.encode(found).decode())
"""
MIB = 1 << 20


def observe(
    python: Path | str, *options: str, size: int = MIB, ranks: int = 2, **env: str
) -> list[dict[str, Any]]:
    """Start ranks that look, and return what rank 0 found."""
    mpirun = Path(python).parent / "mpirun"
    root = ["--allow-run-as-root"] if Path(python) == Path(sys.executable) else []
    done = subprocess.run(
        [str(mpirun), "-n", str(ranks), *root, *options, str(python), "-c", RANK, str(size)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_process_alone_has_none():
    job = Job("x", Stage.TARGET, 0, 1, 1, ())
    assert observe_transports(SoloWorld(), job, ["h"]) == ()


@pytest.mark.mpi
def test_shared_memory_with_and_without_a_single_copy_is_told_from_tcp():
    quick = ("--mca", "btl", "^ofi,uct")
    (shared,) = observe(sys.executable, *quick)
    (copied,) = observe(sys.executable, *quick, "--mca", "smsc", "^cma,xpmem,knem")
    (tcp,) = observe(sys.executable, "--mca", "btl", "self,tcp")
    assert (shared["small"], shared["large"]) == ("shared memory", "shared memory")
    if try_cross_attach() == POSSIBLE:
        assert shared["copies"] == "single copy by CMA"
    assert (copied["large"], copied["copies"]) == ("shared memory", "two copies")
    assert tcp["small"] == tcp["large"]
    assert tcp["small"].startswith("TCP over ")
    assert tcp.get("copies") is None
    assert {one["hosts"][0] for one in (shared, copied, tcp)} == {"h0"}


@pytest.mark.mpi
def test_no_larger_message_is_tried_than_the_job_has():
    # Of more ranks than two, a pair tries.
    (found,) = observe(
        sys.executable, "--mca", "btl", "^ofi,uct", "--oversubscribe", size=8, ranks=3
    )
    assert found["small"] == "shared memory"
    assert found.get("large_bytes") is found.get("large") is found.get("copies") is None


@pytest.mark.mpi
@pytest.mark.slow
def test_the_same_is_seen_of_another_mpi(mpich):
    (shared,) = observe(mpich)
    assert (shared["small"], shared["large"]) == ("shared memory", "shared memory")
    # As if the ranks were on two hosts.
    (apart,) = observe(mpich, MPIR_CVAR_NOLOCAL="1")
    assert apart["hosts"] == ["h0", "h1"]


def test_words_for_people():
    shared = Transport(
        hosts=("n1",),
        small="shared memory",
        large="shared memory",
        copies="two copies",
        small_bytes=1024,
        large_bytes=MIB,
    )
    assert shared.between == "within a host"
    assert shared.describe() == "shared memory, two copies"
    mixed = Transport(
        hosts=("n1", "n2"), small="TCP over eth0", small_bytes=1024, large_bytes=131072
    )
    assert mixed.between == "between hosts"
    assert mixed.describe() == "TCP over eth0; from 131072 B unknown"
    assert Transport(hosts=("n1",), small_bytes=1024).describe() == "unknown"


def test_large_messages_are_as_large_as_those_of_the_job():
    def job(*sizes: int) -> Job:
        cases = tuple(Case(str(size), "latency", {"bytes": size}) for size in sizes)
        return Job("x", Stage.TARGET, 0, 2, 1, cases)

    assert large_bytes(job(8, 1024), MIB) is None
    assert large_bytes(job(8, 200_000), MIB) == 200_000
    assert large_bytes(job(8, 1 << 30), MIB) == MIB
    assert large_bytes(job(), MIB) is None


PAGES = MIB // mmap.PAGESIZE
HERE, AWAY = ("n1",), ("n1", "n2")
RDMA = Told(rdma=("mlx5_0:1",))
TCP = Told(tcp=("eth0",))
SEGMENT = frozenset({"00:1b 77"})


def side(
    told: Told, shared: frozenset[str] = SEGMENT, way: str | None = None, faults: int = 0
) -> Side:
    return Side(told, told._replace(faults=faults), shared, way)


@pytest.mark.parametrize(
    ("hosts", "sender", "receiver", "carrier"),
    [
        (HERE, side(Told()), side(Told()), "shared memory"),
        (HERE, side(Told()), side(TCP), "TCP over eth0"),
        (HERE, side(Told()), side(Told(), frozenset({"00:1b 78"})), None),
        (HERE, side(RDMA, frozenset()), side(RDMA), "RDMA over mlx5_0:1"),
        # Which of the two it was, nobody can say.
        (HERE, side(RDMA), side(RDMA), None),
        (AWAY, side(RDMA), side(RDMA), "RDMA over mlx5_0:1"),
        # The other traffic of one host.
        (AWAY, side(RDMA), side(Told()), None),
        # Two hosts may number their memory alike.
        (AWAY, side(Told()), side(Told()), None),
        (AWAY, side(Told()), side(Told(tcp=("eth0", "eth1"))), "TCP over eth0 and eth1"),
    ],
)
def test_what_both_sides_saw_says_what_carried_messages(hosts, sender, receiver, carrier):
    found = judge_transport(hosts, sender, receiver, MIB)
    assert (found.small, found.large) == (carrier, carrier)


@pytest.mark.parametrize(
    ("sender", "receiver", "way", "copies"),
    [
        (3, 2 * PAGES + 5, None, "single copy by CMA"),
        (2 * PAGES, 0, None, "single copy by CMA"),
        (0, 2 * PAGES, "XPMEM", "single copy by XPMEM"),
        (PAGES, PAGES, None, "two copies"),
        (PAGES + 40, PAGES + 3, "XPMEM", "two copies"),
        # A kernel that does not count, or pages that were there before.
        (0, 0, None, None),
        (PAGES, 0, None, None),
    ],
)
def test_who_touched_fresh_pages_tells_how_often_they_were_copied(sender, receiver, way, copies):
    sides = side(Told(), faults=sender), side(Told(), way=way, faults=receiver)
    assert judge_transport(HERE, *sides, MIB).copies == copies


BAD = "n1\x1b[31m<b>"


def test_transports_are_kept_once_and_shown_without_names(tmp_path):
    seen = Transport(hosts=("node07",), small=f"TCP over {BAD}", small_bytes=1024)
    folder = write_run(tmp_path / "run").path
    recorder = NodeRecorder(folder, read_nodes(folder))
    recorder.add_transports((seen,))
    recorder.add_transports((seen,))
    recorder.close()
    run = RunFolder(folder)
    assert run.nodes.transports == [seen]
    assert list(run.nodes.hosts) == ["node07"]
    (tmp_path / "copy").mkdir()
    write_nodes(tmp_path / "copy", run.nodes)
    assert read_nodes(tmp_path / "copy").transports == [seen]
    data = read_run(run, "A")
    (shown,) = [b for b in machine(data) if "carry" in str(b)]
    assert "node07 (within a host)" in str(shown)
    (hidden,) = [b for b in machine(anonymise([data])[0]) if "carry" in str(b)]
    assert "node07" not in str(hidden)
    assert "\x1b" not in str(hidden) + str(shown)


def test_a_run_of_before_has_none(tmp_path):
    assert write_run(tmp_path / "run").nodes.transports == []
    assert Nodes().transports == []
