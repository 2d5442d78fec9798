"""What every rank does with one case: agree, set up, verify, sample, verify again."""

import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

from bench.contracts import Checked, Context, Measurement, Operation
from bench.events import CaseEnded, Event, Samples
from bench.evidence.account import Account, Accounted
from bench.measure import MEASUREMENTS
from bench.record import Axis, Case, Sampling, Status
from bench.timing.sampling import Run, Sampled, sample
from bench.world import World

MOST_PASSES = 3
"""A case is sampled again, so often at most, when others took its cores away."""
MOST_PREEMPTED = 0.05
"""Share of the time off the core that is no reason to sample again; MPI and BLAS wait busily."""
PAUSE_S = 0.25


class _Pass(NamedTuple):
    """Samples of this rank, and how disturbed they were on the rank that was disturbed most."""

    sampled: Sampled
    preempted: float
    """Share of the wall time in which a rank was not running."""
    passes: int


class _Outcome(NamedTuple):
    """What one rank has to say about a case after it ran."""

    measured: _Pass | None
    checked: Checked
    accounted: Accounted | None = None


class _Watch(NamedTuple):
    """Whether the counters of hosts are read around the samples, and those of their GPUs."""

    counters: bool
    gpus: bool


def execute_case(case: Case, rule: Sampling, world: World, context: Context) -> Iterator[Event]:
    """Run a case on all ranks; the events, its samples and its end, are complete on rank 0."""
    measurement = MEASUREMENTS[case.benchmark]
    reason = _first(world, measurement.unsupported(case, context))
    if reason is not None:
        yield CaseEnded(case=case.id, status=Status.SKIPPED, reason=reason)
        return
    operation, error = _prepare(measurement, case, context)
    reason = _first(world, error)
    if reason is not None or operation is None:
        yield CaseEnded(case=case.id, status=Status.FAILED, reason=reason)
        return
    # Inside one host nothing leaves it, unless it is a GPU's business.
    device = case.axes.get("memory", "host") != "host"
    watch = _Watch(counters=device or len(set(world.nodes)) > 1, gpus=device)
    outcome = _measure(operation, measurement, rule, world, context, watch)
    yield from _report(case, operation, world.gather(outcome), context.own_cores)


def _first(world: World, reason: str | None) -> str | None:
    """Return the first rank's reason on every rank, so that all go the same way."""
    return next((said for said in world.gather(reason) if said is not None), None)


def _prepare(
    measurement: Measurement, case: Case, context: Context
) -> tuple[Operation | None, str | None]:
    """Return the operation, or the reason why this rank has not the memory for it."""
    try:
        return measurement.prepare(case, context), None
    except MemoryError as error:
        return None, f"rank {context.communicator.rank}: not enough memory: {error}"


def _measure(
    operation: Operation,
    measurement: Measurement,
    rule: Sampling,
    world: World,
    context: Context,
    watch: _Watch,
) -> _Outcome:
    """Verify, sample and verify with another pattern; ranks that take no part sleep."""
    some_idle = any(world.gather(operation.idle))
    active = world.split(int(operation.idle)) if some_idle else world
    outcome = _Outcome(None, Checked(0, 0))
    if not operation.idle:
        outcome = _measure_among(active, operation, measurement, rule, context, watch)
    world.sleep_until_all_arrive()
    if some_idle:
        active.free()
    return outcome


def _measure_among(
    active: World,
    operation: Operation,
    measurement: Measurement,
    rule: Sampling,
    context: Context,
    watch: _Watch,
) -> _Outcome:
    """Verify, sample and verify with another pattern, on ranks that all take part."""
    before = operation.verify(seed=1)
    measured = accounted = None
    # A wrong answer is not worth timing.
    if not any(checked.bytes_wrong for checked in active.gather(before)):
        account = _open_account(operation, active, watch) if watch.counters else None
        run = account.run if account else operation.run
        measured = _sample_undisturbed(run, measurement.tolerance, rule, active, context)
        accounted = account.close() if account else None
    after = operation.verify(seed=2)
    checked = Checked(
        before.bytes_checked + after.bytes_checked, before.bytes_wrong + after.bytes_wrong
    )
    return _Outcome(measured, checked, accounted)


def _open_account(operation: Operation, active: World, watch: _Watch) -> Account:
    """Have the first rank of every host read its counters."""
    hosts = active.gather(socket.gethostname())
    reads = hosts.index(hosts[active.rank]) == active.rank
    return Account(operation.run, reads, watch.gpus)


def _sample_undisturbed(
    run: Run, tolerance: float, rule: Sampling, active: World, context: Context
) -> _Pass:
    """Sample, and sample again while others run on our cores; keep the least disturbed pass.

    The scheduler says which pass that is, not the times: choosing by those would flatter them.
    """
    best: _Pass | None = None
    for count in range(1, MOST_PASSES + 1):
        if best is not None:
            time.sleep(PAUSE_S)
        begin_s, begin_running_s = time.perf_counter(), time.thread_time()
        sampled = sample(run, active.broadcast, rule, tolerance, context.clock)
        running_s = time.thread_time() - begin_running_s
        preempted = max(active.gather(1 - running_s / (time.perf_counter() - begin_s)))
        if best is None or preempted < best.preempted:
            best = _Pass(sampled, max(0.0, preempted), count)
        best = best._replace(passes=count)
        if preempted <= MOST_PREEMPTED or not context.own_cores:
            break
    if best is None:
        raise RuntimeError("a case was never sampled")
    return best


def _report(
    case: Case, operation: Operation, outcomes: list[_Outcome], own_cores: bool
) -> Iterator[Event]:
    checked = sum(outcome.checked.bytes_checked for outcome in outcomes)
    wrong = sum(outcome.checked.bytes_wrong for outcome in outcomes)
    params: dict[str, Axis] = dict(operation.params)
    if operation.overhead_s is not None:
        params["overhead_ns"] = round(operation.overhead_s * 1e9)
    # Rank 0 may have slept beside the pair; those that measured took equally many samples.
    measured = next((outcome.measured for outcome in outcomes if outcome.measured), None)
    first = measured.sampled if measured else None
    if measured and measured.preempted > MOST_PREEMPTED and own_cores:
        params["preempted_percent"] = round(100 * measured.preempted)
    if measured and measured.passes > 1:
        params["passes"] = measured.passes
    accounted = [outcome.accounted for outcome in outcomes if outcome.accounted is not None]
    for rank, outcome in enumerate(outcomes):
        if outcome.measured is not None:
            yield Samples(case.id, rank, tuple(outcome.measured.sampled.seconds.tolist()))
    yield CaseEnded(
        case=case.id,
        status=Status.FAILED if wrong else Status.OK,
        reason=f"wrong answer: {wrong} of {checked} bytes checked" if wrong else None,
        loops=first.loops if first else None,
        warmups=first.warmups if first else None,
        converged=first.converged if first else None,
        bytes_checked=checked,
        bytes_wrong=wrong,
        timing_layer=operation.timing_layer,
        params=params,
        operations=next((one.operations for one in accounted), None),
        traffic=tuple(one.traffic for one in accounted if one.traffic is not None),
    )
