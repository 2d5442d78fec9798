"""Copies to, from and between device memory: right, counted, faults seen, and on a GPU."""

import ctypes
from typing import Any

import msgspec
import numpy as np
import pytest
from simulated_cuda import CACHE_BYTES, RATE, CudaError, simulate
from test_measure import make_case
from test_mpi import by_case, run

from bench.contracts import Context
from bench.core.events import Samples
from bench.core.records import Axis, Case, Sampling, Status, Work
from bench.measure import MEASUREMENTS
from bench.measure.moves import PATTERN
from bench.rank.case import execute_case
from bench.rank.context import open_context
from bench.rank.world import SoloWorld

COPY = MEASUREMENTS["copy"]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


def copy_case(**axes: Axis) -> Case:
    return make_case("copy", **{"bytes": 5000, "memory": "host", "dst_memory": "standin", **axes})


@pytest.mark.parametrize(
    ("axes", "total"),
    [
        ({}, 5000),
        ({"direction": "bi"}, 10_000),
        ({"pattern": "one_to_all"}, 15_000),
        ({"pattern": "all_to_one", "others": 5, "direction": "bi"}, 50_000),
    ],
)
def test_every_byte_that_is_copied_counts_once(axes, total):
    assert COPY.work(copy_case(**axes)) == Work(
        bytes=total, bytes_per_rank=total, bytes_total=total, rate_bytes=total
    )
    assert COPY.work(copy_case(ranks=3, **axes)).rate_bytes == 3 * total


@pytest.mark.parametrize("pattern", PATTERN.choices)
@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("route", [("host", "standin"), ("standin", "host"), ("standin", "same")])
def test_copies_of_every_pattern_are_right(route, direction, pattern, context):
    memory, target = route
    case = copy_case(memory=memory, dst_memory=target, direction=direction, pattern=pattern)
    assert COPY.unsupported(case, context) is None
    operation = COPY.prepare(case, context)
    count = (1 if pattern == "pair" else 3) * (2 if direction == "bi" else 1)
    for seed in (1, 2):
        assert operation.verify(seed) == (5000 * count, 0)
    seconds = np.zeros(3)
    operation.run(seconds, 4)
    assert (seconds > 0).all()
    assert COPY.columns(case)["src_memory"] == memory


@pytest.mark.parametrize("place", [0, 2500, 4999])
def test_one_wrong_byte_is_seen(place, context):
    operation: Any = COPY.prepare(copy_case(pattern="one_to_all"), context)
    right = operation._finish

    def spoil() -> None:
        right()
        ctypes.c_uint8.from_address(operation._moves[1].target.address + place).value ^= 1

    operation._finish = spoil
    assert operation.verify(1).bytes_wrong == 1


def test_copies_that_are_queued_and_never_waited_for_are_refused(context):
    operation: Any = COPY.prepare(copy_case(), context)
    right, operation._finish = operation._finish, lambda: None
    with pytest.raises(RuntimeError, match="queued"):
        operation.verify(1)
    right()


def test_what_is_not_measured_says_why(context):
    needs = COPY.unsupported(make_case("copy"), context) or ""
    assert "GPU" in needs
    assert "memcpy" in (COPY.unsupported(copy_case(dst_memory="same"), context) or "")
    assert "stand-in" in (COPY.unsupported(copy_case(engine="kernel"), context) or "")


@pytest.mark.parametrize(
    ("axes", "why"),
    [
        ({"memory": "host", "direction": "bi"}, "one way at a time"),
        ({"memory": "host", "engine": "kernel"}, "needs memory pinned"),
        ({"memory": "device", "dst_memory": "same", "pattern": "one_to_all"}, "peer_copy"),
        ({"memory": "device", "dst_memory": "standin"}, "stand-in"),
        ({"memory": "pinned"}, None),
        ({"memory": "pinned", "direction": "bi", "engine": "kernel"}, None),
        ({"memory": "device", "dst_memory": "same", "engine": "kernel"}, None),
    ],
)
def test_what_a_gpu_does_not_copy_says_why(axes, why, context):
    everything = msgspec.structs.replace(context, memories=Everything())
    reason = COPY.unsupported(copy_case(**{"dst_memory": "device", **axes}), everything)
    assert reason is None if why is None else why in (reason or "")


class Everything:
    """Memories of a machine that has all kinds."""

    def lacks(self, _name: str) -> None:
        return None


SUITE = """
[suite]
name = "copies"
cap_s = 0.02
[[benchmark]]
name = "copy"
bytes = "64 KiB"
memory = ["host", "standin"]
dst_memory = ["standin", "device"]
direction = ["uni", "bi"]
"""


@pytest.mark.mpi
def test_copies_with_a_stand_in_are_measured_and_those_of_a_gpu_skipped(tmp_path: Any) -> None:
    rows = by_case(run(tmp_path, suite=SUITE)).values()
    standin = [row for row in rows if "device" not in (row.src_memory, row.dst_memory)]
    assert len(standin) == 4
    for row in standin:
        assert (row.status, row.bytes_wrong) == (Status.OK, 0)
        assert row.dst_memory == "standin"
        assert row.timing_layer == "ctypes"
    for row in rows:
        assert row in standin or (row.status is Status.SKIPPED and row.reason)


def case_on_gpu(route: tuple[str, str], **axes: Axis) -> Case:
    return copy_case(bytes=2**20 + 5, memory=route[0], dst_memory=route[1], **axes)


HOST_CLOCK = [("host", "device"), ("device", "host")]
OWN_CLOCK = [("pinned", "device"), ("device", "pinned"), ("device", "same")]


@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("route", OWN_CLOCK)
def test_copies_of_a_simulated_gpu_are_right_and_take_their_time(
    route, direction, engine, monkeypatch
):
    machine = simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    check_on_gpu(case_on_gpu(route, direction=direction, engine=engine), context)
    assert {by for _, by in machine.copied} == {engine.removeprefix("copy-")}


def check_on_gpu(case: Case, context: Context, timing_layer: str = "device events") -> None:
    """Check a case on whatever GPU there is."""
    reason = COPY.unsupported(case, context)
    if reason is not None:
        pytest.skip(reason)
    operation: Any = COPY.prepare(case, context)
    assert operation.timing_layer == timing_layer
    assert operation.sleeps == (timing_layer == "device events")
    ways = 2 if case.axes["direction"] == "bi" else 1
    for seed in (1, 2):
        assert operation.verify(seed) == (ways * (2**20 + 5), 0)
    seconds = np.zeros(5)
    operation.run(seconds, 300)
    assert (seconds > 0).all()


@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
@pytest.mark.parametrize("nbytes", [4096, 65536, 2**20])
def test_events_and_engines_that_take_time_are_no_part_of_a_small_copy(nbytes, engine, monkeypatch):
    simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    case = copy_case(bytes=nbytes, memory="pinned", dst_memory="device", engine=engine)
    *events, ended = execute_case(case, Sampling(cap_s=0.05), SoloWorld(), context)
    (samples,) = (event for event in events if isinstance(event, Samples))
    assert ended.status is Status.OK
    assert min(samples.seconds) >= nbytes / RATE
    assert max(samples.seconds) <= 1.005 * nbytes / RATE
    assert ended.params.get("fixed_ns") in (2000, None if nbytes == 2**20 else 2000)


def test_the_kernel_has_as_many_blocks_on_an_amd_gpu(monkeypatch):
    blocks = []
    for is_hip in (False, True):
        machine = simulate(monkeypatch, gpus=1, is_hip=is_hip)
        context = open_context(SoloWorld(), 1)
        COPY.prepare(case_on_gpu(("pinned", "device"), engine="kernel"), context)
        blocks.append(set(machine.blocks))
    assert blocks == [{4}, {4}]  # one on each multiprocessor


@pytest.mark.parametrize(("direction", "least"), [("uni", 2), ("bi", 4)])
def test_copies_within_a_gpu_that_its_cache_holds_say_so(direction, least, monkeypatch):
    simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    fits = CACHE_BYTES // least
    for nbytes, l2 in ((fits, "hot"), (fits + 16, "part"), (2 * fits + 16, None)):
        axes: dict[str, Axis] = {"bytes": nbytes, "direction": direction}
        inside = copy_case(memory="device", dst_memory="same", **axes)
        assert COPY.prepare(inside, context).params.get("l2") == l2
        outside = copy_case(memory="pinned", dst_memory="device", **axes)
        assert "l2" not in COPY.prepare(outside, context).params


@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_cold_copies_within_a_gpu_are_right_and_pass_its_memory(direction, engine, monkeypatch):
    simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    nbytes = CACHE_BYTES // 8
    seconds = {}
    for cache in ("hot", "cold"):
        axes = {"bytes": nbytes, "direction": direction, "engine": engine, "cache": cache}
        case = copy_case(memory="device", dst_memory="same", **axes)
        assert COPY.unsupported(case, context) is None
        operation: Any = COPY.prepare(case, context)
        assert operation.params.get("l2") == ("hot" if cache == "hot" else None)
        sets = int(operation.params.get("sets", 1))
        ways = 2 if direction == "bi" else 1
        assert (sets - 1) * 2 * ways * nbytes >= (2 * CACHE_BYTES if cache == "cold" else 0)
        for seed in (1, 2):
            assert operation.verify(seed) == (sets * ways * nbytes, 0)
        times = np.zeros(3)
        operation.run(times, 100)
        seconds[cache] = times.min()
    # The simulated cache is four times as fast.
    assert seconds["cold"] == pytest.approx(nbytes / RATE, rel=0.01)
    assert seconds["hot"] == pytest.approx(nbytes / RATE / 4, rel=0.01)


def test_one_wrong_byte_of_any_set_is_seen(monkeypatch):
    simulate(monkeypatch, gpus=1)
    axes = {"bytes": CACHE_BYTES // 8, "cache": "cold"}
    case = copy_case(memory="device", dst_memory="same", **axes)
    operation: Any = COPY.prepare(case, open_context(SoloWorld(), 1))
    right = operation.run

    def spoil(seconds: Any, loops: int) -> None:
        right(seconds, loops)
        ctypes.c_uint8.from_address(operation._moves[-1].target.address + 7).value ^= 1

    operation.run = spoil
    assert operation.verify(1).bytes_wrong == 1


def test_cold_copies_that_cannot_be_say_why(monkeypatch):
    simulate(monkeypatch, gpus=1)
    monkeypatch.setattr("simulated_cuda.runtime.CACHE_BYTES", 2**26)
    context = open_context(SoloWorld(), 1)
    inside = {"memory": "device", "dst_memory": "same", "cache": "cold"}
    assert "at most 4096" in (COPY.unsupported(copy_case(**inside), context) or "")
    for memory, target in (("pinned", "device"), ("host", "device"), ("host", "standin")):
        case = copy_case(memory=memory, dst_memory=target, cache="cold")
        assert "within a GPU" in (COPY.unsupported(case, context) or "")


@pytest.mark.parametrize(
    ("architecture", "l2", "cold"),
    [
        ("gfx90a:sramecc+:xnack-", None, None),
        # Its cache of 256 MB lies behind the L2.
        ("gfx942:sramecc+:xnack-", "hot", None),
        ("gfx1100", "unknown", "not known"),
        ("", "unknown", "not known"),
    ],
)
def test_the_last_cache_of_an_amd_gpu_is_not_its_l2(architecture, l2, cold, monkeypatch):
    machine = simulate(monkeypatch, gpus=1, is_hip=True)
    machine.architecture = architecture
    context = open_context(SoloWorld(), 1)
    axes = {"bytes": 2 * CACHE_BYTES, "memory": "device", "dst_memory": "same"}
    assert COPY.prepare(copy_case(**axes), context).params.get("l2") == l2
    reason = COPY.unsupported(copy_case(cache="cold", **axes), context)
    assert reason is None if cold is None else cold in (reason or "")


def test_what_makes_the_host_wait_is_named(monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    monkeypatch.delenv("CUDA_INJECTION64_PATH", raising=False)
    simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    with pytest.raises(RuntimeError, match="CUDA_LAUNCH_BLOCKING may be why: unset it"):
        COPY.prepare(case_on_gpu(("pinned", "device")), context).verify(1)


def test_flags_that_the_runtime_has_no_memory_for_are_told_like_buffers(monkeypatch):
    machine = simulate(monkeypatch, gpus=1)
    context = open_context(SoloWorld(), 1)
    COPY.prepare(case_on_gpu(("device", "same")), context)
    machine.faults.raise_at("hostAlloc", CudaError(2, "out of memory"))
    with pytest.raises(MemoryError, match="out of memory"):
        COPY.prepare(case_on_gpu(("device", "same")), context)


def test_an_array_that_does_not_fill_a_buffer_is_refused(monkeypatch):
    simulate(monkeypatch, gpus=1)
    buffer = open_context(SoloWorld(), 1).memories["device"].allocate(100)
    for nbytes in (99, 101):
        with pytest.raises(ValueError, match=f"{nbytes} bytes"):
            buffer.write(np.zeros(nbytes, np.uint8))


@pytest.mark.gpu
@pytest.mark.parametrize("route", HOST_CLOCK)
def test_copies_of_pageable_memory_on_a_gpu_are_right(route, context):
    check_on_gpu(case_on_gpu(route), context, "ctypes")


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("route", OWN_CLOCK)
def test_copies_on_a_gpu_are_right_and_take_time(route, direction, engine, context):
    check_on_gpu(case_on_gpu(route, direction=direction, engine=engine), context)


@pytest.mark.gpu
def test_both_ways_at_once_take_less_than_one_after_the_other(context):
    case = copy_case(bytes=2**28, memory="pinned", dst_memory="device")
    reason = COPY.unsupported(case, context)
    if reason is not None:
        pytest.skip(reason)
    seconds = {}
    for route in ("pinned", "device"), ("device", "pinned"):
        for direction in ("uni", "bi"):
            case = copy_case(bytes=2**28, memory=route[0], dst_memory=route[1], direction=direction)
            times = np.zeros(5)
            COPY.prepare(case, context).run(times, 5)
            seconds[route[0], direction] = float(np.median(times))
    one_way = [seconds[end, "uni"] for end in ("pinned", "device")]
    for end in ("pinned", "device"):
        assert 0.98 * max(one_way) < seconds[end, "bi"] < 0.95 * sum(one_way)
