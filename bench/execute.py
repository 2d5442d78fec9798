"""What every rank does with one case: agree, set up, verify, sample, verify again."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contracts import Checked, Context, Measurement, Operation, Seconds, TellsApart
from bench.events import CaseEnded, Event, Samples
from bench.evidence.account import Account, Accounted
from bench.evidence.arms import HOG
from bench.evidence.hog import HOG_SHARED, Stall, choose_stall, close_cores, hogging
from bench.measure import MEASUREMENTS
from bench.measure.handed import refuse_device
from bench.measure.pair import pair_ranks
from bench.record import CONTROL, Axis, Case, Sampling, Status
from bench.timing.sampling import Run, Sampled, sample
from bench.world import World

MOST_PASSES = 3
"""A case is sampled again, so often at most, when others took its cores away."""
MOST_PREEMPTED = 0.05
"""Share of the time off the core that is no reason to sample again; MPI and BLAS wait busily."""
PAUSE_S = 0.25
MOST_NAMED = 8
"""Ranks with wrong bytes that a reason names."""


class _Pass(NamedTuple):
    """Samples of this rank, and how disturbed they were on the rank that was disturbed most."""

    sampled: Sampled
    preempted: float
    """Share of the wall time in which a rank was not running."""
    passes: int


class _Outcome(NamedTuple):
    """What one rank has to say about its case after it ran; of one without, that it slept."""

    place: int
    """Of the case among those at once; past them all on a rank that slept."""
    measured: _Pass | None
    checked: Checked
    timing_layer: str
    params: dict[str, Axis]
    accounted: Accounted | None = None


class _Watch(NamedTuple):
    """Whether the counters of hosts are read around the samples, and those of their GPUs."""

    counters: bool
    gpus: bool


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
    own = _own_place(cases, world)
    reason = measurement.unsupported(cases[own], context) or refuse_device(cases[own], context)
    reason = _first(world, reason)
    if reason is not None:
        return [_ended(case, Status.SKIPPED, reason) for case in cases]
    operation, error = _prepare(measurement, cases[own], context)
    reason = _first(world, error)
    if reason is not None or operation is None:
        return [_ended(case, Status.FAILED, reason) for case in cases]
    place = len(cases) if operation.idle else own
    watch = _what_to_watch(cases, world)
    stall, crowded = _choose_stall(cases[0], world)
    with hogging(stall):
        outcome = _measure(operation, place, measurement, rule, world, context, watch)
    outcomes = world.gather(outcome)
    shared: dict[str, Axis] = {"cases_at_once": len(cases)} if len(cases) > 1 else {}
    if idle := sum(each.place == len(cases) for each in outcomes):
        shared["idle_ranks"] = idle
    if crowded:
        shared[HOG_SHARED] = 1
    return [
        _report(case, measurement, place, outcomes, shared, context.own_cores)
        for place, case in enumerate(cases)
    ]


def _own_place(cases: Sequence[Case], world: World) -> int:
    """Return which of several cases this rank is an end of; the first one where of none."""
    ends = (pair_ranks(case, world.size) for case in cases) if len(cases) > 1 else ()
    return next((place for place, both in enumerate(ends) if world.rank in both), 0)


def _what_to_watch(cases: Sequence[Case], world: World) -> _Watch:
    """Inside one host nothing leaves it, unless it is a GPU's business."""
    device = cases[0].axes.get("memory", "host") != "host"
    leaves = device or len(set(world.nodes)) > 1
    # Of cases at once no counter of a host tells whose bytes it counted.
    return _Watch(counters=leaves and len(cases) == 1, gpus=device)


def _ended(case: Case, status: Status, reason: str | None) -> list[Event]:
    return [CaseEnded(case=case.id, status=status, reason=reason)]


def _choose_stall(case: Case, world: World) -> tuple[Stall | None, bool]:
    """Return where this rank runs a hog, one on each host, and whether any shares ranks' cores."""
    if case.axes.get(CONTROL) != HOG:
        return None, False
    told = world.gather((socket.gethostname(), tuple(os.sched_getaffinity(0))))
    host, own = told[world.rank]
    ranks = [cores for other, cores in told if other == host]
    first = next(rank for rank, (other, _) in enumerate(told) if other == host)
    stall = choose_stall(range(os.cpu_count() or 1), ranks, close_cores(min(own)))
    return stall if first == world.rank else None, any(world.gather(stall.shared))


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
    place: int,
    measurement: Measurement,
    rule: Sampling,
    world: World,
    context: Context,
    watch: _Watch,
) -> _Outcome:
    """Verify, sample and verify with another pattern; ranks that take no part sleep."""
    apart = len(set(world.gather(place))) > 1
    active = world.split(place) if apart else world
    measured, checked, accounted = None, Checked(0, 0), None
    if not operation.idle:
        measured, checked, accounted = _measure_among(
            active, operation, measurement, rule, context, watch
        )
    world.sleep_until_all_arrive()
    if apart:
        active.free()
    params: dict[str, Axis] = dict(operation.params)
    if operation.overhead_s is not None:
        params["overhead_ns"] = round(operation.overhead_s * 1e9)
    return _Outcome(place, measured, checked, operation.timing_layer, params, accounted)


def _measure_among(
    active: World,
    operation: Operation,
    measurement: Measurement,
    rule: Sampling,
    context: Context,
    watch: _Watch,
) -> tuple[_Pass | None, Checked, Accounted | None]:
    """Verify, sample and verify with another pattern, on ranks that all take part."""
    before = operation.verify(seed=1)
    context.alive()
    measured = accounted = None
    # A wrong answer is not worth timing.
    if not any(checked.bytes_wrong for checked in active.gather(before)):
        account = _open_account(operation, active, watch) if watch.counters else None
        run = account.run if account else operation.run
        measured = _sample_undisturbed(
            _heard(run, context), measurement.tolerance, rule, active, context
        )
        accounted = account.close() if account else None
    after = operation.verify(seed=2)
    checked = Checked(
        before.bytes_checked + after.bytes_checked, before.bytes_wrong + after.bytes_wrong
    )
    return measured, checked, accounted


def _heard(run: Run, context: Context) -> Run:
    """Return the loop followed by a sign of life, which is outside its times."""

    def run_and_tell(seconds: Seconds, loops: int) -> None:
        run(seconds, loops)
        context.alive()

    return run_and_tell


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
    case: Case,
    measurement: Measurement,
    place: int,
    outcomes: Sequence[_Outcome],
    shared: dict[str, Axis],
    own_cores: bool,
) -> list[Event]:
    """Return what the ranks of one case measured, and how it ended."""
    ours = {rank: outcome for rank, outcome in enumerate(outcomes) if outcome.place == place}
    checked = sum(outcome.checked.bytes_checked for outcome in ours.values())
    wrong = {rank: outcome.checked.bytes_wrong for rank, outcome in ours.items()}
    # The first rank of the job may have slept; those that measured took equally many samples.
    speaker = next(iter(ours.values()))
    params = {**speaker.params, **shared}
    measured = speaker.measured
    if measured and measured.preempted > MOST_PREEMPTED and own_cores:
        params["preempted_percent"] = round(100 * measured.preempted)
    if measured and measured.passes > 1:
        params["passes"] = measured.passes
    samples = {r: each.measured.sampled.seconds for r, each in ours.items() if each.measured}
    if samples and isinstance(measurement, TellsApart):
        heard = measurement.timekeepers(case)
        samples = {rank: seconds for rank, seconds in samples.items() if rank in heard}
        params |= measurement.tell(case, samples)
    accounted = [each.accounted for each in ours.values() if each.accounted is not None]
    total = sum(wrong.values())
    first = measured.sampled if measured else None
    return [
        *(Samples(case.id, rank, tuple(seconds.tolist())) for rank, seconds in samples.items()),
        CaseEnded(
            case=case.id,
            status=Status.FAILED if total else Status.OK,
            reason=_wrong_answer(wrong, checked) if total else None,
            loops=first.loops if first else None,
            warmups=first.warmups if first else None,
            converged=first.converged if first else None,
            bytes_checked=checked,
            bytes_wrong=total,
            timing_layer=speaker.timing_layer,
            params=params,
            operations=next((one.operations for one in accounted), None),
            traffic=tuple(one.traffic for one in accounted if one.traffic is not None),
        ),
    ]


def _wrong_answer(wrong: dict[int, int], checked: int) -> str:
    """Return how many bytes were wrong, and on which ranks."""
    bad = [str(rank) for rank, count in wrong.items() if count]
    where = f"rank{'s' if len(bad) > 1 else ''} {', '.join(bad[:MOST_NAMED])}"
    more = f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
    return f"wrong answer: {sum(wrong.values())} of {checked} bytes checked, on {where}{more}"
