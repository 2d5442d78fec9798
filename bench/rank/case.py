"""What every rank does with one case: agree, set up, verify, sample, verify again."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bench.contracts import (
    Checked,
    ComparesRanks,
    Context,
    KnowsSlot,
    Measurement,
    NamesGpus,
    Operation,
    Seconds,
    Sleeps,
    UnpreparedError,
)
from bench.core.events import CaseEnded, Event
from bench.core.limits import MOST_PASSES
from bench.core.records import CONTROL, Axis, Case, Sampling, Status
from bench.machine.cpu import share_cores
from bench.measure import MEASUREMENTS
from bench.measure.device_addresses import refuse_device
from bench.measure.pair import pair_ranks
from bench.measure.payload import HOG, HOG_SHARED
from bench.rank.gpu_clocks import ClockWatch, GpuLoad
from bench.rank.hog import HogPlacement, close_cores, hogging, place_hog
from bench.rank.outcome import MOST_PREEMPTED, Outcome, Pass, RankResult, report_case
from bench.rank.timing.sampling import Reported, Run, own_times, sample
from bench.rank.traffic_meter import TrafficMeter
from bench.rank.world import World

PAUSE_S = 0.25


class _Task(NamedTuple):
    """A case, and how it is to be measured."""

    case: Case
    measurement: Measurement
    rule: Sampling
    watch: "_Watch"


class _Watch(NamedTuple):
    """Whether the counters of hosts are read around the samples, and what of GPUs."""

    counters: bool
    gpus: bool
    clocks: bool
    """Of the GPUs that each rank uses."""


def execute_case(case: Case, rule: Sampling, world: World, context: Context) -> Iterator[Event]:
    """Run a case on all ranks; the events, its samples and its end, are complete on rank 0."""
    (events,) = execute_at_once((case,), rule, world, context)
    yield from events


def execute_at_once(
    cases: Sequence[Case], rule: Sampling, world: World, context: Context
) -> list[list[Event]]:
    """Run cases that no two share a rank of, at the same time; each samples as long as it needs.

    Args:
        cases: of one benchmark; they differ in the ranks that take part alone.

    Returns:
        For each case its samples and its end, complete on rank 0.
    """
    measurement = MEASUREMENTS[cases[0].benchmark]
    own = _own_index(cases, world)
    reason = measurement.unsupported(cases[own], context) or refuse_device(cases[own], context)
    reason = _first_reason(world, reason)
    if reason is not None:
        return [_ended(case, Status.SKIPPED, reason) for case in cases]
    operation, error = _prepare(measurement, cases[own], context)
    reason = _first_reason(world, error)
    if reason is not None or operation is None:
        return [_ended(case, Status.FAILED, reason) for case in cases]
    index = len(cases) if operation.idle else own
    task = _Task(cases[own], measurement, rule, _what_to_watch(cases, world))
    placement, crowded = _place_hog(cases[0], world)
    with hogging(placement):
        outcome = _measure(operation, index, task, world, context)
    outcomes = world.gather(outcome)
    shared: dict[str, Axis] = {"cases_at_once": len(cases)} if len(cases) > 1 else {}
    if idle := sum(each.case_index == len(cases) for each in outcomes):
        shared["idle_ranks"] = idle
    if crowded:
        shared[HOG_SHARED] = 1
    return [
        report_case(case, measurement, index, outcomes, shared, context.own_cores)
        for index, case in enumerate(cases)
    ]


def _own_index(cases: Sequence[Case], world: World) -> int:
    """Return which of several cases this rank is an end of; the first one where of none."""
    ends = (pair_ranks(case, world.size) for case in cases) if len(cases) > 1 else ()
    return next((index for index, both in enumerate(ends) if world.rank in both), 0)


def _what_to_watch(cases: Sequence[Case], world: World) -> _Watch:
    """Inside one host nothing leaves it, unless it is a GPU's business."""
    device = cases[0].axes.get("memory", "host") != "host"
    leaves = device or len(set(world.nodes)) > 1
    # Of cases at once no counter of a host shows whose bytes it counted.
    clocks = "device" in {cases[0].axes.get(end) for end in ("memory", "dst_memory")}
    return _Watch(counters=leaves and len(cases) == 1, gpus=device, clocks=clocks)


def _ended(case: Case, status: Status, reason: str | None) -> list[Event]:
    return [CaseEnded(case=case.id, status=status, reason=reason)]


def _place_hog(case: Case, world: World) -> tuple[HogPlacement | None, bool]:
    """Return where this rank runs a hog, one on each host, and whether any shares ranks' cores."""
    if case.axes.get(CONTROL) != HOG:
        return None, False
    own = tuple(os.sched_getaffinity(0))
    # A thread beside a rank's own would take half of its core.
    cpus = world.gather(share_cores(own))
    node = world.nodes[world.rank]
    ranks = [cpus[rank] for rank, other in enumerate(world.nodes) if other == node]
    placement = place_hog(range(os.cpu_count() or 1), ranks, close_cores(min(own)))
    leads = world.nodes.index(node) == world.rank
    return placement if leads else None, any(world.gather(placement.shared))


def _first_reason(world: World, reason: str | None) -> str | None:
    """Return the first rank's reason on every rank, so that all go the same way."""
    return next((each for each in world.gather(reason) if each is not None), None)


def _prepare(
    measurement: Measurement, case: Case, context: Context
) -> tuple[Operation | None, str | None]:
    """Return the operation, or the reason why this rank has none."""
    try:
        return measurement.prepare(case, context), None
    except UnpreparedError as error:
        return None, str(error)
    except MemoryError as error:
        return None, f"rank {context.communicator.rank}: not enough memory: {error}"


def _measure(
    operation: Operation, index: int, task: _Task, world: World, context: Context
) -> Outcome:
    """Verify, sample and verify with another pattern; ranks that take no part sleep."""
    colors = world.gather(index)
    apart = len(set(colors)) > 1
    active = world.split(colors) if apart else world
    result = RankResult()
    if not operation.idle:
        result = _measure_among(active, operation, task, context)
    world.sleep_until_all_arrive()
    if apart:
        active.free()
    params: dict[str, Axis] = dict(operation.params)
    if operation.overhead_s is not None:
        params["overhead_ns"] = round(operation.overhead_s * 1e9)
    return Outcome(index, result, operation.timing_layer, params)


def _measure_among(
    active: World, operation: Operation, task: _Task, context: Context
) -> RankResult:
    """Verify, sample and verify with another pattern, on ranks that all take part."""
    watch = task.watch
    before = operation.verify(seed=1)
    context.alive()
    measured = metered = None
    loads: list[GpuLoad | None] = []
    # A wrong answer is not worth timing.
    if not any(checked.bytes_wrong for checked in active.gather(before)):
        meter = None
        if watch.counters:
            # The first rank of every node reads its counters.
            reads = active.nodes.index(active.nodes[active.rank]) == active.rank
            meter = TrafficMeter(operation.run, context.host if reads else None, watch.gpus)
        run = meter.run if meter else operation.run
        clocks = _open_clocks(operation, context) if watch.clocks else []
        busy = not (isinstance(operation, Sleeps) and operation.sleeps)
        with_signs = _with_sign_of_life(run, context)
        measured = _sample_undisturbed(with_signs, task, active, context, busy)
        loads = [clock.close() for clock in clocks]
        metered = meter.close() if meter else None
    after = operation.verify(seed=2)
    checked = Checked(
        before.bytes_checked + after.bytes_checked, before.bytes_wrong + after.bytes_wrong
    )
    return RankResult(measured, checked, metered, tuple(load for load in loads if load))


def _open_clocks(operation: Operation, context: Context) -> list[ClockWatch]:
    """Watch the GPUs that the operation names, else that of this rank, where it has one."""
    if isinstance(operation, NamesGpus):
        return [ClockWatch(address) for address in operation.gpus]
    device = context.memories.opened("device")
    return [ClockWatch(device.pci_address)] if isinstance(device, KnowsSlot) else []


def _with_sign_of_life(run: Run, context: Context) -> Run:
    """Return the loop followed by a sign of life, which is outside its times."""

    def run_and_signal(seconds: Seconds, loops: int) -> None:
        run(seconds, loops)
        context.alive()

    return run_and_signal


def _reported_by(task: _Task, active: World, context: Context) -> Reported:
    """Return what yields the times that the row reports, from those of every rank."""
    if task.measurement.rank_agg == "rank0":
        return own_times
    measurement = task.measurement
    if not isinstance(measurement, ComparesRanks):
        return active.slowest
    counts = context.communicator.rank in measurement.timekeepers(task.case)
    return lambda seconds: active.slowest(seconds if counts else np.zeros_like(seconds))


def _sample_undisturbed(run: Run, task: _Task, active: World, context: Context, busy: bool) -> Pass:
    """Sample, and sample again while others run on our cores; keep the least disturbed pass.

    The scheduler shows which pass that is, not the times: choosing by those would flatter them.
    """
    reported = _reported_by(task, active, context)
    tolerance = task.measurement.tolerance
    best: Pass | None = None
    for count in range(1, MOST_PASSES + 1):
        if best is not None:
            time.sleep(PAUSE_S)
        begin_s, begin_running_s = time.perf_counter(), time.thread_time()
        sampled = sample(run, active.broadcast, task.rule, tolerance, context.clock, reported)
        running_s = time.thread_time() - begin_running_s
        away = 1 - running_s / (time.perf_counter() - begin_s)
        preempted = max(active.gather(away if busy else 0.0))
        if best is None or preempted < best.preempted:
            best = Pass(sampled, max(0.0, preempted), count)
        best = best._replace(passes=count)
        if preempted <= MOST_PREEMPTED or not context.own_cores:
            break
    if best is None:
        raise RuntimeError("a case was never sampled")
    return best
