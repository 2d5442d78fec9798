"""Copies in streams of one GPU and of several, on a simulated CUDA whose times are known."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_cuda import (
    EVENT_S,
    FIXED_MOST_S,
    RATE,
    CudaError,
    Simulated,
    SimulatedGpu,
    simulate,
)

from bench.contracts import CopiesAtOnce, DrivesGpus, KnowsSlot, Multiplies, Transfer
from bench.rank.memory import copies
from bench.rank.memory.device import WorkingDevice
from bench.rank.memory.gpu import PinnedMemory
from bench.rank.memory.stream_timer import MOST_QUEUED, GpuStream, StreamTimer

SIZE = 100_000


@pytest.fixture(params=[True, False], ids=["peers", "no-peers"])
def peers(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def machine(peers: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulated]:
    made = simulate(monkeypatch, 4, peers)
    yield made
    assert made.current == 0, "the GPU of the rank is no longer the current one"
    assert made.holding == 0, "a stream is still held"


@pytest.fixture
def device(machine: Simulated) -> WorkingDevice:
    return WorkingDevice(SimulatedGpu(0))


def test_the_device_is_what_the_benchmarks_ask_for(device: WorkingDevice) -> None:
    for kind in (Multiplies, CopiesAtOnce, DrivesGpus, KnowsSlot):
        assert isinstance(device, kind)
    assert device.pci_address == "0000:00:00.0"
    assert device.cache_bytes == 2**20


@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
@pytest.mark.parametrize("times", [1, 7, MOST_QUEUED, 2 * MOST_QUEUED + 3])
def test_a_copy_takes_its_own_time_and_none_of_the_launch(
    device: WorkingDevice, engine: str, times: int
) -> None:
    source, target = PinnedMemory(device.gpu).allocate(SIZE), device.allocate(SIZE)
    source.fill(1)
    timed = device.open_copies([Transfer(target.address, source.address, SIZE)], engine)
    batches = -(-times // MOST_QUEUED)
    assert timed.time(times) == pytest.approx(SIZE / RATE + batches * EVENT_S / times)
    assert timed.fixed_s == pytest.approx(EVENT_S)
    assert target.count_wrong(1) == 0


@pytest.mark.parametrize("engine", ["copy-engine", "kernel"])
def test_copies_both_ways_begin_together_and_end_with_the_last(
    device: WorkingDevice, engine: str
) -> None:
    pinned = PinnedMemory(device.gpu)
    here, there = pinned.allocate(SIZE), device.allocate(SIZE)
    big, back = device.allocate(3 * SIZE), pinned.allocate(3 * SIZE)
    here.fill(1)
    big.fill(2)
    timed = device.open_copies(
        [
            Transfer(there.address, here.address, SIZE),
            Transfer(back.address, big.address, 3 * SIZE),
        ],
        engine,
    )
    # One after the other would take four.
    assert 0 <= 5 * (timed.time(5) - 3 * SIZE / RATE) <= FIXED_MOST_S
    assert (there.count_wrong(1), back.count_wrong(2)) == (0, 0)


@pytest.mark.parametrize("writes", [True, False])
def test_gpus_copy_to_each_other_all_at_once(
    device: WorkingDevice, machine: Simulated, writes: bool, peers: bool
) -> None:
    source = device.allocate(SIZE)
    source.fill(1)
    targets = {gpu: device.on_gpu(gpu).allocate(SIZE) for gpu in (1, 2, 3)}
    transfers = [
        Transfer(
            target.address,
            source.address,
            SIZE,
            0 if writes else gpu,
            through_host=not device.let_reach(0, gpu),
        )
        for gpu, target in targets.items()
    ]
    timed = device.open_copies(transfers, "copy-engine")
    # Without access the host waits for each copy: a stream that is held would never go on.
    assert timed.held is peers
    fixed_s = 4 * (timed.time(4) - SIZE / RATE)
    assert fixed_s >= 0
    assert (fixed_s <= FIXED_MOST_S) is peers
    assert [target.count_wrong(1) for target in targets.values()] == [0, 0, 0]
    makers = {gpu for gpu, _ in machine.copied}
    assert makers == ({0} if writes else {1, 2, 3})


def test_a_kernel_reaches_another_gpu_only_with_access(device: WorkingDevice, peers: bool) -> None:
    source, target = device.allocate(SIZE), device.on_gpu(2).allocate(SIZE)
    source.fill(1)
    way = Transfer(target.address, source.address, SIZE, 2)
    with pytest.raises(CudaError):
        device.open_copies([way], "kernel")
    assert device.let_reach(0, 2) is peers
    assert device.let_reach(0, 2) is peers  # once more: it is open already
    if peers:
        timed = device.open_copies([way], "kernel")
        assert timed.time(3) == pytest.approx(SIZE / RATE + EVENT_S / 3)
        assert target.count_wrong(1) == 0


def test_a_gpu_reaches_itself(device: WorkingDevice) -> None:
    assert device.let_reach(3, 3)


def test_too_many_gpus_are_refused_with_what_is_seen(device: WorkingDevice) -> None:
    assert device.lacks_gpus(4) is None
    assert device.lacks_gpus(5) == "it needs 5 GPUs in one process, and this one sees 4 GPUs"


def test_copies_that_nobody_times_hold_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    # As under a sanitizer, which waits for every launch.
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    simulate(monkeypatch, 1)
    device = WorkingDevice(SimulatedGpu(0))
    source, target = device.allocate(SIZE), device.allocate(SIZE)
    source.fill(1)
    device.open_copies([Transfer(target.address, source.address, SIZE)], "kernel")
    assert target.count_wrong(1) == 0


def test_an_operation_that_cannot_be_queued_lets_the_streams_go(
    device: WorkingDevice, machine: Simulated
) -> None:
    timer = StreamTimer([GpuStream(device.gpu, device.gpu.stream)])

    def fail() -> None:
        raise CudaError(1, "no such copy")

    with pytest.raises(CudaError, match="no such copy"):
        timer.time([fail], 1)
    device.gpu.stream.synchronize()  # it does not wait for a kernel that nobody ends


def test_the_simulation_refuses_what_cuda_refuses(machine: Simulated) -> None:
    gpu = SimulatedGpu(0)
    late = machine.RawKernel("void copy_bytes(", "copy_bytes")
    timer = StreamTimer([GpuStream(gpu, gpu.stream)])
    pinned = PinnedMemory(gpu)
    one, two = pinned.allocate(16), pinned.allocate(16)
    with pytest.raises(RuntimeError, match="could not be queued"):
        timer.time([lambda: late((1,), (16,), (one.address, two.address, 16))], 1)
    gpu.stream.synchronize()
    with machine.Device(1):
        event = machine.Event()
    with pytest.raises(CudaError, match="another device"):
        event.record(gpu.stream)


def test_buffers_go_when_nobody_holds_them(
    device: WorkingDevice, machine: Simulated, peers: bool
) -> None:
    before = len(machine.memory)
    source, target = device.allocate(SIZE), device.on_gpu(1).allocate(SIZE)
    assert device.let_reach(0, 1) is peers
    transfers = [Transfer(target.address, source.address, SIZE, through_host=not peers)] * 2
    timed = device.open_copies(transfers, "copy-engine")
    timed.time(2)
    assert len(machine.memory) > before
    del source, target, timed
    # No collector runs between cases: what is in a circle would stay on the GPU.
    assert len(machine.memory) == before


# The kernel itself, compiled for the processor.

_SHIM = """
#include <cstdint>
struct uint4 { unsigned x, y, z, w; };
struct Index { unsigned x; };
static Index gridDim, blockDim, blockIdx, threadIdx;
#define __global__
%s
extern "C" void run(char* to, const char* from, unsigned long long n, unsigned b, unsigned t) {
    gridDim.x = b; blockDim.x = t;
    for (blockIdx.x = 0; blockIdx.x < b; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < t; threadIdx.x++) copy_bytes(to, from, n);
}
"""


@pytest.fixture(scope="module")
def run_kernel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder: Path = tmp_path_factory.mktemp("kernel")
    (folder / "kernel.cpp").write_text(_SHIM % copies._SOURCE)
    library = folder / "kernel.so"
    command = [compiler, "-O1", "-w", "-shared", "-fPIC", "-o", str(library), "kernel.cpp"]
    subprocess.run(command, cwd=folder, check=True, timeout=600)
    return ctypes.CDLL(str(library)).run


@given(nbytes=st.integers(1, 20_000), blocks=st.integers(1, 5), threads=st.sampled_from([1, 32]))
def test_the_kernel_copies_every_byte_and_none_beyond(
    run_kernel: Any, nbytes: int, blocks: int, threads: int
) -> None:
    source = np.random.default_rng(nbytes).integers(0, 256, nbytes + 64).astype(np.uint8)
    target = np.zeros(nbytes + 64, np.uint8)
    run_kernel(
        ctypes.c_void_p(target.ctypes.data),
        ctypes.c_void_p(source.ctypes.data),
        ctypes.c_ulonglong(nbytes),
        ctypes.c_uint(blocks),
        ctypes.c_uint(threads),
    )
    assert np.array_equal(target[:nbytes], source[:nbytes])
    assert not target[nbytes:].any()
