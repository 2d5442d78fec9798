"""Compiled loops that show what cores reach at most.

The clock of a core, its multiply-adds, and how fast a cache line passes from one to another.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from bench.contracts import Seconds
from bench.rank.timing.mpi_calls import address_of, now_ns

_CYCLES_A_TURN = 2
_TURNS = 1 << 15
"""20 us of a core of 3 GHz: long beside the clock that is read around it."""
_NUMBERS: dict[str, np.floating[Any]] = {"fp64": np.float64(1), "fp32": np.float32(1)}
_ROUNDS = 2000
_MOST_SPINS = 1 << 24
"""Of all rounds together, some 50 ms: who waits longer waits for a core, and for no cache line."""


class _Vector(NamedTuple):
    """Of the widest multiply-add of this processor."""

    bits: int
    chains: int
    """Independent of each other: enough to fill all units (2 of 5 cycles on x86, 4 of 4 on Arm),
    and few enough that all stay in registers."""


def _widest() -> _Vector | None:
    """Return None where there is no multiply-add, or its width is not stated."""
    machine = binding.get_process_triple().partition("-")[0]
    features = binding.get_host_cpu_features()
    if machine == "x86_64" and features.get("fma"):
        return _Vector(512 if features.get("avx512f") else 256, 12)
    # A vector of SVE is as long as the processor likes, and one of Advanced SIMD may be shorter.
    if machine in ("aarch64", "arm64") and not features.get("sve"):
        return _Vector(128, 24)
    return None


VECTOR = _widest()


@intrinsic
def _multiply_adds(_typing: Any, turns: Any, like: Any) -> Any:
    """Return the sum of independent chains after turns of one multiply-add in each.

    Args:
        turns: how many.
        like: a number of the type that is added.
    """
    bits, chains = VECTOR or _Vector(128, 1)
    lanes = bits // like.bitwidth
    element = ir.DoubleType() if like.bitwidth == 64 else ir.FloatType()

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        vector = ir.VectorType(element, lanes)
        kind = ir.FunctionType(vector, [vector] * 3)
        name = f"llvm.fma.v{lanes}f{like.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, kind, name)
        # They converge to 2: no number that is tiny or without end slows a unit down.
        half, one = (ir.Constant(vector, [value] * lanes) for value in (0.5, 1.0))
        sums = [cgutils.alloca_once_value(builder, one) for _ in range(chains)]
        with cgutils.for_range(builder, values[0]):
            for held in sums:
                builder.store(builder.call(fma, [builder.load(held), half, one]), held)
        total = builder.load(sums[0])
        for held in sums[1:]:
            total = builder.fadd(total, builder.load(held))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return like(turns, like), emit


@njit(cache=True, nogil=True)
def _time_chain(seconds: Any, clock: int, first: int, second: int) -> int:
    """Time a chain of an exclusive or and an addition, each of which needs what came before it.

    Processors do one after the other in a cycle each. A chain of additions alone a compiler makes
    one multiplication of, and some processors add constants while they rename registers.
    """
    timespec = np.zeros(2, np.int64)
    value = first
    for sample in range(len(seconds)):
        begin = now_ns(clock, timespec)
        for _ in range(_TURNS):
            value = (value ^ second) + first
        seconds[sample] = (now_ns(clock, timespec) - begin) * 1e-9
    return value


@njit(cache=True, nogil=True)
def _time_multiply_adds(seconds: Any, clock: int, turns: int, like: Any) -> float:
    timespec = np.zeros(2, np.int64)
    total = 0.0
    for sample in range(len(seconds)):
        begin = now_ns(clock, timespec)
        total += _multiply_adds(turns, like)
        seconds[sample] = (now_ns(clock, timespec) - begin) * 1e-9
    return total


@intrinsic
def _seen(_typing: Any, address: Any) -> Any:
    """Return the word at an address, as another core may have just written it."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(word, "acquire", 8)

    return types.int64(address), emit


@intrinsic
def _show(_typing: Any, address: Any, _value: Any) -> Any:
    """Write a word for another core to see."""

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        word = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        builder.store_atomic(values[1], word, "release", 8)
        return values[1]

    return types.int64(address, types.int64), emit


@njit(cache=True, nogil=True)
def _time_line(clock: int, mine: int, others: int, leads: bool, last: int, rounds: int) -> int:
    """Return the nanoseconds of so many round trips of a word; -1 where the other core is away."""
    timespec = np.zeros(2, np.int64)
    begin = now_ns(clock, timespec)
    spins = 0
    for turn in range(rounds):
        value = np.int64(last + turn + 1)
        if leads:
            _show(mine, value)
        while _seen(others) != value:
            spins += 1
            if spins > _MOST_SPINS:
                return -1
        if not leads:
            _show(mine, value)
    passed: int = now_ns(clock, timespec) - begin
    return passed


class CeilingLoops:
    """Loops of one core, and those of two that share a page."""

    def __init__(self) -> None:
        self._clock = address_of(ctypes.CDLL(None), "clock_gettime")
        nothing = np.empty(0)
        _time_chain(nothing, self._clock, 1, 3)
        for number in _NUMBERS.values():
            _time_multiply_adds(nothing, self._clock, 1, number)
        at = nothing.ctypes.data
        _time_line(self._clock, at, at, True, 0, 0)
        self._last = 0

    def clock_hz(self, tries: int) -> float:
        """Return the clock of the core that this runs on: the highest of some tries."""
        seconds = np.empty(tries)
        _time_chain(seconds, self._clock, 1, 3)
        return _CYCLES_A_TURN * _TURNS / float(seconds.min())

    def flop_per_s(self, tries: int) -> dict[str, float]:
        """Return the most FLOP/s of multiply-adds by dtype; none where no width is known."""
        if VECTOR is None:
            return {}
        found = {}
        for dtype, number in _NUMBERS.items():
            seconds: Seconds = np.empty(tries)
            turns = _TURNS // 4
            _time_multiply_adds(seconds, self._clock, turns, number)
            flop = 2 * turns * VECTOR.chains * (VECTOR.bits // (8 * number.nbytes))
            found[dtype] = flop / float(seconds.min())
        return found

    def line_s(self, mine: int, others: int, leads: bool) -> float | None:
        """Return the seconds that a cache line takes from one core to the other.

        Both ranks call it at once, equally often; None where one of them had no core just then.

        Args:
            mine: address of the line that this rank writes; no other data may be in it.
            others: that of the other rank.
            leads: whether this rank writes first.
        """
        nanoseconds = _time_line(self._clock, mine, others, leads, self._last, _ROUNDS)
        self._last += _ROUNDS
        return None if nanoseconds < 0 else nanoseconds * 1e-9 / _ROUNDS / 2
