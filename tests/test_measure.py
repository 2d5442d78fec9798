"""A contract for every benchmark: what it says, what it moves, and that a wrong answer is seen."""

import ctypes
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.contracts import KERNELS, Checked, Context, MemoryLoops, Operation, Peer, Seconds, Slots
from bench.core.records import COLUMNS, Axis, Case, Work
from bench.measure import MEASUREMENTS
from bench.measure.axes import DTYPES
from bench.measure.blocks import KINDS
from bench.measure.pair import MOST_IN_FLIGHT, window_size
from bench.measure.product_check import STRIP
from bench.plan.plan import expand
from bench.plan.suite import Block
from bench.rank.context import open_context
from bench.rank.timing.interpreted import NumpyMemoryLoops
from bench.rank.world import SoloWorld

EVERY_PAIR = {
    name
    for name, measurement in MEASUREMENTS.items()
    if any(axis.name == "at_once" for axis in measurement.axes)
}
"""Whose cases are all pairs of ranks."""
OPEN = {
    name
    for name, measurement in MEASUREMENTS.items()
    if any(axis.name == "ranks" and axis.least == 0 for axis in measurement.axes)
}
"""Whose world size may be left open."""
ENDS = sorted(name for name, measurement in MEASUREMENTS.items() if measurement.pairwise)
PAIRWISE = sorted(set(ENDS) - EVERY_PAIR - {"overlap", "verbs"})
TOGETHER = {"exchange", "ring_shift", "split_matmul", "training_step"}
OF_ALL = TOGETHER | {kind.name for kind in KINDS} | OPEN
"""All ranks do one thing together."""
LOCAL = sorted(set(MEASUREMENTS) - set(ENDS) - OF_ALL - {"peer_copy"})
"""In one process; pairs of ranks or GPUs, and what all do together, have tests of their own."""


def make_case(name: str, **axes: Axis) -> Case:
    """Return one case of a benchmark: its defaults (the first of several), and these values."""
    chosen = {axis.name: (axis.default[0],) for axis in MEASUREMENTS[name].axes}
    return next(expand(Block(name, {**chosen, **{axis: (v,) for axis, v in axes.items()}})))


def small_cases() -> list[Case]:
    """Return a small case of every benchmark that runs in one process, of each kind of it."""
    return [
        *(make_case("memcpy", bytes=size) for size in (1, 7, 4096, 5000)),
        *(make_case("stream", bytes=5000, kernel=kernel) for kernel in KERNELS),
        *(make_case("matmul", batch=5, k=40, n=30, dtype=dtype) for dtype in DTYPES),
        make_case("matmul", batch=1, k=1, n=1),
        make_case("copy", bytes=5000, memory="host", dst_memory="standin"),
        make_case("matmul", batch=130, k=70, n=100),
    ]


@pytest.fixture(scope="module")
def context() -> Context:
    return open_context(SoloWorld(), 1)


# What every benchmark says of itself.


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_benchmark_declares_what_a_plan_needs(name):
    measurement = MEASUREMENTS[name]
    axes = {axis.name: axis for axis in measurement.axes}
    assert measurement.name == name
    assert "\n" not in measurement.title
    assert len(axes) == len(measurement.axes)
    ranks = 1 if name in (*LOCAL, "peer_copy") else 0 if name in OPEN else 2
    assert axes["ranks"].default == (ranks,)
    assert axes[measurement.size_axis].kind is int
    # Sizes are spread on a log axis: 0 has no place there.
    assert axes[measurement.size_axis].least >= 1
    assert axes[measurement.size_axis].in_id
    assert measurement.rank_agg in ("rank0", "max")
    assert 0 < measurement.tolerance < 0.1
    assert all(axis.advice for axis in measurement.axes)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_default_lies_within_its_limits(name):
    for axis in MEASUREMENTS[name].axes:
        assert axis.default
        for value in axis.default:
            if axis.kind is str:
                assert value in axis.choices
            else:
                assert axis.least <= int(value) <= axis.most


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_columns_of_a_benchmark_are_columns_of_the_results(name):
    assert set(MEASUREMENTS[name].columns(make_case(name))) <= set(COLUMNS)


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_benchmark_between_two_ranks_says_why_it_cannot_run_alone(name, context):
    reason = MEASUREMENTS[name].unsupported(make_case(name), context)
    assert reason is not None
    assert "needs MPI" in reason


@pytest.mark.parametrize(
    "name", sorted(set(MEASUREMENTS) - {"barrier", "copy", "peer_copy", "stream", "verbs"})
)
def test_memory_that_is_not_here_is_a_reason(name, context):
    measurement = MEASUREMENTS[name]
    here = msgspec.structs.replace(context, message_loops=Wire(None).end(0))
    reason = measurement.unsupported(make_case(name, memory="device"), here)
    assert reason is not None
    assert "device" in reason
    assert measurement.unsupported(make_case(name), here) is None


def test_staging_host_memory_through_host_memory_is_refused_with_a_reason(context):
    here = msgspec.structs.replace(context, message_loops=Wire(None).end(0))
    reason = MEASUREMENTS["latency"].unsupported(make_case("latency", path="staged"), here)
    assert reason is not None
    assert "staged" in reason


# What one operation accomplishes, by hand.


@pytest.mark.parametrize(
    ("case", "work"),
    [
        (make_case("latency", bytes=1000), Work(bytes=1000, rate_bytes=1000)),
        (make_case("bandwidth", bytes=1000, window=7), Work(bytes=1000, rate_bytes=1000)),
        # Both directions at once: 1000 bytes each way.
        (make_case("bibandwidth", bytes=1000), Work(bytes=1000, rate_bytes=2000)),
        (make_case("message_rate", bytes=8), Work(bytes=8, messages=1)),
        (
            make_case("memcpy", bytes=1000),
            Work(bytes=1000, bytes_per_rank=1000, bytes_total=1000, rate_bytes=1000),
        ),
        (
            make_case("memcpy", bytes=1000, ranks=4),
            Work(bytes=4000, bytes_per_rank=1000, bytes_total=4000, rate_bytes=4000),
        ),
        # Copy and scale read one array and write one, add and triad read two and write one.
        *(
            (
                make_case("stream", bytes=8000, kernel=kernel, ranks=2),
                Work(
                    bytes=2 * arrays * 8000,
                    bytes_per_rank=arrays * 8000,
                    bytes_total=2 * arrays * 8000,
                    rate_bytes=2 * arrays * 8000,
                ),
            )
            for kernel, arrays in (("copy", 2), ("scale", 2), ("add", 3), ("triad", 3))
        ),
        # Arrays hold whole numbers of 8 bytes: 8007 bytes hold 1000 of them.
        (
            make_case("stream", bytes=8007, kernel="triad"),
            Work(bytes=24000, bytes_per_rank=24000, bytes_total=24000, rate_bytes=24000),
        ),
        # 2 m n k = 2 * 3 * 5 * 7.
        (make_case("matmul", batch=3, n=5, k=7), Work(flop=210)),
        (make_case("matmul", batch=3, n=5, k=7, ranks=2), Work(flop=420)),
    ],
)
def test_the_work_of_one_operation_is_what_is_counted_by_hand(case, work):
    assert MEASUREMENTS[case.benchmark].work(case) == work


@pytest.mark.parametrize(
    ("size", "asked", "in_flight"),
    [
        (8, 64, 64),
        (2**20, 64, 64),
        (4 * 2**20, 64, 16),
        (2**26, 64, 1),
        (2**31 - 1, 4096, 1),
        (8, 1, 1),
    ],
)
def test_no_window_holds_more_than_64_mib(size, asked, in_flight):
    case = make_case("bandwidth", bytes=size, window=asked)
    assert window_size(case) == in_flight
    assert MEASUREMENTS["bandwidth"].columns(case)["window"] == in_flight
    assert in_flight == 1 or in_flight * size <= MOST_IN_FLIGHT


@pytest.mark.parametrize("name", ["bandwidth", "multi_pair"])
def test_a_shared_buffer_holds_a_window_of_any_size(name):
    case = make_case(name, bytes=2**26, window=4096, buffers="shared")
    assert MEASUREMENTS[name].columns(case)["window"] == 4096


def test_one_message_is_the_same_case_whatever_its_buffers():
    assert make_case("bandwidth", window=1, buffers="shared") == make_case("bandwidth", window=1)
    assert make_case("bandwidth", buffers="shared") != make_case("bandwidth", buffers="own")


# In one process.


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: case.id)
def test_what_runs_in_one_process_runs_and_is_right(case, context):
    measurement = MEASUREMENTS[case.benchmark]
    assert measurement.unsupported(case, context) is None
    operation = measurement.prepare(case, context)
    assert not operation.idle
    assert operation.timing_layer
    for seed in (1, 2):
        checked = operation.verify(seed)
        assert checked.bytes_checked > 0
        assert checked.bytes_wrong == 0
    seconds = np.full(7, np.nan)
    operation.run(seconds, 3)
    assert np.all(seconds >= 0)
    assert np.all(np.isfinite(seconds))


def test_every_benchmark_is_in_one_of_the_two_groups_of_tests():
    assert {case.benchmark for case in small_cases()} == set(LOCAL)


@pytest.mark.parametrize(
    ("case", "checked"),
    [
        (make_case("memcpy", bytes=5000), 5000),
        (make_case("stream", bytes=8007, kernel="add"), 8000),
        (make_case("matmul", batch=5, k=9, n=7, dtype="fp32"), 5 * 7 * 4),
        (make_case("matmul", batch=5, k=9, n=7, dtype="fp64"), 5 * 7 * 8),
        (make_case("matmul", batch=130, k=9, n=300, dtype="fp64"), 130 * 300 * 8),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_the_bytes_checked_are_those_compared(case, checked, context):
    operation = MEASUREMENTS[case.benchmark].prepare(case, context)
    assert operation.verify(1).bytes_checked == checked


class Faulty:
    """Memory loops that spoil one byte or element of what they were to write.

    Args:
        loops: the loops that do it right.
        place: which byte or element.
    """

    def __init__(self, loops: MemoryLoops, place: int) -> None:
        self.name = loops.name
        self.overhead_s = loops.overhead_s
        self._loops = loops
        self._place = place

    def copy(self, seconds: Seconds, loops: int, target: int, source: int, nbytes: int) -> None:
        self._loops.copy(seconds, loops, target, source, nbytes)
        ctypes.c_uint8.from_address(target + self._place % nbytes).value ^= 1

    def kernel(self, seconds: Seconds, loops: int, kernel: str, arrays: Any) -> None:
        self._loops.kernel(seconds, loops, kernel, arrays)
        a, b, c = arrays
        target = {"copy": c, "scale": b, "add": c, "triad": a}[kernel]
        target[self._place % len(target)] += 0.125


@pytest.mark.parametrize("place", [0, 1, 511, 624, -1])
@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        (make_case("memcpy", bytes=5000), 1),
        *((make_case("stream", bytes=5000, kernel=kernel), 8) for kernel in KERNELS),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_one_wrong_byte_or_element_is_seen(case, wrong, place, context):
    faulty = msgspec.structs.replace(context, memory_loops=Faulty(context.memory_loops, place))
    checked = MEASUREMENTS[case.benchmark].prepare(case, faulty).verify(1)
    assert checked.bytes_wrong == wrong


class DoesNothing:
    """Memory loops that are very fast, since they do nothing at all."""

    name = "nothing"
    overhead_s = None

    def copy(self, *_arguments: Any) -> None:
        pass

    def kernel(self, *_arguments: Any) -> None:
        pass


@pytest.mark.parametrize(
    "case", [c for c in small_cases() if c.benchmark not in ("copy", "matmul")]
)
def test_a_loop_that_does_nothing_is_wrong_in_every_byte(case, context):
    fast = msgspec.structs.replace(context, memory_loops=DoesNothing())
    checked = MEASUREMENTS[case.benchmark].prepare(case, fast).verify(1)
    assert checked.bytes_wrong == checked.bytes_checked


def spoil_products(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any, Any, Any], None]) -> None:
    """Have every matrix product spoiled after it was made: spoil(left, right, product)."""
    right_product = np.matmul

    def matmul(left: Any, right: Any, out: Any) -> None:
        right_product(left, right, out=out)
        spoil(left, right, out)

    monkeypatch.setattr(np, "matmul", matmul)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", [(0, 0), (0, -1), (-1, 0), (-1, -1), (17, 31)])
def test_one_wrong_element_of_a_product_is_seen(place, dtype, context, monkeypatch):
    operation = MEASUREMENTS["matmul"].prepare(
        make_case("matmul", batch=33, k=50, n=40, dtype=dtype), context
    )

    def spoil(_left: Any, _right: Any, product: Any) -> None:
        product[place] += 0.01

    spoil_products(monkeypatch, spoil)
    # Counted is the part of its row that is summed.
    assert operation.verify(1).bytes_wrong == 40 * (4 if dtype == "fp32" else 8)


@pytest.mark.parametrize("place", [(0, 0), (99, 7), (-1, -1), (64, 123)])
def test_an_element_of_a_large_product_that_was_never_written_is_seen(place, context, monkeypatch):
    operation = MEASUREMENTS["matmul"].prepare(make_case("matmul", batch=200, k=9, n=300), context)

    def spoil(_left: Any, _right: Any, product: Any) -> None:
        product[place] = np.nan

    spoil_products(monkeypatch, spoil)
    assert 4 <= operation.verify(1).bytes_wrong <= 4 * STRIP


@pytest.mark.parametrize("shape", [(5, 7), (200, 300)])
def test_a_product_that_is_not_computed_is_wrong_even_where_the_last_one_was_right(
    shape, context, monkeypatch
):
    case = make_case("matmul", batch=shape[0], k=9, n=shape[1])
    operation = MEASUREMENTS["matmul"].prepare(case, context)
    assert operation.verify(1).bytes_wrong == 0
    monkeypatch.setattr(np, "matmul", lambda _left, _right, **_out: None)
    assert operation.verify(2) == Checked(shape[0] * shape[1] * 4, shape[0] * shape[1] * 4)


def test_a_product_in_half_precision_is_no_product_in_single_precision(context, monkeypatch):
    operation = MEASUREMENTS["matmul"].prepare(make_case("matmul", batch=32, k=64, n=32), context)
    right_product = np.matmul

    def spoil(left: Any, right: Any, product: Any) -> None:
        product[:] = right_product(left.astype(np.float16), right.astype(np.float16))

    spoil_products(monkeypatch, spoil)
    assert operation.verify(1).bytes_wrong > 0


def test_the_row_of_a_product_names_the_blas_and_its_threads(context):
    operation = MEASUREMENTS["matmul"].prepare(make_case("matmul", batch=5, k=40, n=30), context)
    assert operation.params == {"blas": context.blas, "threads": 1}
    assert context.blas != "unknown"
    assert operation.overhead_s is not None
    assert 0 < operation.overhead_s < 1e-3


# Between two ranks: two threads, and a wire that can be made faulty.


class Wire:
    """Carries messages between two threads.

    Args:
        fault: what happens to each message on its way, numbered from 0; None for nothing.
    """

    def __init__(self, fault: Callable[[int, bytes], bytes] | None) -> None:
        self.fault = fault
        self.sent = 0
        self.lines: tuple[SimpleQueue[bytes], ...] = (SimpleQueue(), SimpleQueue())

    def end(self, rank: int) -> "WireLoops":
        return WireLoops(self, rank)

    def send(self, rank: int, message: bytes) -> None:
        if self.fault is not None and message:
            message = self.fault(self.sent, message)
            self.sent += 1
        self.lines[1 - rank].put(message)


class WireLoops:
    """Message loops over the wire: every message is a copy of the sender's bytes."""

    name = "wire"
    overhead_s = None

    def __init__(self, wire: Wire, rank: int) -> None:
        self._wire = wire
        self._rank = rank

    def _send(self, address: int, nbytes: int) -> None:
        self._wire.send(self._rank, ctypes.string_at(address, nbytes))

    def _receive(self, address: int) -> None:
        message = self._wire.lines[self._rank].get(timeout=120)
        ctypes.memmove(address, message, len(message))

    def pingpong(
        self, seconds: Seconds, loops: int, send: int, receive: int, nbytes: int, peer: Peer
    ) -> None:
        for _ in range(len(seconds) * loops):
            if peer.leads:
                self._send(send, nbytes)
                self._receive(receive)
            else:
                self._receive(receive)
                self._send(send, nbytes)
        seconds[:] = 1e-6

    def window(self, seconds: Seconds, loops: int, slots: Slots, peer: Peer) -> None:
        for _ in range(len(seconds) * loops):
            for slot in range(slots.window):
                if peer.leads:
                    self._send(slots.at(slot), slots.nbytes)
                else:
                    self._receive(slots.at(slot))
            if peer.leads:
                self._receive(slots.address)
            else:
                self._send(slots.address, 0)
        seconds[:] = 1e-6

    def exchange_window(
        self, seconds: Seconds, loops: int, send: Slots, receive: Slots, peer: Peer
    ) -> None:
        for _ in range(len(seconds) * loops):
            for slot in range(send.window):
                self._send(send.at(slot), send.nbytes)
            for slot in range(receive.window):
                self._receive(receive.at(slot))
        seconds[:] = 1e-6


class Member(SoloWorld):
    """A rank of a world, as far as a pair asks."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size


def verify_pair(case: Case, context: Context, wire: Wire, size: int = 2) -> list[Checked]:
    """Verify a case on both ranks of a pair at once; return what each of them found."""
    found: dict[int, Checked] = {}

    def work(number: int, rank: int) -> None:
        here = msgspec.structs.replace(
            context, communicator=Member(rank, size), message_loops=wire.end(number)
        )
        operation = MEASUREMENTS[case.benchmark].prepare(case, here)
        found[number] = operation.verify(1)

    threads = [
        threading.Thread(target=work, args=(number, rank))
        for number, rank in enumerate((0, size - 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [found[0], found[1]]


RECEIVED = {
    # Bytes that rank 0 and the last rank receive, of messages of 1000 bytes in windows of 4.
    "latency": (1000, 1000),
    "bandwidth": (0, 4000),
    "message_rate": (0, 4000),
    "bibandwidth": (4000, 4000),
}


def pair_case(name: str, **axes: Axis) -> Case:
    windows = any(axis.name == "window" for axis in MEASUREMENTS[name].axes)
    return make_case(name, bytes=1000, **({"window": 4} if windows else {}), **axes)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("size", [2, 4])
def test_a_pair_checks_every_byte_that_it_receives(name, size, context):
    found = verify_pair(pair_case(name, ranks=size), context, Wire(None), size)
    assert tuple(checked.bytes_checked for checked in found) == RECEIVED[name]
    assert [checked.bytes_wrong for checked in found] == [0, 0]


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("place", [0, 500, 999])
def test_one_wrong_byte_on_the_wire_is_seen_once(name, place, context):
    def fault(number: int, message: bytes) -> bytes:
        if number:
            return message
        return message[:place] + bytes([message[place] ^ 0x10]) + message[place + 1 :]

    found = verify_pair(pair_case(name), context, Wire(fault))
    assert sum(checked.bytes_wrong for checked in found) == 1


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_message_that_arrives_short_is_seen(name, context):
    found = verify_pair(pair_case(name), context, Wire(lambda number, m: m if number else m[:-10]))
    assert sum(checked.bytes_wrong for checked in found) == 10


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_message_that_comes_back_unread_is_no_message(name, context):
    """Rank 0's own bytes, or any other than the peer's, are wrong."""
    found = verify_pair(pair_case(name), context, Wire(lambda _number, m: bytes(len(m))))
    for checked, received in zip(found, RECEIVED[name], strict=True):
        assert checked.bytes_wrong >= 0.98 * received


@pytest.mark.parametrize("name", sorted({*PAIRWISE} - {"latency"}))
def test_the_bytes_of_a_shared_buffer_are_those_of_one_message(name, context):
    sent: list[bytes] = []

    def note(_number: int, message: bytes) -> bytes:
        sent.append(message)
        return message

    found = verify_pair(pair_case(name, buffers="shared"), context, Wire(note))
    assert [c.bytes_checked for c in found] == [size // 4 for size in RECEIVED[name]]
    assert [c.bytes_wrong for c in found] == [0, 0]
    counts = sorted(sent.count(message) for message in {*sent} - {b""})
    assert counts == [4] * (2 if name == "bibandwidth" else 1)


def test_of_a_shared_buffer_the_last_message_is_seen(context):
    def fault(number: int, message: bytes) -> bytes:
        return bytes([message[0] ^ 1]) + message[1:] if number == 3 else message

    case = pair_case("bandwidth", buffers="shared")
    assert verify_pair(case, context, Wire(fault))[1].bytes_wrong == 1
    lost = verify_pair(case, context, Wire(lambda _number, m: m[:-10]))
    assert lost[1].bytes_wrong == 10


def test_two_messages_of_a_window_in_each_others_places_are_seen(context):
    kept: list[bytes] = []

    def fault(number: int, message: bytes) -> bytes:
        kept.append(message)
        return kept[0] if number == 1 else message

    found = verify_pair(pair_case("bandwidth"), context, Wire(fault))
    assert found[1].bytes_wrong > 900


@pytest.mark.parametrize("name", PAIRWISE)
def test_ranks_between_the_pair_idle_and_take_no_memory_for_it(name, context):
    here = msgspec.structs.replace(
        context, communicator=Member(1, 4), message_loops=Wire(None).end(0)
    )
    case = make_case(name, bytes=2**31 - 1, ranks=4)
    operation = MEASUREMENTS[name].prepare(case, here)
    assert operation.idle


def test_both_ranks_of_a_pair_take_part(context):
    here = msgspec.structs.replace(
        context, communicator=Member(1, 2), message_loops=Wire(None).end(1)
    )
    operation = MEASUREMENTS["latency"].prepare(pair_case("latency"), here)
    assert not operation.idle


# Native and interpreted loops.


@pytest.fixture(scope="module", params=["native", "interpreted"])
def loops(request, context) -> MemoryLoops:
    return context.memory_loops if request.param == "native" else NumpyMemoryLoops()


def test_native_loops_are_used_where_numba_is_installed(context):
    assert context.memory_loops.name == "numba"
    assert context.memory_loops.overhead_s is None


def test_interpreted_loops_tell_their_name_and_what_they_add():
    interpreted = NumpyMemoryLoops()
    assert interpreted.name == "numpy"
    assert interpreted.overhead_s is not None
    assert 0 < interpreted.overhead_s < 1e-3


@pytest.mark.parametrize("kernel", KERNELS)
def test_both_kinds_of_loops_compute_the_same(kernel, context):
    random = np.random.default_rng(7)
    start = [random.standard_normal(1003) for _ in range(3)]
    results = []
    for kind in (context.memory_loops, NumpyMemoryLoops()):
        arrays = tuple(array.copy() for array in start)
        kind.kernel(np.empty(3), 2, kernel, arrays)
        results.append(arrays)
    for native, interpreted in zip(*results, strict=True):
        # A fused multiply-add rounds once where two operations round twice.
        np.testing.assert_allclose(native, interpreted, rtol=4e-16, atol=4e-16)


@pytest.mark.parametrize("nbytes", [0, 1, 7, 4097, 100_000])
def test_a_copy_copies_its_bytes_and_none_beside_them(nbytes, loops):
    random = np.random.default_rng(nbytes)
    source = random.integers(0, 256, nbytes + 16).astype(np.uint8)
    target = random.integers(0, 256, nbytes + 16).astype(np.uint8)
    expected = np.concatenate([target[:8], source[8 : 8 + nbytes], target[8 + nbytes :]])
    loops.copy(np.empty(2), 3, target.ctypes.data + 8, source.ctypes.data + 8, nbytes)
    assert np.array_equal(target, expected)


def best_copy_s(loops: MemoryLoops, nbytes: int, count: int) -> float:
    source, target = np.ones(nbytes, np.uint8), np.ones(nbytes, np.uint8)
    seconds = np.empty(5)
    loops.copy(seconds, count, target.ctypes.data, source.ctypes.data, nbytes)
    return float(seconds.min())


def test_a_copy_of_sixteen_thousand_times_the_bytes_takes_much_longer(loops):
    assert best_copy_s(loops, 2**24, 1) > 50 * best_copy_s(loops, 2**10, 1000)


def test_a_kernel_over_longer_arrays_takes_longer(loops):
    def best_s(length: int, count: int) -> float:
        seconds = np.empty(5)
        loops.kernel(seconds, count, "triad", (np.ones(length), np.ones(length), np.ones(length)))
        return float(seconds.min())

    assert best_s(2**20, 1) > 20 * best_s(2**8, 1000)


def test_a_larger_product_takes_longer(context):
    def best_s(batch: int) -> float:
        case = make_case("matmul", batch=batch, k=200, n=200)
        operation: Operation = MEASUREMENTS["matmul"].prepare(case, context)
        seconds = np.empty(5)
        operation.run(seconds, 1)
        return float(seconds.min())

    assert best_s(2000) > 10 * best_s(2)


def test_the_samples_add_up_to_no_more_than_the_time_that_passed(loops):
    source, target = np.ones(2**20, np.uint8), np.ones(2**20, np.uint8)
    seconds = np.empty(10)
    begin = time.perf_counter()
    loops.copy(seconds, 8, target.ctypes.data, source.ctypes.data, 2**20)
    passed = time.perf_counter() - begin
    # A sample is the time of one of its operations: of all 8 it would be 8 times too much.
    assert 0 < seconds.sum() * 8 <= passed


def test_a_loop_without_samples_touches_nothing(loops):
    loops.copy(np.empty(0), 1, 0, 0, 10**9)
