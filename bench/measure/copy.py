"""Copies to, from and between device memory inside one process.

A GPU's copies are timed by its own clock, those of pageable memory and of the stand-in by the
host's: a driver copies pageable memory through a buffer of its own, and events mislead.
"""

import time
from typing import NamedTuple

import msgspec
import numpy as np

from bench.contracts import (
    AxisSpec,
    Buffer,
    Checked,
    Context,
    Operation,
    Seconds,
    TimesQueued,
    one_sample,
)
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
from bench.record import Axis, Case, Work
from bench.schedule import ANY_DIRECTION, COPY_FUNCTION, SYNCHRONIZE_FUNCTION, DeviceCopies

PATTERNS = ("pair", "one_to_all", "all_to_one")
_OVERHEAD_SAMPLES = 101


class Copy:
    """The copy."""

    name = "copy"
    title = "copies to, from and between device memory inside one process"
    axes = (
        with_default(BYTES, 2**20),
        msgspec.structs.replace(MEMORY, default=("pinned",), in_id=True),
        msgspec.structs.replace(DST_MEMORY, default=("device",), in_id=True),
        NUMA,
        AxisSpec(
            name="direction",
            kind=str,
            default=("uni",),
            choices=("uni", "bi"),
            in_id=True,
            advice="one way, or both at once",
        ),
        AxisSpec(
            name="pattern",
            kind=str,
            default=("pair",),
            choices=PATTERNS,
            in_id=True,
            advice="two buffers, or one and several others",
        ),
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
        if "device" in devices and word(case, "direction") == "bi":
            return "copies both ways at once need two streams on a GPU: not measured yet"
        if "device" in devices and word(case, "pattern") != "pair":
            return "needs several GPUs in one process: not measured yet"
        return None

    def prepare(self, case: Case, context: Context) -> Operation:
        """Allocate sources and targets."""
        return _Copies(case, context)


class _Move(NamedTuple):
    """One copy of all bytes of a source."""

    target: Buffer
    source: Buffer


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
        self._moves: list[_Move] = []
        ways = [(source, target), (target, source)]
        for begin, end in ways[: 2 if word(case, "direction") == "bi" else 1]:
            sources = [
                begin.allocate(nbytes)
                for _ in range(1 if word(case, "pattern") == "one_to_all" else others)
            ]
            # One target of several sources has a place of its own for each.
            self._moves += [
                _Move(end.allocate(nbytes), sources[i % len(sources)]) for i in range(others)
            ]
        self.params: dict[str, Axis] = {}
        self._events: TimesQueued | None = None
        if isinstance(device, TimesQueued) and "host" not in _kinds(case):
            self._events, self.timing_layer, self.overhead_s = device, "device events", None
        else:
            self.timing_layer = "ctypes"
            self.overhead_s = self._call_overhead_s()

    def run(self, seconds: Seconds, loops: int) -> None:
        for sample in range(len(seconds)):
            if self._events is not None:
                seconds[sample] = self._events.time_queued(self._queue, loops)
                continue
            begin = time.perf_counter_ns()
            for _ in range(loops):
                self._queue()
                self._finish()
            seconds[sample] = (time.perf_counter_ns() - begin) * 1e-9 / loops

    def verify(self, seed: int) -> Checked:
        patterns = {id(m.source): 64 * seed + i for i, m in enumerate(self._moves)}
        for move in self._moves:
            move.source.fill(patterns[id(move.source)])
            move.target.poison(patterns[id(move.source)])
        self.run(one_sample(), 1)
        wrong = sum(m.target.count_wrong(patterns[id(m.source)]) for m in self._moves)
        return Checked(sum(move.target.nbytes for move in self._moves), wrong)

    def _queue(self) -> None:
        for target, source in self._moves:
            self._call(target.address, source.address, source.nbytes)

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
        target, source = self._moves[0]
        samples = np.empty(_OVERHEAD_SAMPLES)
        for i in range(len(samples)):
            begin = time.perf_counter_ns()
            self._call(target.address, source.address, 0)
            self._finish()
            samples[i] = (time.perf_counter_ns() - begin) * 1e-9
        return float(np.median(samples))


def _kinds(case: Case) -> tuple[str, str]:
    """Return the kinds of memory where copies begin and end."""
    source = word(case, "memory")
    return source, str(case.axes.get("dst_memory", source))


def _others(case: Case) -> int:
    return 1 if word(case, "pattern") == "pair" else whole(case, "others")
