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
        return _unsupported_device(case)

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
        nbytes, others = whole(case, "bytes"), _others(case)
        self._moves: list[Move] = []
        ways = [(source, target), (target, source)]
        for begin, end in ways[: 2 if word(case, "direction") == "bi" else 1]:
            sources = [
                begin.allocate(nbytes)
                for _ in range(1 if word(case, "pattern") == "one_to_all" else others)
            ]
            # One target of several sources has a place of its own for each.
            self._moves += [
                Move(end.allocate(nbytes), sources[i % len(sources)]) for i in range(others)
            ]
        self.params: dict[str, Axis] = {}
        self._timed: TimedCopies | None = None
        if isinstance(device, CopiesAtOnce) and "host" not in _kinds(case):
            transfers = [move.transfer() for move in self._moves]
            self._timed = device.open_copies(transfers, word(case, "engine"))
            self.timing_layer, self.overhead_s = DEVICE_EVENTS, None
            self.least_sample = self._timed.least_sample
            self.params |= describe_timing(self._timed)
            buffers = {b.address: b.nbytes for m in self._moves for b in (m.source, m.target)}
            if source is target and sum(buffers.values()) <= self._timed.cache_bytes:
                self.params["l2"] = "hot"
        else:
            self.timing_layer = "ctypes"
            self.overhead_s = self._call_overhead_s()
            self.least_sample = HOST_SAMPLE
        self.sleeps = self._timed is not None

    def run(self, seconds: Seconds, loops: int) -> None:
        for sample in range(len(seconds)):
            if self._timed is not None:
                seconds[sample] = self._timed.time(loops)
                continue
            begin = time.perf_counter_ns()
            for _ in range(loops):
                self._queue()
                self._finish()
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops

    def verify(self, seed: int) -> Checked:
        return verify_moves(self._moves, lambda: self.run(one_sample(), 1), seed)

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
