"""One contract for every kind of memory that is here, and how unforgiving the stand-in is."""

import ctypes
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contracts import CopyQueue, Memories, Memory
from bench.core.schedule import ANY_DIRECTION, MOST_QUEUED, POISON_BYTES, DeviceCopies
from bench.rank.memory import MEMORY_KINDS, LazyMemories, Locality
from bench.rank.memory.gpu import MissingMemoryError, find_runtime
from bench.rank.memory.host import HostMemory
from bench.rank.memory.numa import run_on_cpus
from bench.rank.memory.standin import StandinMemory
from bench.rank.timing.interpreted import InterpretedQueue
from bench.rank.timing.layers import open_copy_queue
from bench.rank.timing.standin_queue import NativeQueue

COPY = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_void_p,
)
SYNCHRONIZE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


def queue_copy(copies: DeviceCopies, target: int, source: int, nbytes: int) -> int:
    """Call the copy function as C would."""
    return int(COPY(copies.copy)(target, source, nbytes, ANY_DIRECTION, copies.stream))


def synchronize(copies: DeviceCopies) -> int:
    return int(SYNCHRONIZE(copies.synchronize)(copies.stream))


@pytest.fixture(scope="module")
def memories() -> Memories:
    return LazyMemories(Locality(open_copy_queue))


GPU = {"pinned", "device"}


@pytest.fixture(
    params=[pytest.param(k, marks=[pytest.mark.gpu] if k in GPU else []) for k in MEMORY_KINDS]
)
def memory(request: pytest.FixtureRequest, memories: Memories) -> Memory:
    reason = memories.lacks(request.param)
    if reason is not None:
        assert request.param in GPU
        pytest.skip(reason)
    return memories[request.param]


# The contract.


@pytest.mark.parametrize("nbytes", [1, 7, 8, 4096, 4097, 1_000_003])
def test_a_buffer_holds_what_was_written(memory: Memory, nbytes: int) -> None:
    buffer = memory.allocate(nbytes)
    assert buffer.nbytes == nbytes
    buffer.fill(3)
    assert buffer.count_wrong(3) == 0
    assert buffer.count_wrong(4) > 0.98 * nbytes
    buffer.poison(3)
    assert buffer.count_wrong(3) == nbytes
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes).astype(np.uint8)
    buffer.write(data)
    assert np.array_equal(buffer.read(), data)


def test_numbers_of_any_type_are_written_as_their_bytes(memory: Memory) -> None:
    buffer = memory.allocate(8000)
    numbers = np.random.default_rng(1).standard_normal(1000)
    buffer.write(numbers)
    assert np.array_equal(buffer.read().view(np.float64), numbers)


def test_buffers_lie_apart_at_addresses_that_stay(memory: Memory) -> None:
    buffers = [memory.allocate(5000) for _ in range(4)]
    places = sorted((buffer.address, buffer.nbytes) for buffer in buffers)
    assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(places))
    addresses = [buffer.address for buffer in buffers]
    for seed, buffer in enumerate(buffers):
        buffer.fill(seed)
    assert [buffer.count_wrong(seed) for seed, buffer in enumerate(buffers)] == [0] * 4
    assert [buffer.address for buffer in buffers] == addresses


def test_every_kind_carries_its_own_name(memory: Memory, memories: Memories) -> None:
    assert memories[memory.name] is memory
    assert memory.name in list(memories)


def test_memory_of_the_host_needs_no_copies_and_that_of_a_device_has_them(memory: Memory) -> None:
    assert (memory.copies is None) == (memory.name in {"host", "pinned"})


@pytest.mark.parametrize("nbytes", [1, 4096, 4097, 300_000])
def test_bytes_come_back_from_a_device_by_its_own_copies(
    memory: Memory, nbytes: int, memories: Memories
) -> None:
    if memory.copies is None:
        return
    host, device = memories["host"], memory
    source, there, back = host.allocate(nbytes), device.allocate(nbytes), host.allocate(nbytes)
    source.fill(1)
    there.poison(1)
    back.poison(1)
    assert queue_copy(memory.copies, there.address, source.address, nbytes) == 0
    assert queue_copy(memory.copies, back.address, there.address, nbytes) == 0
    assert synchronize(memory.copies) == 0
    assert (there.count_wrong(1), back.count_wrong(1)) == (0, 0)


@pytest.mark.gpu
def test_more_than_a_gpu_has_is_a_memory_error(memories: Memories) -> None:
    reason = memories.lacks("device")
    if reason is not None:
        pytest.skip(reason)
    with pytest.raises(MemoryError):
        memories["device"].allocate(2**46)


# The stand-in, whose queue is compiled or not.


@pytest.fixture(params=[NativeQueue, InterpretedQueue])
def queue(request: pytest.FixtureRequest) -> CopyQueue:
    made: CopyQueue = request.param()
    return made


def test_the_queue_is_native_where_numba_is_installed() -> None:
    assert isinstance(open_copy_queue(), NativeQueue)


def test_nothing_is_copied_before_it_is_synchronised(queue: CopyQueue) -> None:
    nbytes = 3 * POISON_BYTES + 5
    source, target = HostMemory().allocate(nbytes), StandinMemory(queue).allocate(nbytes)
    source.fill(1)
    target.fill(1)  # right already, but no longer once a copy is on its way
    assert queue_copy(queue.copies, target.address, source.address, nbytes) == 0
    assert queue.queued == 1
    there = np.frombuffer((ctypes.c_uint8 * nbytes).from_address(target.address), np.uint8)
    wrong = np.flatnonzero(there != source.read())
    assert wrong.tolist() == [*range(0, nbytes, POISON_BYTES), nbytes - 1]
    # What the source holds at synchronise counts: it may not change before.
    source.fill(2)
    assert synchronize(queue.copies) == 0
    assert queue.queued == 0
    assert target.count_wrong(2) == 0


@given(nbytes=st.integers(1, 20_000))
def test_every_queued_target_is_wrong_at_both_ends(nbytes: int) -> None:
    for queue in (NativeQueue(), InterpretedQueue()):
        source, target = HostMemory().allocate(nbytes), HostMemory().allocate(nbytes)
        source.fill(1)
        target.fill(1)
        queue_copy(queue.copies, target.address, source.address, nbytes)
        differs = target.read() != source.read()
        assert differs[0]
        assert differs[-1]
        synchronize(queue.copies)
        assert target.count_wrong(1) == 0


def test_the_host_may_not_touch_the_memory_while_a_copy_waits(queue: CopyQueue) -> None:
    memory = StandinMemory(queue)
    source, target, beside = (memory.allocate(100) for _ in range(3))
    source.fill(1)
    queue_copy(queue.copies, target.address, source.address, 100)
    for buffer in (source, target, beside):
        for touch in (buffer.read, lambda b=buffer: b.fill(2), lambda b=buffer: b.poison(2)):
            with pytest.raises(RuntimeError, match="synchronise"):
                touch()
    synchronize(queue.copies)
    assert target.count_wrong(1) == 0


def test_copies_are_executed_in_the_order_in_which_they_were_queued(queue: CopyQueue) -> None:
    memory = StandinMemory(queue)
    first, second, third = (memory.allocate(9000) for _ in range(3))
    first.fill(1)
    queue_copy(queue.copies, second.address, first.address, 9000)
    queue_copy(queue.copies, third.address, second.address, 9000)
    synchronize(queue.copies)
    assert (second.count_wrong(1), third.count_wrong(1)) == (0, 0)


def test_a_full_queue_refuses_one_more_copy(queue: CopyQueue) -> None:
    buffer = HostMemory().allocate(2)
    for _ in range(MOST_QUEUED):
        assert queue_copy(queue.copies, buffer.address, buffer.address + 1, 1) == 0
    assert queue_copy(queue.copies, buffer.address, buffer.address + 1, 1) != 0
    assert queue.queued == MOST_QUEUED
    assert synchronize(queue.copies) == 0


def test_a_copy_of_nothing_touches_nothing(queue: CopyQueue) -> None:
    assert queue_copy(queue.copies, 0, 0, 0) == 0
    assert synchronize(queue.copies) == 0


def test_bytes_handed_out_do_not_change_with_the_device(queue: CopyQueue) -> None:
    buffer = StandinMemory(queue).allocate(100)
    buffer.fill(1)
    seen = buffer.read()
    buffer.fill(2)
    assert buffer.count_wrong(2) == 0
    assert not np.array_equal(seen, buffer.read())


# Where memory is, and what is not here.


def node_pages(address: int) -> dict[str, str]:
    """Return what the kernel shows of the mapping that an address lies in."""
    for line in Path("/proc/self/numa_maps").read_text().splitlines():
        start, *fields = line.split()
        if int(start, 16) == address:
            return dict(word.split("=") for word in fields if "=" in word)
    return {}


def test_pages_lie_on_the_numa_node_that_was_asked_for() -> None:
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    memory = LazyMemories(Locality(open_copy_queue, numa={0: cpus}))["host@0"]
    buffer = memory.allocate(64 * 4096)
    assert os.sched_getaffinity(0) == set(cpus)
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("the kernel does not show where pages lie")
    fields = node_pages(buffer.address)
    assert [name for name in fields if name.startswith("N")] in (["N0"], [])


def test_the_first_touch_comes_from_a_thread_bound_to_the_node() -> None:
    mine = os.sched_getaffinity(0)
    one = (min(mine),)
    assert run_on_cpus(one, lambda: os.sched_getaffinity(0)) == set(one)
    assert os.sched_getaffinity(0) == mine
    with pytest.raises(ZeroDivisionError):
        run_on_cpus(one, lambda: 1 // 0)


@pytest.mark.parametrize("numa", [{}, {7: ()}, {7: (4095,)}])
def test_a_numa_node_that_is_not_here_is_a_reason(numa: dict[int, tuple[int, ...]]) -> None:
    memories = LazyMemories(Locality(open_copy_queue, numa=numa))
    assert "NUMA node 7" in (memories.lacks("host@7") or "")
    assert "host@7" not in memories
    assert memories.lacks("host") is None


def test_memory_of_a_gpu_says_what_it_needs_where_there_is_none(memories: Memories) -> None:
    for kind in sorted(GPU):
        reason = memories.lacks(kind)
        if reason is None:
            pytest.skip("there is a GPU")
        assert reason.startswith(f"no {kind} memory here: it needs")
        assert "CuPy" in reason
        assert kind not in memories
        with pytest.raises(KeyError):
            memories[kind]


def test_a_runtime_that_is_nowhere_is_named() -> None:
    with pytest.raises(MissingMemoryError, match=r"libcudart\.so\.99"):
        find_runtime("cuda", 99_010)
