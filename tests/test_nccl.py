"""NCCL through CuPy's binding: the calls, their groups and waits, faults seen, reasons agreed."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from joined import Binding, Communicator, ThreadWorld, context_of, prepare
from test_measure import make_case
from test_mpi import by_case, run

from bench.contracts import Checked, Context, Operation, Seconds, SharesTime, UnpreparedError
from bench.core.records import Axis, Case, Sampling, Status, parse_params
from bench.core.schedule import Schedule, Steps
from bench.measure import MEASUREMENTS
from bench.measure.blocks import KINDS
from bench.measure.collectives import CALLS
from bench.plan.plan import expand, make_plan
from bench.plan.suite import Block, load_suite
from bench.rank.case import execute_case
from bench.rank.context import open_context
from bench.rank.memory.gpu import MissingMemoryError
from bench.rank.memory.nccl import SHARING_VARIABLE, Nccl, NcclCalls, find_shared, version_text
from bench.rank.outcome import HOST_BOUND
from bench.rank.timing.gpu_library_loops import GpuLibraryLoops
from bench.rank.world import SoloWorld

MOVING = [kind.name for kind in KINDS if kind.moves]
ROOTED = [kind.name for kind in KINDS if kind.rooted]
Numbers = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def coll_case(name: str, ranks: int = 3, **axes: Axis) -> Case:
    there: dict[str, Axis] = {} if name == "barrier" else {"bytes": 4096, "memory": "device"}
    return make_case(name, ranks=ranks, library="nccl", **{**there, **axes})


def pair_case(name: str, ranks: int = 2, **axes: Axis) -> Case:
    return make_case(
        name, ranks=ranks, memory="device", path="nccl", **{"bytes": 5000, "window": 3, **axes}
    )


def many_case(name: str, **axes: Axis) -> Case:
    return make_case(name, memory="device", library="nccl", bytes=5000, window=3, **axes)


def verify(case: Case, binding: Binding, context: Context, seed: int = 1) -> list[Checked]:
    def check(operation: Operation) -> Checked:
        return Checked(0, 0) if operation.idle else operation.verify(seed)

    operations = prepare(binding, MEASUREMENTS[case.benchmark], case, context)
    return binding.meeting.all_do(lambda rank: check(operations[rank]))


def once(case: Case, context: Context) -> list[list[tuple[Any, ...]]]:
    """Return what every rank calls in one timed operation."""
    binding = Binding(int(case.axes["ranks"]))
    operations = prepare(binding, MEASUREMENTS[case.benchmark], case, context)
    binding.meeting.all_do(
        lambda rank: operations[rank].idle or operations[rank].run(np.empty(1), 1)
    )
    return binding.calls


def words(calls: list[tuple[Any, ...]]) -> str:
    """Return the names of calls, with the peer of a message."""
    return " ".join(
        f"{call[0]}{call[3]}" if call[0] in ("send", "recv") else str(call[0]) for call in calls
    )


# Right answers, and wrong ones that are seen.


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_collective_calls_are_right_to_the_last_byte(
    name: str, ranks: int, context: Context
) -> None:
    for axes in ({}, {"mode": "throughput"}):
        found = verify(coll_case(name, ranks, **axes), Binding(ranks), context)
        assert sum(checked.bytes_checked for checked in found) >= 4096
        assert [checked.bytes_wrong for checked in found] == [0] * ranks


@pytest.mark.parametrize("name", ROOTED)
def test_every_rank_can_be_the_root(name: str, context: Context) -> None:
    found = verify(coll_case(name, root="rotating"), Binding(3), context)
    assert [checked.bytes_wrong for checked in found] == [0] * 3
    assert all(checked.bytes_checked > 0 for checked in found)


@pytest.mark.parametrize("name", ["allreduce", "reduce_scatter"])
def test_sums_are_right_in_double_precision_too(name: str, context: Context) -> None:
    found = verify(coll_case(name, dtype="fp64"), Binding(3), context)
    assert [checked.bytes_wrong for checked in found] == [0] * 3


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("place", [0, -1])
def test_one_wrong_element_on_one_rank_is_seen_there_alone(
    name: str, place: int, context: Context
) -> None:
    bad = 0 if name == "gather" else 1
    done: list[int] = []

    def spoil(_call: str, rank: int, elements: Numbers) -> None:
        if rank == bad and not done:
            elements[place] += 1
            done.append(1)

    size = 4 if name in ("allreduce", "reduce_scatter") else 1
    found = verify(coll_case(name), Binding(3, spoil), context)
    assert [checked.bytes_wrong for checked in found] == [size * (rank == bad) for rank in range(3)]


PAIRS = ["latency", "bandwidth", "bibandwidth", "message_rate"]


@pytest.mark.parametrize("name", PAIRS)
def test_messages_between_two_ranks_are_right_and_wrong_ones_seen(
    name: str, context: Context
) -> None:
    case = latency_case(3) if name == "latency" else pair_case(name, 3)
    assert [c.bytes_wrong for c in verify(case, Binding(3), context)] == [0, 0, 0]

    def spoil(_call: str, rank: int, elements: Numbers) -> None:
        if rank == 2:
            elements[-1] ^= 1

    wrong = [c.bytes_wrong for c in verify(case, Binding(3, spoil), context)]
    assert wrong == [0, 0, 1 if name == "latency" else 3]


def latency_case(ranks: int = 2) -> Case:
    return make_case("latency", bytes=5000, ranks=ranks, memory="device", path="nccl")


def test_pairs_of_every_two_ranks_fall_out_of_the_same_code(context: Context) -> None:
    for name in ("pairs_latency", "pairs_bandwidth", "pairs_bibandwidth"):
        axes = {axis.name: axis.default for axis in MEASUREMENTS[name].axes}
        block = {**axes, "ranks": (3,), "memory": ("device",), "path": ("nccl",), "bytes": (500,)}
        for case in expand(Block(name, dict(sorted(block.items())))):
            found = verify(case, Binding(3), context)
            ends = (case.axes["src_rank"], case.axes["dst_rank"])
            assert [c.bytes_wrong for c in found] == [0] * 3
            assert found[int(ends[1])].bytes_checked > 0
            assert all(found[r].bytes_checked == 0 for r in range(3) if r not in ends)


MANY = [
    many_case("multi_pair", pairs=2, ranks=4),
    many_case("multi_pair", pairs=2, ranks=5, pattern="neighbours"),
    many_case("fan_in", peers=3, ranks=4),
    many_case("fan_out", peers=3, ranks=4),
]


@pytest.mark.parametrize("case", MANY, ids=lambda case: case.id)
def test_windows_of_many_ranks_at_once(case: Case, context: Context) -> None:
    ranks = int(case.axes["ranks"])
    right = verify(case, Binding(ranks), context)
    assert [checked.bytes_wrong for checked in right] == [0] * ranks
    windows = 3 if case.benchmark.startswith("fan") else 2
    assert sum(checked.bytes_checked for checked in right) == windows * 3 * 5000
    victim = next(rank for rank, checked in enumerate(right) if checked.bytes_checked)
    done: list[int] = []

    def spoil(_call: str, rank: int, elements: Numbers) -> None:
        if rank == victim and not done:
            elements[17] ^= 255
            done.append(1)

    wrong = [checked.bytes_wrong for checked in verify(case, Binding(ranks, spoil), context)]
    assert wrong == [int(rank == victim) for rank in range(ranks)]


# What is called, in which groups, and when a rank waits.


def test_one_call_at_a_time_waits_for_the_stream_after_each(context: Context) -> None:
    for name, call in (
        ("allreduce", "allReduce"),
        ("reduce_scatter", "reduceScatter"),
        ("allgather", "allGather"),
        ("broadcast", "broadcast"),
    ):
        assert [words(calls) for calls in once(coll_case(name), context)] == [
            f"{call} synchronize"
        ] * 3


def test_calls_back_to_back_wait_once(context: Context) -> None:
    for calls in once(coll_case("allreduce", mode="throughput"), context):
        assert words(calls) == " ".join([*["allReduce"] * CALLS, "synchronize"])


def test_what_nccl_has_no_call_for_is_one_group_of_messages(context: Context) -> None:
    alltoall = "groupStart send0 send1 send2 recv0 recv1 recv2 groupEnd synchronize"
    assert [words(calls) for calls in once(coll_case("alltoall"), context)] == [alltoall] * 3
    assert [words(calls) for calls in once(coll_case("scatter"), context)] == [
        "groupStart send0 send1 send2 recv0 groupEnd synchronize",
        "groupStart recv0 groupEnd synchronize",
        "groupStart recv0 groupEnd synchronize",
    ]
    assert [words(calls) for calls in once(coll_case("gather"), context)] == [
        "groupStart send0 recv0 recv1 recv2 groupEnd synchronize",
        "groupStart send0 groupEnd synchronize",
        "groupStart send0 groupEnd synchronize",
    ]


def test_blocks_of_a_group_lie_side_by_side(context: Context) -> None:
    calls = once(coll_case("alltoall"), context)[1]
    sends = [call[1] for call in calls if call[0] == "send"]
    assert [address - sends[0] for address in sends] == [0, 4096, 8192]
    assert {call[2] for call in calls if call[0] in ("send", "recv")} == {4096}


def test_a_window_is_one_group_and_both_ways_at_once_as_well(context: Context) -> None:
    one_way = once(pair_case("bandwidth"), context)
    assert words(one_way[0]) == "groupStart send1 send1 send1 groupEnd synchronize"
    assert words(one_way[1]) == "groupStart recv0 recv0 recv0 groupEnd synchronize"
    both = once(pair_case("bibandwidth", bytes=10), context)[0]
    assert words(both) == "groupStart recv1 recv1 recv1 send1 send1 send1 groupEnd synchronize"


def test_a_round_trip_waits_for_each_of_its_messages(context: Context) -> None:
    there, back = once(latency_case(), context)
    each = "groupStart {} groupEnd synchronize groupStart {} groupEnd synchronize"
    assert words(there) == each.format("send1", "recv1")
    assert words(back) == each.format("recv0", "send0")


def test_a_rank_that_takes_no_part_calls_nothing(context: Context) -> None:
    calls = once(pair_case("bandwidth", 3), context)
    assert [bool(made) for made in calls] == [True, False, True]


def test_a_time_is_that_of_one_call_and_not_of_the_barrier(context: Context) -> None:
    binding = Binding(3)
    case = coll_case("allgather", mode="throughput")
    operations = prepare(binding, MEASUREMENTS["allgather"], case, context)
    seconds = [np.empty(3) for _ in range(3)]
    binding.meeting.all_do(lambda rank: operations[rank].run(seconds[rank], 2))
    assert all((times > 0).all() for times in seconds)
    assert operations[0].overhead_s is not None
    assert operations[0].overhead_s > 0
    # Two loops of three samples, each of so many calls and one wait.
    assert words(binding.calls[0]) == " ".join(6 * [*["allGather"] * CALLS, "synchronize"])


@pytest.mark.parametrize("name", ["bandwidth", "multi_pair", "alltoall"])
@pytest.mark.parametrize("by_host", [True, False])
def test_the_share_of_the_host_is_that_of_all_calls_which_it_queues(
    name: str, by_host: bool, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call takes long; a window of them, or a message to each rank, does."""
    ranks = 8 if name == "alltoall" else 2
    case = {
        "bandwidth": pair_case("bandwidth", window=16),
        "multi_pair": make_case(
            name, ranks=2, pairs=1, memory="device", library="nccl", bytes=500, window=16
        ),
        "alltoall": coll_case("alltoall", ranks),
    }[name]
    binding = Binding(ranks)
    send, wait = Communicator.send, Binding.synchronize

    def send_slowly(self: Communicator, *args: Any) -> None:
        time.sleep(0.5e-3)
        send(self, *args)

    def wait_long(self: Binding, rank: int) -> None:
        time.sleep(0.05)
        wait(self, rank)

    if by_host:
        monkeypatch.setattr(Communicator, "send", send_slowly)
    else:
        monkeypatch.setattr(Binding, "synchronize", wait_long)
    operations = prepare(binding, MEASUREMENTS[name], case, context)
    for count in (1, 2):
        binding.meeting.all_do(lambda rank, n=count: operations[rank].run(np.empty(n), 1))
    operation = operations[0]
    assert isinstance(operation, SharesTime)
    assert operation.host_share is not None
    assert 0 < operation.host_share < 1
    assert (operation.host_share > HOST_BOUND) is by_host
    # Of one call it cannot be seen.
    assert operation.overhead_s is not None
    assert operation.overhead_s < 0.5e-3


def test_the_row_tells_the_version_and_the_timing_layer(context: Context) -> None:
    for case in (coll_case("allreduce"), pair_case("bandwidth", 3), *MANY[:1]):
        binding = Binding(int(case.axes["ranks"]))
        operation = prepare(binding, MEASUREMENTS[case.benchmark], case, context)[0]
        assert operation.params["nccl"] == "2.27.7"
        assert operation.timing_layer == "cupy"
    assert version_text(22_707) == "2.27.7"
    assert version_text(23_203) == "2.32.3"
    assert version_text(2708) == "2.7.8"


def test_one_communicator_serves_all_cases_of_a_job(context: Context) -> None:
    binding = Binding(2)
    ranks = [context_of(binding, rank, context) for rank in range(2)]
    for case in (coll_case("allreduce", 2), pair_case("bandwidth"), latency_case()):
        measurement = MEASUREMENTS[case.benchmark]
        reasons = binding.meeting.all_do(
            lambda r, m=measurement, c=case: m.unsupported(c, ranks[r])
        )
        assert reasons == [None, None]
        binding.meeting.all_do(lambda r, m=measurement, c=case: m.prepare(c, ranks[r]))
    assert sorted(binding.made) == [0, 1]


def test_a_step_that_no_gpu_queues_is_refused() -> None:
    schedule = Schedule()
    schedule.barrier()
    loops = GpuLibraryLoops(Nothing(), None, 0, 1)
    with pytest.raises(ValueError, match="BARRIER"):
        loops.follow(np.empty(1), 1, schedule.cut())
    schedule.send(0, 0, 1)
    with pytest.raises(ValueError, match="need MPI"):
        loops.follow(np.empty(1), 1, schedule.cut())


class Nothing:
    """Calls that do nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


# Reasons, which all ranks agree on.


def reasons_of(binding: Binding, case: Case, context: Context, gpus: dict[int, Any]) -> list[Any]:
    """Return the reason of each rank for a case, where some have another GPU."""
    here = [
        context_of(binding, rank, context, gpus.get(rank)) for rank in range(binding.meeting.ranks)
    ]
    return binding.meeting.all_do(
        lambda rank: MEASUREMENTS[case.benchmark].unsupported(case, here[rank])
    )


def no_gpu() -> Any:
    raise MissingMemoryError("it needs a GPU and CuPy (ImportError)")


@pytest.mark.parametrize(
    "case", [coll_case("allreduce", 4), pair_case("bandwidth", 4), MANY[0]], ids=lambda c: c.id
)
def test_a_rank_without_a_gpu_is_named_on_every_rank(case: Case, context: Context) -> None:
    found = reasons_of(Binding(4), case, context, {2: no_gpu})
    why = "no NCCL or RCCL here: on rank 2 it needs a GPU and CuPy (ImportError)"
    assert found == [why] * 4


def test_two_ranks_with_one_gpu_are_named_on_every_rank(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SHARING_VARIABLE, raising=False)
    binding = Binding(3)
    same = {rank: lambda r=rank: binding.gpu(r, "0000:3b:00.0") for rank in (0, 2)}
    found = reasons_of(binding, coll_case("allreduce"), context, same)
    assert len(set(found)) == 1
    assert "ranks 0 and 2 have the same one (0000:3b:00.0)" in found[0]
    assert "as many ranks on a node as it has GPUs" in found[0]
    # NCCL from 2.30 on can be set to take them; then it decides, and the row shows it.
    monkeypatch.setenv(SHARING_VARIABLE, "1")
    assert reasons_of(binding, coll_case("allreduce"), context, same) == [None] * 3
    here = [context_of(binding, rank, context, same.get(rank)) for rank in range(3)]

    def facts(rank: int) -> Any:
        here[rank].gpu_library.lacks()
        here[rank].gpu_library.open()
        return here[rank].gpu_library.facts

    assert binding.meeting.all_do(facts) == [{"nccl": "2.27.7", "shared_gpus": 1}] * 3


def test_the_same_address_on_two_nodes_is_two_gpus() -> None:
    assert find_shared([(0, "a"), (0, "b"), (1, "a"), (1, "b")]) is None
    assert find_shared([(0, "a"), (1, "a"), (1, "b"), (1, "a")]) == (1, 3)


def test_what_follows_from_the_case_alone_is_said_first(context: Context) -> None:
    def reason(case: Case, **parts: Any) -> str:
        here = msgspec.structs.replace(context_of(Binding(2), 0, context), **parts)
        return MEASUREMENTS[case.benchmark].unsupported(case, here) or ""

    for case in (
        coll_case("alltoall", 2, memory="host"),
        make_case("fan_in", library="nccl", ranks=2),
        make_case("latency", path="nccl", memory="host"),
        make_case("latency", path="nccl", memory="device", dst_memory="host"),
    ):
        assert reason(case) == "NCCL and RCCL need memory = device; this is host memory"
    assert reason(make_case("bandwidth", path="nccl", memory="standin")).endswith("standin memory")
    assert reason(coll_case("barrier")) == "NCCL and RCCL have no barrier; use library = mpi"
    assert reason(coll_case("gather"), message_loops=None).startswith("needs MPI")


def test_a_binding_without_its_library_says_what_to_install(context: Context) -> None:
    binding = Binding(2)
    binding.available = False
    (found, _) = reasons_of(binding, coll_case("allreduce", 2), context, {})
    assert "on rank 0 it needs its library" in found
    assert "nvidia-nccl" in found

    def broken() -> Any:
        raise ImportError("no binding")

    world = SoloWorld()
    library = Nccl(
        lambda: binding.gpu(0), world, lambda calls: GpuLibraryLoops(calls, None, 0, 1), broken
    )
    assert library.lacks() == (
        "no NCCL or RCCL here: on rank 0 it needs CuPy's binding of it (ImportError)"
    )


@pytest.mark.parametrize("refuses", [{1: "NCCL_ERROR_SYSTEM_ERROR: unhandled"}, {0: "id"}])
def test_ranks_that_cannot_be_joined_all_say_why_and_try_once(
    refuses: dict[int, str], context: Context
) -> None:
    binding = Binding(3)
    binding.refuses = refuses
    here = [context_of(binding, rank, context) for rank in range(3)]
    bad = next(iter(refuses))

    def fails(rank: int) -> str:
        for _ in range(2):
            with pytest.raises(UnpreparedError) as raised:
                MEASUREMENTS["allreduce"].prepare(coll_case("allreduce"), here[rank])
        return str(raised.value)

    found = binding.meeting.all_do(fails)
    assert len(set(found)) == 1
    assert found[0].startswith(f"NCCL or RCCL could not join the ranks: rank {bad}: NCCL_ERROR_SYS")
    # Those that had succeeded wait for nobody.
    assert sorted(binding.aborted) == ([] if refuses == {0: "id"} else [0, 2])
    assert sorted(binding.made) == sorted(binding.aborted)


def test_a_case_that_cannot_be_prepared_fails_with_the_reason(context: Context) -> None:
    binding = Binding(1)
    binding.refuses = {0: "why"}
    here = context_of(binding, 0, context)
    (ended,) = execute_case(coll_case("allreduce", 1), Sampling(), SoloWorld(), here)
    assert getattr(ended, "status", None) is Status.FAILED
    assert getattr(ended, "reason", None) == ("NCCL or RCCL could not join the ranks: rank 0: why")


SUITE = """
[suite]
name = "nccl"
cap_s = 0.02
[[benchmark]]
name = "allreduce"
bytes = "4 KiB"
memory = ["host", "device"]
library = "nccl"
[[benchmark]]
name = "alltoall"
bytes = "4 KiB"
memory = "device"
library = "nccl"
mode = ["latency", "throughput"]
[[benchmark]]
name = "barrier"
library = "nccl"
[[benchmark]]
name = "latency"
bytes = "4 KiB"
memory = "device"
path = "nccl"
[[benchmark]]
name = "bibandwidth"
bytes = "1 MiB"
memory = "device"
path = "nccl"
[[benchmark]]
name = "multi_pair"
bytes = "1 MiB"
memory = "device"
library = "nccl"
"""


@pytest.mark.mpi
def test_a_real_job_without_gpus_skips_each_case_with_what_it_needs(tmp_path: Path) -> None:
    rows = by_case(run(tmp_path, suite=SUITE))
    assert len(rows) == 8
    for name, row in rows.items():
        if "device" not in name:
            assert row.status is Status.SKIPPED
            wanted = "no barrier" if "barrier" in name else "need memory = device"
            assert wanted in (row.reason or "")
        elif find_spec("cupy") is None:
            assert row.status is Status.SKIPPED
            assert row.reason == (
                "no NCCL or RCCL here: on rank 0 it needs a GPU and CuPy (ModuleNotFoundError)"
            )
        assert row.path == ("nccl" if "path" in name else None)
        library = parse_params(row.params).get("library")
        assert library == (None if "path" in name else "nccl")


def test_the_suite_for_gpus_has_cases_of_nccl_for_every_call_it_can_make() -> None:
    jobs = make_plan(load_suite("gpu")).jobs
    cases = [case for job in jobs for case in job.cases]
    assert {case.benchmark for case in cases if case.axes.get("library") == "nccl"} >= {*MOVING}
    assert {case.benchmark for case in cases if case.axes.get("path") == "nccl"} == {
        "latency",
        "bandwidth",
        "bibandwidth",
    }
    for case in cases:
        if "nccl" in (case.axes.get("library"), case.axes.get("path")):
            assert case.axes["memory"] == "device"


# Real jobs, whose NCCL is played by their MPI.

PLAYED = """
[suite]
name = "played"
cap_s = 0.02
[[benchmark]]
name = "allreduce"
bytes = "100 kB"
memory = "device"
library = "nccl"
mode = ["latency", "throughput"]
[[benchmark]]
name = "reduce_scatter"
bytes = "4 KiB"
memory = "device"
library = "nccl"
dtype = "fp64"
[[benchmark]]
name = "allgather"
bytes = "4 KiB"
memory = "device"
library = "nccl"
[[benchmark]]
name = "alltoall"
bytes = "4 KiB"
memory = "device"
library = "nccl"
[[benchmark]]
name = "scatter"
bytes = "4 KiB"
memory = "device"
library = "nccl"
mode = "throughput"
root = "rotating"
[[benchmark]]
name = "gather"
bytes = "4 KiB"
memory = "device"
library = "nccl"
[[benchmark]]
name = "broadcast"
bytes = "4 KiB"
memory = "device"
library = "nccl"
[[benchmark]]
name = "latency"
bytes = "4 KiB"
memory = "device"
path = "nccl"
evidence = true
[[benchmark]]
name = "bandwidth"
bytes = "64 KiB"
memory = "device"
path = "nccl"
[[benchmark]]
name = "bibandwidth"
bytes = "64 KiB"
memory = "device"
path = "nccl"
[[benchmark]]
name = "latency"
bytes = "4 KiB"
"""
FEW_PLAYED = """
[suite]
name = "few"
cap_s = 0.02
[[benchmark]]
name = "allreduce"
bytes = "4 KiB"
memory = "device"
library = "nccl"
[[benchmark]]
name = "gather"
bytes = "4 KiB"
memory = "device"
library = "nccl"
[[benchmark]]
name = "bandwidth"
bytes = "64 KiB"
memory = "device"
path = "nccl"
[[benchmark]]
name = "latency"
bytes = "4 KiB"
"""
MANY_PLAYED = """
[suite]
name = "many"
cap_s = 0.02
[[benchmark]]
name = "pairs_bandwidth"
bytes = "64 KiB"
memory = "device"
path = "nccl"
at_once = ["pair", "round"]
window = 4
ranks = 3
[[benchmark]]
name = "multi_pair"
bytes = "64 KiB"
memory = "device"
library = "nccl"
window = 4
pairs = 1
ranks = 3
[[benchmark]]
name = "fan_out"
bytes = "64 KiB"
memory = "device"
library = "nccl"
window = 4
peers = 2
ranks = 3
"""


@pytest.fixture
def played(tmp_path: Path) -> dict[str, str]:
    """Return the environment of ranks that find a CuPy of host memory."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, for a runtime of the GPU's")
    functions = ("cudaMemcpyAsync", "cudaStreamSynchronize")
    (tmp_path / "runtime.c").write_text(
        "".join(f"int {name}(void){{return 0;}}\n" for name in functions)
    )
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", "libcudart.so.13", "runtime.c"], cwd=tmp_path, check=True
    )
    here = Path(__file__).parent
    paths = os.pathsep.join((str(here / "played"), str(here.parent)))
    return {**os.environ, "PYTHONPATH": paths, "LD_LIBRARY_PATH": str(tmp_path)}


@pytest.mark.slow
@pytest.mark.mpi
def test_a_real_job_measures_every_call_and_tells_its_library(
    tmp_path: Path, played: dict[str, str]
) -> None:
    done = run(tmp_path, suite=PLAYED, env=played)
    rows = by_case(done)
    for name, row in rows.items():
        assert row.status is Status.OK, (name, row.reason)
        assert row.bytes_checked
        assert row.bytes_wrong == 0
        params = parse_params(row.params)
        by_library = "nccl" in name
        assert params.get("nccl") == ("2.27.7" if by_library else None)
        assert (row.timing_layer == "cupy") == by_library
        if by_library:
            assert int(params["overhead_ns"]) > 0
            assert row.src_memory == "device"
    assert len(rows) == 2 + 6 + 4 + 2 + 1
    (one,) = (one for one in done.evidence() if one.case.startswith("latency"))
    # The trace of the job is in its log, and the control runs had their variables.
    assert one.path_observed == "UNKNOWN"
    assert "P2P/CUMEM" in one.reason
    assert one.ratio is not None
    logs = {log.name: log.read_text() for log in (done.path / "logs").iterdir()}
    forbidden = [text for name, text in logs.items() if "forbidden" in name]
    assert forbidden
    assert all("via SHM" in text and "via P2P" not in text for text in forbidden)


@pytest.mark.mpi
def test_three_ranks_of_which_some_sleep(tmp_path: Path, played: dict[str, str]) -> None:
    rows = by_case(run(tmp_path, suite=MANY_PLAYED, env=played))
    assert len(rows) == 2 * 6 + 2
    for name, row in rows.items():
        assert (row.status, row.bytes_wrong) == (Status.OK, 0), (name, row.reason)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong", "on rank 1"),
        ("refuses", "could not join the ranks: rank 0: NCCL_ERROR_SYSTEM_ERROR: no interface"),
    ],
)
def test_faults_of_a_real_job_fail_the_rows_of_nccl_alone(
    fault: str, reason: str, tmp_path: Path, played: dict[str, str]
) -> None:
    rows = by_case(run(tmp_path, suite=FEW_PLAYED, env={**played, "PLAYED": fault}, code=4))
    for name, row in rows.items():
        # A gather gives rank 1 nothing.
        spared = "nccl" not in name or (fault == "wrong" and name.startswith("gather"))
        assert row.status is (Status.OK if spared else Status.FAILED), name
        assert spared or reason in (row.reason or "")


# The names and arguments are CuPy's.


def arguments(text: str) -> list[str]:
    """Return the names of the arguments in a signature."""
    inside = re.search(r"\(([^)]*)\)", text)
    assert inside is not None, text
    found = (part.split("=")[0].split(":")[0].split() for part in inside[1].split(","))
    return [part[-1] for part in found if part and part[-1] != "self"]


@pytest.fixture
def real() -> Any:
    """Return CuPy's binding, which can be asked without a GPU as well."""
    if find_spec("cupy") is None:
        pytest.skip("no CuPy to compare with")
    binding = import_module("cupy.cuda.nccl")
    if not binding.available:
        pytest.skip("CuPy finds no NCCL")
    return binding


@pytest.mark.gpu
def test_the_calls_have_the_arguments_that_cupy_gives_them(real: Any) -> None:
    names = ("send", "recv", "allReduce", "reduceScatter", "allGather", "broadcast")
    for name in names:
        found = (getattr(real.NcclCommunicator, name).__doc__ or "").partition("\n")[0]
        own = str(inspect.signature(getattr(Communicator, name)))
        assert arguments(found) == arguments(own), name
    for name in ("destroy", "abort", "check_async_error"):
        assert callable(getattr(real.NcclCommunicator, name))
    for name in ("get_unique_id", "get_version", "groupStart", "groupEnd"):
        assert callable(getattr(real, name))
    assert issubclass(real.NcclError, Exception)
    for name in ("NCCL_SUM", "NCCL_UINT8", "NCCL_FLOAT32", "NCCL_FLOAT64"):
        assert int(getattr(real, name)) == getattr(Binding, name)


@pytest.mark.gpu
def test_the_binding_takes_what_the_adapter_hands_it(real: Any) -> None:
    """A communicator that was never made refuses every call, but not for its arguments."""

    def unmade(*_: object) -> Any:
        return real.NcclCommunicator.__new__(real.NcclCommunicator)

    names = ("NCCL_SUM", "NCCL_UINT8", "NCCL_FLOAT32", "NCCL_FLOAT64", "groupStart", "groupEnd")
    there = {name: getattr(real, name) for name in (*names, "get_version")}
    binding = SimpleNamespace(NcclCommunicator=unmade, **there)
    calls = NcclCalls(Binding(1).gpu(0), binding, SoloWorld(), b"")
    assert re.fullmatch(r"\d+\.\d+\.\d+", calls.version)
    for call in (
        lambda: calls.send(0, 8, 0),
        lambda: calls.receive(0, 8, 0),
        lambda: calls.allreduce(0, 0, 8, "fp32"),
        lambda: calls.reduce_scatter(0, 0, 8, "fp64"),
        lambda: calls.allgather(0, 0, 8),
        lambda: calls.broadcast(0, 8, 0),
        calls.check,
    ):
        with pytest.raises(real.NcclError, match="INVALID_ARGUMENT"):
            call()
    calls.begin_group()
    calls.end_group()


def test_the_real_library_without_a_gpu_says_why_it_cannot_join(
    real: Any, context: Context
) -> None:
    if context.gpu_library.lacks() is None:
        pytest.skip("there is a GPU")
    library = Nccl(lambda: Binding(1).gpu(0), SoloWorld(), lambda _: Never(), lambda: real)
    for _ in range(2):
        with pytest.raises(UnpreparedError, match="could not join the ranks: rank 0: NCCL_ERROR"):
            library.open()


class Never:
    """Follows nothing."""

    name = "never"
    overhead_s = None

    def follow(self, seconds: Seconds, loops: int, steps: Steps) -> None:
        raise AssertionError


# On a GPU: a communicator of one rank.


@pytest.fixture
def alone(context: Context) -> Context:
    reason = context.gpu_library.lacks()
    if reason is not None:
        pytest.skip(reason)
    return context


@pytest.mark.gpu
@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_one_rank_calls_itself_on_a_gpu(name: str, mode: str, alone: Context) -> None:
    case = coll_case(name, 1, bytes=100_000, mode=mode)
    operation = MEASUREMENTS[name].prepare(case, alone)
    for seed in (1, 2):
        assert operation.verify(seed) == Checked(100_000, 0)
    seconds = np.empty(5)
    operation.run(seconds, 3)
    assert (seconds > 0).all()
    assert {"nccl", "rccl"} & operation.params.keys()
    assert 0 < (operation.overhead_s or 0) < seconds.max()


@pytest.mark.gpu
@pytest.mark.mpi
def test_two_ranks_on_gpus_are_measured_or_told_that_they_share_one(
    alone: Context, tmp_path: Path
) -> None:
    import_module("cupy")
    count = sys.modules["cupy"].cuda.runtime.getDeviceCount()
    for name, row in by_case(run(tmp_path, suite=SUITE)).items():
        if "device" not in name:
            assert row.status is Status.SKIPPED
        elif count > 1:
            assert (row.status, row.bytes_wrong) == (Status.OK, 0), row.reason
        else:
            assert row.status is Status.SKIPPED
            assert "GPU of its own" in (row.reason or "")


# What the library prints.


def test_what_c_code_prints_reaches_the_log_line_by_line() -> None:
    program = (
        "import ctypes, os\n"
        "from bench.rank.__main__ import _take_standard_output\n"
        "_take_standard_output()\n"
        "ctypes.CDLL(None).puts(b'NCCL INFO Channel 00/0 : 0[0] -> 1[1] via NET/IB/0/GDRDMA')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stdout == ""
    assert done.stderr.endswith("via NET/IB/0/GDRDMA\n")


def test_a_thread_world_agrees() -> None:
    binding = Binding(3)
    assert (
        binding.meeting.all_do(lambda r: ThreadWorld(binding, r).gather(r * 2)) == [[0, 2, 4]] * 3
    )
