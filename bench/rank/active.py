"""How ranks that all take part prepare, verify and sample one case, and verify it again."""

import time
from typing import NamedTuple

import numpy as np

from bench.contracts import (
    HOST_SAMPLE,
    Checked,
    ComparesRanks,
    Context,
    KnowsSlot,
    Measurement,
    NamesGpus,
    Operation,
    Seconds,
    Sleeps,
    StatesSample,
    UnpreparedError,
)
from bench.core.clusters import level_clusters
from bench.core.records import PAGE_SETS, Case, Sampling, Status
from bench.measure.device_addresses import refuse_device
from bench.rank.gpu_clocks import ClockWatch, GpuLoad
from bench.rank.outcome import MOST_PREEMPTED, Pass, RankResult
from bench.rank.timing.sampling import Reported, Run, TooLongError, own_times, sample
from bench.rank.traffic_meter import TrafficMeter
from bench.rank.trouble import StoppedError, Tried, explain_failure
from bench.rank.world import World

PAUSE_S = 0.25


class Task(NamedTuple):
    """A case, and how it is to be measured."""

    case: Case
    measurement: Measurement
    rule: Sampling
    watch: "Watch"


class Watch(NamedTuple):
    """Whether the counters of hosts are read around the samples, and what of GPUs."""

    counters: bool
    gpus: bool
    clocks: bool
    """Of the GPUs that each rank uses."""


def prepare_case(
    measurement: Measurement, case: Case, context: Context
) -> tuple[Operation | None, str | None]:
    """Return the operation, or the reason why this rank has none."""
    try:
        return measurement.prepare(case, context), None
    except UnpreparedError as error:
        return None, str(error)
    except MemoryError as error:
        return None, f"rank {context.communicator.rank}: not enough memory: {error}"
    except Exception as error:  # noqa: BLE001 - of any library below
        return None, explain_failure(error, context)


def ask_case(measurement: Measurement, case: Case, context: Context) -> tuple[Status, str | None]:
    """Return why this rank cannot run a case, and how its row then ends; OK and None if it can."""
    try:
        reason = measurement.unsupported(case, context) or refuse_device(case, context)
    except Exception as error:  # noqa: BLE001 - of any library below
        return Status.FAILED, explain_failure(error, context)
    return (Status.OK, None) if reason is None else (Status.SKIPPED, reason)


def measure_among(active: World, operation: Operation, task: Task, context: Context) -> RankResult:
    """Verify, sample and verify with another pattern, on ranks that all take part."""
    watch = task.watch
    alone = active.size == 1
    tried = Tried(operation, context, alone or task.measurement.profile.rows == "place", alone)
    before = tried.verify(seed=1)
    context.alive()
    measured = metered = too_long_s = None
    loads: list[GpuLoad | None] = []
    # A wrong answer is not worth timing.
    if not any(active.gather(bool(before.bytes_wrong or tried.error))):
        meter = None
        if watch.counters:
            # The first rank of every node reads its counters.
            reads = active.nodes.index(active.nodes[active.rank]) == active.rank
            meter = TrafficMeter(tried.run, context.host if reads else None, watch.gpus)
        run = meter.run if meter else tried.run
        clocks = _open_clocks(operation, context) if watch.clocks else []
        with_signs = _with_sign_of_life(run, context)
        try:
            measured = _sample_undisturbed(with_signs, operation, task, active, context)
        except TooLongError as error:
            too_long_s = error.operation_s
        except StoppedError:
            pass  # why is in `tried.error`
        loads = [clock.close() for clock in clocks]
        metered = meter.close() if meter else None
    after = tried.verify(seed=2)
    checked = Checked(
        before.bytes_checked + after.bytes_checked, before.bytes_wrong + after.bytes_wrong
    )
    known = tuple(load for load in loads if load)
    if tried.error is not None:
        return RankResult(checked=checked, error=tried.error)
    return RankResult(measured, checked, metered, known, too_long_s)


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


def _reported_by(task: Task, active: World, context: Context) -> Reported:
    """Return what yields the times that the row reports, from those of every rank."""
    if task.measurement.rank_agg == "rank0":
        return own_times
    measurement = task.measurement
    if not isinstance(measurement, ComparesRanks):
        return active.slowest
    counts = context.communicator.rank in measurement.timekeepers(task.case)
    return lambda seconds: active.slowest(seconds if counts else np.zeros_like(seconds))


def _on_one_level(reported: Reported, page_sets: int) -> Reported:
    """Return the same without what differs between sets of pages.

    More samples of the same sets would not show that better, and only take longer.
    """
    return lambda seconds: level_clusters(reported(seconds), page_sets)


def _sample_undisturbed(
    run: Run, operation: Operation, task: Task, active: World, context: Context
) -> Pass:
    """Sample, and sample again while others run on our cores; keep the least disturbed pass.

    The scheduler shows which pass that is, not the times: choosing by those would flatter them.
    """
    page_sets = int(operation.params.get(PAGE_SETS, 1))
    reported = _on_one_level(_reported_by(task, active, context), page_sets)
    least = operation.least_sample if isinstance(operation, StatesSample) else HOST_SAMPLE
    busy = not (isinstance(operation, Sleeps) and operation.sleeps)
    tolerance = task.measurement.tolerance
    best: Pass | None = None
    first_s = time.perf_counter()
    for count in range(1, task.rule.most_passes + 1):
        if best is not None:
            time.sleep(PAUSE_S)
        begin_s, begin_running_s = time.perf_counter(), time.thread_time()
        sampled = sample(
            run, active.broadcast, task.rule, tolerance, context.clock, reported, least
        )
        running_s = time.thread_time() - begin_running_s
        away = 1 - running_s / (time.perf_counter() - begin_s)
        preempted = max(active.gather(away if busy else 0.0))
        if best is None or preempted < best.preempted:
            best = Pass(sampled, max(0.0, preempted), count, 0.0)
        best = best._replace(passes=count, sampled_s=time.perf_counter() - first_s)
        if preempted <= MOST_PREEMPTED or not context.own_cores:
            break
    if best is None:
        raise RuntimeError("a case was never sampled")
    return best
