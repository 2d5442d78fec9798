"""Which way messages took, as the kernel saw it: under settings of either MPI that decide it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import Case, Job, Stage
from bench.core.transport import Transport
from bench.machine.shared_memory import POSSIBLE, try_cross_attach
from bench.rank.transport import large_bytes, observe_transports
from bench.rank.world import SoloWorld

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
