"""Copies to, from and within the device of a rank.

A GPU's copies are timed by its own clock, those of pageable memory and of the stand-in by the
host's: a driver copies pageable memory through a buffer of its own, and events mislead.
"""

import time

import msgspec
import numpy as np

from bench.contracts import (
    HOST_SAMPLE,
    AxisSpec,
    Checked,
    Context,
    CopiesAtOnce,
    Measurement,
    Meet,
    Memory,
    Operation,
    Profile,
    Seconds,
    TimedCopies,
    one_sample,
)
from bench.core.records import Axis, Case, Work
from bench.core.schedule import ANY_DIRECTION, COPY_FUNCTION, SYNCHRONIZE_FUNCTION, DeviceCopies
from bench.measure.axes import (
    BYTES,
    DEVICE_KINDS,
    DST_MEMORY,
    EACH,
    MEMORY,
    NUMA,
    memory_key,
    whole,
    with_default,
    word,
)
from bench.measure.moves import (
    DEVICE_EVENTS,
    DIRECTION,
    ENGINE,
    PATTERN,
    Move,
    describe_timing,
    verify_moves,
)
from bench.measure.product import count_sets, refuse_sets

_OVERHEAD_SAMPLES = 101


class Copy:
    """The copy."""

    name = "copy"
    title = "copies to, from and within the memory of a rank's device"
    axes = (
        with_default(BYTES, 2**20),
        msgspec.structs.replace(MEMORY, default=("pinned",), in_id=True),
        msgspec.structs.replace(DST_MEMORY, default=("device",), in_id=True),
        NUMA,
        DIRECTION,
        ENGINE,
        PATTERN,
        AxisSpec(
            name="others",
            kind=int,
            default=(3,),
            least=1,
            most=64,
            advice="buffers beside the one, of patterns one_to_all and all_to_one",
        ),
        AxisSpec(
            name="cache",
            kind=str,
            default=("hot",),
            choices=("hot", "cold"),
            advice="the same buffers each time, or within a GPU turns through twice its last cache",
        ),
        EACH,
    )
    rank_agg = "max"
    tolerance = 0.01
    size_axis = "bytes"
    pairwise = False
    profile = Profile(family="copy", bound="device copy", hands_memory_to_mpi=False, rows="place")

    def work(self, case: Case) -> Work:
        """All bytes that are copied; both directions together."""
        ways = 2 if word(case, "direction") == "bi" else 1
        each = whole(case, "bytes") * _others(case) * ways
        total = each * whole(case, "ranks")
        return Work(bytes=total, bytes_per_rank=each, bytes_total=total, rate_bytes=total)

    def columns(self, case: Case) -> dict[str, Axis]:
        """Where copies begin and end."""
        source, target = _kinds(case)
        return {"src_memory": source, "dst_memory": target}

    def unsupported(self, case: Case, context: Context) -> str | None:
        """Return why this rank cannot run the case, or None."""
        kinds = _kinds(case)
        for kind in kinds:
            reason = context.memories.lacks(memory_key(case, kind))
            if reason is not None:
                return reason
        devices = DEVICE_KINDS & {*kinds}
        if not devices:
            return "copies between host memories are those of memcpy; it needs device memory"
        if len(devices) > 1:
            return "a GPU does not copy to and from its stand-in"
        return _unsupported_device(case) or _too_small(case, context)

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate sources and targets."""
        return _Copies(case, context)


class _Copies:
    idle = False

    def __init__(self, case: Case, context: Context) -> None:
        source, target = (context.memories[memory_key(case, kind)] for kind in _kinds(case))
        device = source if source.copies is not None else target
        if device.copies is None:
            raise RuntimeError("a copy was prepared without a device")
        self._copies: DeviceCopies = device.copies
        self._copy = COPY_FUNCTION(device.copies.copy)
        self._synchronize = SYNCHRONIZE_FUNCTION(device.copies.synchronize)
        self.params: dict[str, Axis] = {}
        self._sets = 1
        if _is_cold(case) and isinstance(device, CopiesAtOnce):
            self._sets = count_sets(_set_bytes(case), device.last_cache_bytes or 0)
            self.params["sets"] = self._sets
        sets = [_allocate_moves(case, source, target) for _ in range(self._sets)]
        self._moves = [move for each in sets for move in each]
        self._timed: TimedCopies | None = None
        if isinstance(device, CopiesAtOnce) and "host" not in _kinds(case):
            first, *turns = [[move.transfer() for move in each] for each in sets]
            self._timed = device.open_copies(first, word(case, "engine"), turns)
            self.timing_layer, self.overhead_s = DEVICE_EVENTS, None
            self.least_sample = self._timed.least_sample
            self.params |= describe_timing(self._timed)
            if _within_device(case) and not _is_cold(case):
                self.params |= _describe_cache(_set_bytes(case), device.last_cache_bytes)
        else:
            self.timing_layer = "ctypes"
            self.overhead_s = self._call_overhead_s()
            self.least_sample = HOST_SAMPLE
        self.sleeps = self.begins_together = self._timed is not None
        self._meet: Meet | None = None

    @property
    def warmups(self) -> int:
        return 0 if self._timed is None else self._timed.warmups

    def join(self, meet: Meet, warmups: int) -> None:
        if self._timed is not None:
            self._meet, self.least_sample = meet, self._timed.least_joint_sample
            self._timed.warmups = warmups

    def run(self, seconds: Seconds, loops: int) -> None:
        for sample in range(len(seconds)):
            if self._timed is not None:
                seconds[sample] = self._timed.time(loops, self._meet)
                continue
            begin = time.perf_counter_ns()
            for _ in range(loops):
                self._queue()
                self._finish()
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops

    def verify(self, seed: int) -> Checked:
        return verify_moves(self._moves, self._run_alone, seed)

    def _run_alone(self) -> None:
        meet, self._meet = self._meet, None
        try:
            self.run(one_sample(), self._sets)  # so many that each set has its turn
        finally:
            self._meet = meet

    def _queue(self) -> None:
        for move in self._moves:
            self._call(move.target.address, move.source.address, move.source.nbytes)

    def _call(self, target: int, source: int, nbytes: int) -> None:
        error = self._copy(target, source, nbytes, ANY_DIRECTION, self._copies.stream)
        if error:
            raise RuntimeError(f"a copy on a device returned error {error}")

    def _finish(self) -> None:
        error = self._synchronize(self._copies.stream)
        if error:
            raise RuntimeError(f"a device returned error {error} when it was waited for")

    def _call_overhead_s(self) -> float:
        """Return the seconds of a copy of nothing."""
        target, source = self._moves[0][:2]
        samples = np.empty(_OVERHEAD_SAMPLES)
        for i in range(len(samples)):
            begin = time.perf_counter_ns()
            self._call(target.address, source.address, 0)
            self._finish()
            samples[i] = (time.perf_counter_ns() - begin) * 1e-9
        return float(np.median(samples))


def _allocate_moves(case: Case, source: Memory, target: Memory) -> list[Move]:
    """Return the copies that are made at once, with buffers of their own."""
    nbytes, others = whole(case, "bytes"), _others(case)
    moves: list[Move] = []
    ways = [(source, target), (target, source)]
    for begin, end in ways[: 2 if word(case, "direction") == "bi" else 1]:
        sources = [
            begin.allocate(nbytes)
            for _ in range(1 if word(case, "pattern") == "one_to_all" else others)
        ]
        # One target of several sources has a place of its own for each.
        moves += [Move(end.allocate(nbytes), sources[i % len(sources)]) for i in range(others)]
    return moves


def _is_cold(case: Case) -> bool:
    return case.axes.get("cache") == "cold"


def _within_device(case: Case) -> bool:
    return {*_kinds(case)} == {"device"}


def _set_bytes(case: Case) -> int:
    """Return the bytes of the buffers of copies within a GPU, which are of pattern pair."""
    return whole(case, "bytes") * 2 * (2 if word(case, "direction") == "bi" else 1)


def _describe_cache(used: int, cache: int | None) -> dict[str, Axis]:
    """Return how much of what is copied again and again the last cache may hold."""
    if cache is None:
        return {"l2": "unknown"}
    if used > 2 * cache:
        return {}
    return {"l2": "hot" if used <= cache else "part"}


def _too_small(case: Case, context: Context) -> str | None:
    """Return why turns among buffers cannot outgrow the cache, or None."""
    if not _is_cold(case):
        return None
    if not _within_device(case):
        return "cache cold is of copies within a GPU: it needs memory and dst_memory device"
    device = context.memories["device"]
    if not isinstance(device, CopiesAtOnce):
        return "the memory of this device does not tell of a cache"
    if device.last_cache_bytes is None:
        return "the size of this GPU's last cache is not known"
    return refuse_sets(count_sets(_set_bytes(case), device.last_cache_bytes), "buffers")


def _unsupported_device(case: Case) -> str | None:
    """Return why a device cannot make these copies, or None."""
    kinds, by_kernel = {*_kinds(case)}, word(case, "engine") == "kernel"
    if "standin" in kinds:
        return "the stand-in runs no kernels: it needs a GPU" if by_kernel else None
    if word(case, "pattern") != "pair":
        return "one and several others are GPUs of one process: benchmark peer_copy"
    if "host" in kinds and by_kernel:
        return "a kernel reaches pinned memory and the GPU's own: it needs memory pinned"
    if "host" in kinds and word(case, "direction") == "bi":
        return (
            "the driver copies pageable memory through a buffer of its own, one way at a time: "
            "both ways at once need memory pinned"
        )
    return None


def _kinds(case: Case) -> tuple[str, str]:
    """Return the kinds of memory where copies begin and end."""
    source = word(case, "memory")
    return source, str(case.axes.get("dst_memory", source))


def _others(case: Case) -> int:
    return 1 if word(case, "pattern") == "pair" else whole(case, "others")


BENCHMARKS: tuple[Measurement, ...] = (Copy(),)
