"""Messages by way of the host: every byte arrives, by the stated calls, and faults are seen."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meeting import Loops, Meeting, Rank
from test_measure import make_case
from test_mpi import by_case, run

from bench.contracts import Checked, Context, Operation, Slots
from bench.core.records import Axis, Case, Row, Status, parse_params
from bench.core.schedule import Code, Steps
from bench.judge.headline import headlines
from bench.judge.table import load
from bench.measure import MEASUREMENTS
from bench.measure.staging import MOST_PIECES, cut
from bench.plan.plan import expand
from bench.plan.suite import Block
from bench.rank.context import open_context
from bench.rank.memory import LazyMemories, Locality
from bench.rank.timing.interpreted import InterpretedQueue
from bench.rank.timing.standin_queue import NativeQueue
from bench.rank.world import SoloWorld

BENCHMARKS = ("latency", "bandwidth", "bibandwidth", "message_rate")
CHUNK = 1000


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def staged_case(name: str = "latency", **axes: Axis) -> Case:
    chosen: dict[str, Axis] = {"memory": "standin", "path": "staged", "bytes": 3500, **axes}
    if chosen["path"] == "pipelined":
        chosen.setdefault("chunk", CHUNK)
    if name != "latency":
        chosen.setdefault("window", 3)
    return make_case(name, **chosen)


Kind = Callable[[Meeting, int], Loops]


def prepare(
    case: Case,
    context: Context,
    meeting: Meeting,
    kind: Kind = Loops,
    queue: type = NativeQueue,
) -> list[Operation]:
    """Return the operation of each rank; each has a device of its own."""
    return [
        MEASUREMENTS[case.benchmark].prepare(
            case,
            msgspec.structs.replace(
                context,
                communicator=Rank(rank, meeting.ranks),
                message_loops=kind(meeting, rank),
                memories=LazyMemories(Locality(queue)),
            ),
        )
        for rank in range(meeting.ranks)
    ]


def verify(case: Case, context: Context, meeting: Meeting, **how: Any) -> list[Checked]:
    operations = prepare(case, context, meeting, **how)
    return meeting.all_do(lambda rank: operations[rank].verify(1))


RECEIVED = {"latency": (1, 1), "bandwidth": (0, 3), "message_rate": (0, 3), "bibandwidth": (3, 3)}
"""Messages that the first and the last rank receive."""


# What arrives.


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("path", ["staged", "pipelined"])
@pytest.mark.parametrize(
    "ends", [("standin", "same"), ("standin", "host"), ("host", "standin")], ids=str
)
@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 3500, 20_000])
def test_every_byte_arrives(
    name: str, path: str, ends: tuple[str, str], size: int, context: Context
) -> None:
    case = staged_case(name, path=path, memory=ends[0], dst_memory=ends[1], bytes=size)
    found = verify(case, context, Meeting(2))
    assert found == [Checked(count * size, 0) for count in RECEIVED[name]]


@pytest.mark.parametrize("path", ["staged", "pipelined"])
def test_without_a_compiler_too(path: str, context: Context) -> None:
    found = verify(
        staged_case("bibandwidth", path=path), context, Meeting(2), queue=InterpretedQueue
    )
    assert found == [Checked(10_500, 0)] * 2


@pytest.mark.parametrize("name", ["bandwidth", "bibandwidth"])
@pytest.mark.parametrize("path", ["staged", "pipelined"])
def test_messages_that_share_a_buffer_are_copied_each(
    name: str, path: str, context: Context
) -> None:
    case = staged_case(name, path=path, buffers="shared")
    found = verify(case, context, Meeting(2))
    assert found == [Checked(3500 if name == "bibandwidth" else 0, 0), Checked(3500, 0)]


def test_mpi_may_get_the_devices_own_address(context: Context) -> None:
    operation = prepare(staged_case(path="direct"), context, Meeting(2))[0]
    assert operation.direct  # type: ignore[attr-defined]


@given(st.integers(1, 5000), st.integers(1, 5), st.none() | st.integers(1, 6000))
def test_pieces_are_the_messages_and_nothing_twice(
    nbytes: int, count: int, chunk: int | None
) -> None:
    pieces = cut(Slots(0, nbytes, nbytes, count), chunk)
    assert pieces[0].offset == 0
    assert sum(piece.nbytes for piece in pieces) == nbytes * count
    assert all(a.offset + a.nbytes == b.offset for a, b in itertools.pairwise(pieces))
    assert all(piece.nbytes <= (chunk or nbytes) for piece in pieces)
    # None holds parts of two messages.
    assert all(p.offset // nbytes == (p.offset + p.nbytes - 1) // nbytes for p in pieces)


# The calls.


def steps_of(case: Case, context: Context, rank: int) -> list[list[int]]:
    """Return the steps that a rank follows."""
    taken: list[list[int]] = []

    class Noting(Loops):
        def follow(self, _seconds: Any, _loops: int, steps: Steps, *_: Any) -> None:
            taken.extend(steps.table.tolist())

    prepare(case, context, Meeting(2), Noting)[rank].run(np.empty(1), 1)
    return taken


def codes(case: Case, context: Context, rank: int) -> list[Code]:
    return [Code(step[0]) for step in steps_of(case, context, rank)]


def test_a_staged_round_trip_copies_sends_receives_and_copies(context: Context) -> None:
    out = [Code.COPY, Code.SYNCHRONIZE, Code.ISEND, Code.WAITALL]
    into = [Code.IRECV, Code.WAITALL, Code.COPY, Code.SYNCHRONIZE]
    assert codes(staged_case(), context, 0) == [Code.BEGIN, *out, *into, Code.END]
    assert codes(staged_case(), context, 1) == [Code.BEGIN, *into, *out, Code.END]


def test_host_memory_at_one_end_is_not_copied(context: Context) -> None:
    case = staged_case(memory="host", dst_memory="standin")
    assert Code.COPY not in codes(case, context, 0)
    assert Code.COPY in codes(case, context, 1)


@pytest.mark.parametrize("rank", [0, 1])
def test_while_a_chunk_is_on_its_way_another_one_is_copied(rank: int, context: Context) -> None:
    case = staged_case("bandwidth", path="pipelined", window=1, bytes=4 * CHUNK)
    found = codes(case, context, rank)
    start = Code.IRECV if rank else Code.ISEND
    begins = [place for place, code in enumerate(found) if code is start][: 5 - 1]
    ends = [found.index(Code.WAITALL, place) for place in begins]
    overlapped = [Code.COPY in found[b:e] for b, e in zip(begins, ends, strict=True)]
    # The sender has nothing left to copy beside its last message, the receiver before its first.
    assert overlapped == ([False, True, True, True] if rank else [True, True, True, False])


def test_two_host_buffers_take_turns(context: Context) -> None:
    case = staged_case("bandwidth", path="pipelined", window=1, bytes=4 * CHUNK)
    sent = [step[1] for step in steps_of(case, context, 0) if step[0] == Code.ISEND]
    assert sent == [sent[0], sent[0] + CHUNK] * 2


# Faults.


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("path", ["staged", "pipelined"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_wrong_byte_in_a_message_is_seen(
    name: str, path: str, place: int, context: Context
) -> None:
    spoilt: list[int] = []

    def spoil(_code: Code, _rank: int, elements: np.ndarray[Any, Any]) -> None:
        if elements.size and not spoilt:
            spoilt.append(1)
            elements[place] ^= 1

    found = verify(staged_case(name, path=path), context, Meeting(2, spoil))
    assert sum(checked.bytes_wrong for checked in found) == 1


@pytest.mark.parametrize("path", ["staged", "pipelined"])
@pytest.mark.parametrize("forgetful", [0, 1])
def test_a_forgotten_synchronise_is_seen(path: str, forgetful: int, context: Context) -> None:
    class Forgetting(Loops):
        forgot = False

        def take(self, code: Code, told: list[int], room: Any) -> None:
            if code is Code.SYNCHRONIZE and self.rank == forgetful:
                # The sender's first one, and the receiver's last one.
                self.seen = getattr(self, "seen", 0) + 1
                if self.seen == (1 if forgetful == 0 else last):
                    return
            super().take(code, told, room)

    case = staged_case("bandwidth", path=path)
    last = codes(case, context, 1).count(Code.SYNCHRONIZE)
    try:
        found = verify(case, context, Meeting(2), kind=Forgetting)
    except RuntimeError as error:
        assert "synchronise" in str(error)  # noqa: PT017 - the other outcome is a wrong byte
    else:
        assert sum(checked.bytes_wrong for checked in found) > 0


# What a suite may ask for.


def ids(name: str, **axes: tuple[Axis, ...]) -> list[str]:
    defaults = {axis.name: axis.default for axis in MEASUREMENTS[name].axes}
    block = Block(name, dict(sorted({**defaults, **axes}.items())))
    return sorted({case.id for case in expand(block)})


def test_cases_that_were_there_before_keep_their_ids() -> None:
    assert ids("latency") == ["latency/bytes=8"]
    assert ids("bandwidth", bytes=(1, 2), window=(64, 1)) == [
        "bandwidth/bytes=1",
        "bandwidth/bytes=1/window=1",
        "bandwidth/bytes=2",
        "bandwidth/bytes=2/window=1",
    ]
    assert ids("latency", memory=("host", "device"), path=("direct", "staged")) == [
        "latency/bytes=8",
        "latency/bytes=8/memory=device",
        "latency/bytes=8/memory=device/path=staged",
        "latency/bytes=8/path=staged",
    ]


def test_an_axis_that_means_nothing_for_a_case_makes_no_further_cases() -> None:
    found = ids("latency", path=("direct", "pipelined"), chunk=(1000, 2000))
    assert found == [
        "latency/bytes=8",
        "latency/bytes=8/chunk=1000/path=pipelined",
        "latency/bytes=8/chunk=2000/path=pipelined",
    ]
    same = ids("latency", memory=("host",), dst_memory=("same", "host", "standin"))
    assert same == ["latency/bytes=8", "latency/bytes=8/dst_memory=standin"]
    assert ids("latency", numa=(-1, 0)) == ["latency/bytes=8", "latency/bytes=8/numa=0"]


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"path": "staged", "memory": "host"}, "staged means a copy out of device memory"),
        ({"path": "nccl"}, "need memory = device"),
        ({"path": "pipelined", "bytes": 2**20, "chunk": 1}, str(MOST_PIECES)),
        ({"path": "staged", "numa": 1000}, "NUMA node 1000"),
        ({"path": "direct", "memory": "host", "numa": 1000}, "NUMA node 1000"),
    ],
)
def test_what_cannot_run_says_why(axes: dict[str, Axis], says: str, context: Context) -> None:
    here = msgspec.structs.replace(context, message_loops=Loops(Meeting(2), 0))
    reason = MEASUREMENTS["latency"].unsupported(staged_case(**axes), here)
    assert says in (reason or "")


def test_each_rank_needs_only_the_memory_of_its_own_end(context: Context) -> None:
    case = staged_case(memory="host", dst_memory="device")
    reasons = [
        MEASUREMENTS["latency"].unsupported(
            case,
            msgspec.structs.replace(
                context,
                communicator=Rank(rank, 3),
                message_loops=Loops(Meeting(3), rank),
            ),
        )
        for rank in range(3)
    ]
    if context.memories.lacks("device") is None:
        pytest.skip("there is a GPU")
    assert reasons[:2] == [None, None]
    assert "device memory" in (reasons[2] or "")


# For real.

SUITE = """
[suite]
name = "staged"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = "100 kB"
memory = ["host", "standin"]
path = ["direct", "staged", "pipelined"]
chunk = "8 KiB"
[[benchmark]]
name = "latency"
bytes = "100 kB"
memory = "standin"
dst_memory = "host"
path = ["pipelined", "nccl"]
[[benchmark]]
name = "latency"
bytes = "100 kB"
memory = "device"
[[benchmark]]
name = "bandwidth"
bytes = "100 kB"
memory = "standin"
path = "staged"
window = 4
"""


def check_rows(rows: dict[str, Row]) -> None:
    for name, row in rows.items():
        on_gpu = "device" in name or "nccl" in name
        none = "path" in name and "standin" not in name
        wanted = Status.SKIPPED if on_gpu or none else Status.OK
        assert row.status is wanted, (name, row.reason)
        assert row.reason or row.status is Status.OK
        assert row.bytes_wrong in (0, None)
        source = "device" if "/memory=device" in name else "host"
        source = "standin" if "/memory=standin" in name else source
        assert row.src_memory == source
        assert row.dst_memory == ("host" if "dst_memory=host" in name else source)
        assert ("chunk" in parse_params(row.params)) == (row.path == "pipelined")


@pytest.mark.mpi
@pytest.mark.parametrize("compiler", [pytest.param(True, marks=pytest.mark.slow), False])
def test_all_paths_are_measured_or_say_what_they_need(
    compiler: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiler:
        (tmp_path / "numba.py").write_text("raise ImportError('not here')\n")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parent.parent}")
    done = run(tmp_path, suite=SUITE)
    rows = by_case(done)
    check_rows(rows)
    measured = [row for row in rows.values() if row.status is Status.OK]
    assert {row.timing_layer for row in measured} == {"numba" if compiler else "mpi4py"}
    assert {row.path for row in measured} == {"direct", "staged", "pipelined"}
    table = load(done)
    assert table.loc[table["src_memory"] == "standin", "name"].str.contains("standin").all()
    assert {line.case for line in headlines(table)} <= {
        row.case for row in rows.values() if "standin" not in (row.src_memory, row.dst_memory)
    }


SPOILT = """
# Python runs this file at the start of every process that finds it: a memory with a fault.
import ctypes
import bench.rank.memory as memory
from bench.rank.memory.host import HostBuffer, HostMemory

class SpoiltBuffer(HostBuffer):
    def poison(self, seed):
        super().poison(seed)
        self.received = True

    def read(self):
        # One byte of what was received has flipped in the meantime.
        if getattr(self, "received", False) and self.nbytes > 64:
            ctypes.c_uint8.from_address(self.address + 64).value ^= 1
            self.received = False
        return super().read()

class SpoiltMemory(HostMemory):
    def __init__(self, copies, name):
        super().__init__()
        self.copies, self.name = copies, name

    def allocate(self, nbytes):
        return SpoiltBuffer(nbytes)

kinds = memory.MEMORY_KINDS
kinds["host"] = lambda locality, node: SpoiltMemory(None, "host")
kinds["standin"] = lambda locality, node: SpoiltMemory(locality.queue.copies, "standin")
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_memory_that_changes_one_byte_after_receipt_fails_its_row(tmp_path: Path) -> None:
    suite = """
[suite]
name = "spoilt"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = ["8 B", "1 KiB"]
[[benchmark]]
name = "latency"
bytes = "1 KiB"
memory = "standin"
path = ["staged", "pipelined"]
[[benchmark]]
name = "bandwidth"
bytes = "1 KiB"
memory = "standin"
path = "staged"
"""
    (tmp_path / "sitecustomize.py").write_text(SPOILT)
    paths = (str(tmp_path), str(Path(__file__).parent.parent))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    rows = by_case(run(tmp_path, suite=suite, env=env, code=4))
    # What it does not touch stays right, so it is the byte that makes the others fail.
    assert rows["latency/bytes=8"].status is Status.OK
    failed = [row for name, row in rows.items() if "bytes=1024" in name and row.bytes_checked]
    assert len(failed) == 4
    for row in failed:
        assert row.status is Status.FAILED
        # Both verifications, on each rank that receives.
        assert row.bytes_wrong == (4 if row.benchmark == "latency" else 2)
        assert "wrong answer" in (row.reason or "")
        assert row.gbytes_per_s is None
