"""Warm-up, calibration of loops, and the stopping rule, over an injected clock.

Rank 0 decides and broadcasts between timed regions, so that all ranks run equal counts. Whether the
median is known well enough is judged on the times that the row will report. Sampling may stop only
at geometric checkpoints: testing after every sample would stop on lucky streaks.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from bench.contracts import HOST_SAMPLE, Clock, LeastSample, Seconds
from bench.core.limits import LEAST_SAMPLES, LEAST_WARMUPS, MOST_SAMPLES
from bench.core.orderstats import relative_half_width
from bench.core.records import Sampling

CHECKPOINTS = (30, 60, 120, 240, MOST_SAMPLES)
SLOW_SAMPLE_S = 1.0
"""Samples that last longer are taken one at a time: a runner waits for signs of life."""
LEAST_SAMPLE_S, MOST_LOOPS = HOST_SAMPLE
LEAST_WARMUPS_SHORT = 100
"""Operations under 20 us warm caches, branch predictors and connections over more calls."""
SETTLED = 0.02
"""Warm-up is over when the medians of its halves differ by less."""
Run = Callable[[Seconds, int], None]
"""Fills the array with one time per operation for each sample of so many loops."""
Broadcast = Callable[[Any], Any]
Reported = Callable[[Seconds], Seconds]
"""From this rank's times to those that a row reports; all ranks ask together."""


class Sampled(msgspec.Struct, frozen=True):
    """The samples of one rank."""

    seconds: Seconds
    loops: int
    warmups: int
    """Operations run before the first sample."""
    converged: bool
    operation_s: float
    """One operation by the wall, with what lies between samples; a window of messages counts as
    one."""


class TooLongError(Exception):
    """The least of samples would take longer than its rule allows."""

    def __init__(self, operation_s: float) -> None:
        super().__init__(operation_s)
        self.operation_s = operation_s


def own_times(seconds: Seconds) -> Seconds:
    """Return the times of this rank, where a row reports those of rank 0."""
    return seconds


def sample(
    run: Run,
    broadcast: Broadcast,
    rule: Sampling,
    tolerance: float,
    clock: Clock,
    reported: Reported = own_times,
    least: LeastSample = HOST_SAMPLE,
) -> Sampled:
    """Warm up, choose the loops of a sample, and sample until the median is known well enough.

    Raises:
        TooLongError: on all ranks, where there is no time for it.
    """
    warmups, per_operation = _warm_up(run, broadcast, rule, clock)
    if rule.most_s is not None and LEAST_SAMPLES * per_operation > rule.most_s:
        raise TooLongError(per_operation)
    loops = choose_loops(per_operation, least)
    first = 1 if per_operation * loops >= SLOW_SAMPLE_S else LEAST_SAMPLES
    begin_s = clock()
    seconds, converged = _collect(run, broadcast, rule, tolerance, clock, loops, first, reported)
    operation_s = (clock() - begin_s) / (len(seconds) * loops)
    return Sampled(seconds, loops, warmups, converged, operation_s)


def _warm_up(run: Run, broadcast: Broadcast, rule: Sampling, clock: Clock) -> tuple[int, float]:
    """Return the operations run, and the seconds that one takes, as rank 0 saw them."""
    begin = clock()
    times: list[float] = []
    operations = 0
    loops = 1
    while loops:
        batch = np.empty(1)
        run(batch, loops)
        operations += loops
        times.append(float(batch[0]))
        loops = broadcast(_next_warmup(times, operations, loops, clock() - begin, rule))
    return operations, broadcast(float(np.median(times[len(times) // 2 :])))


def _next_warmup(
    times: list[float], operations: int, loops: int, elapsed_s: float, rule: Sampling
) -> int:
    """Return the operations of the next warm-up batch; 0 ends the warm-up."""
    if elapsed_s >= rule.warmup_cap_s:
        return 0
    short = times[-1] < LEAST_SAMPLE_S
    enough = operations >= (LEAST_WARMUPS_SHORT if short else LEAST_WARMUPS)
    if enough and elapsed_s >= rule.warmup_s and _settled(times):
        return 0
    # Batches of about a fiftieth of the warm-up: enough of them to see a drift.
    wanted = int(rule.warmup_s / 50 / max(times[-1], 1e-9))
    return max(1, min(wanted, 2 * loops, MOST_LOOPS))


def _settled(times: list[float]) -> bool:
    half = len(times) // 2
    if half < 2:
        return False
    early, late = np.median(times[:half]), np.median(times[half:])
    return bool(abs(late - early) <= SETTLED * early)


def choose_loops(per_operation_s: float, least: LeastSample) -> int:
    """Return the power of two that makes a sample last at least 20 us, and as long as asked."""
    asked = min(_power_of_two(least.seconds / max(per_operation_s, 1e-10)), least.operations)
    return max(_power_of_two(LEAST_SAMPLE_S / max(per_operation_s, 1e-10)), asked)


def _power_of_two(ratio: float) -> int:
    return 1 if ratio <= 1 else min(MOST_LOOPS, 2 ** math.ceil(math.log2(ratio)))


def _collect(
    run: Run,
    broadcast: Broadcast,
    rule: Sampling,
    tolerance: float,
    clock: Clock,
    loops: int,
    first: int,
    reported: Reported,
) -> tuple[Seconds, bool]:
    begin = clock()
    seconds = np.empty(CHECKPOINTS[-1])
    taken = 0
    block = first
    while block:
        run(seconds[taken : taken + block], loops)
        taken += block
        so_far = seconds[:taken]
        known = taken in CHECKPOINTS and relative_half_width(reported(so_far)) <= tolerance
        block, converged = broadcast(_next_block(so_far, clock() - begin, loops, rule, known))
    return seconds[:taken].copy(), converged


def _next_block(
    seconds: Seconds, elapsed_s: float, loops: int, rule: Sampling, known: bool
) -> tuple[int, bool]:
    """Return the samples to take before looking again (0 ends), and whether it converged."""
    taken = len(seconds)
    if taken < LEAST_SAMPLES:
        return 1, False
    if known:
        return 0, True
    checkpoint = next((c for c in CHECKPOINTS if c > taken), None)
    left_s = rule.cap_s - elapsed_s
    if checkpoint is None or left_s <= 0:
        return 0, False
    # A sample costs more than it shows where ranks meet first, or take turns.
    each_s = max(float(np.median(seconds)) * loops, elapsed_s / taken, 1e-9)
    affordable = int(left_s / each_s)
    return max(1, min(checkpoint - taken, affordable)), False
