"""What every rank does with one case: agree, set up, verify, sample, verify again."""

import os
from collections.abc import Iterator, Sequence
from functools import partial

from bench.contracts import Context, Operation, SharesTime
from bench.core.events import CaseEnded, Event
from bench.core.gpu_cases import memory_kinds
from bench.core.records import CONTROL, Axis, Case, Sampling, Status
from bench.machine.cpu import read_cpuset, share_cores, usable_cores
from bench.measure import MEASUREMENTS
from bench.measure.pair import pair_ranks
from bench.measure.payload import HOG, HOG_SHARED
from bench.rank.active import Task, Watch, ask_case, measure_among, prepare_case
from bench.rank.gpu_seats import gpu_ranks, seat_params
from bench.rank.hog import HogPlacement, close_cores, hogging, place_hog
from bench.rank.outcome import Outcome, RankResult, overhead_params, report_case, report_effort
from bench.rank.page_sets import turn_page_sets
from bench.rank.places import execute_in_places
from bench.rank.world import World


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
        For each case what sampling it took, its samples and its end, complete on rank 0.
    """
    measurement = MEASUREMENTS[cases[0].benchmark]
    if measurement.profile.rows == "place":
        return [execute_in_places(case, rule, world, context) for case in cases]
    own = _own_index(cases, world)
    answers = world.gather(ask_case(measurement, cases[own], context))
    # A GPU was opened, ranks of NCCL are joined as a case is prepared: each may take long.
    context.alive()
    status, reason = next((each for each in answers if each[1] is not None), (Status.OK, None))
    if reason is not None:
        return [_ended(case, status, reason) for case in cases]
    before = context.memories.host_bytes()
    operation, error = prepare_case(measurement, cases[own], context)
    reason = _first_reason(world, error)
    context.alive()
    if reason is not None or operation is None:
        return [_ended(case, Status.FAILED, reason) for case in cases]
    if measurement.profile.turns_pages:
        prepare = partial(measurement.prepare, cases[own], context)
        nbytes = context.memories.host_bytes() - before
        operation = turn_page_sets(
            operation, nbytes, prepare, world, context.alive, context.last_cache_bytes
        )
    index = len(cases) if operation.idle else own
    task = Task(cases[own], measurement, rule, _what_to_watch(cases, world))
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
        [
            report_effort(case, [each for each in outcomes if each.case_index == index]),
            *report_case(
                case,
                measurement,
                index,
                outcomes,
                shared | seat_params(case, context.gpu_seats, gpu_ranks(case, world.size)),
                context.own_cores,
            ),
        ]
        for index, case in enumerate(cases)
    ]


def _own_index(cases: Sequence[Case], world: World) -> int:
    """Return which of several cases this rank is an end of; the first one where of none."""
    ends = (pair_ranks(case, world.size) for case in cases) if len(cases) > 1 else ()
    return next((index for index, both in enumerate(ends) if world.rank in both), 0)


def _what_to_watch(cases: Sequence[Case], world: World) -> Watch:
    """Inside one host nothing leaves it, unless it is a GPU's business."""
    device = cases[0].axes.get("memory", "host") != "host"
    leaves = device or len(set(world.nodes)) > 1
    # Of cases at once no counter of a host shows whose bytes it counted.
    clocks = "device" in memory_kinds(cases[0])
    return Watch(counters=leaves and len(cases) == 1, gpus=device, clocks=clocks)


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
    placement = place_hog(_usable_by_hog(own), ranks, close_cores(min(own)))
    leads = world.nodes.index(node) == world.rank
    return placement if leads else None, any(world.gather(placement.shared))


def _usable_by_hog(own: Sequence[int]) -> Sequence[int]:
    """Return the CPUs of the cpuset; where ranks are bound to no core, those of their mask alone.

    That may be one that somebody has set, and a hog beside it would take the cores of others.
    """
    return own if len(usable_cores()) > 1 else read_cpuset() or own


def _first_reason(world: World, reason: str | None) -> str | None:
    """Return the first rank's reason on every rank, so that all go the same way."""
    return next((each for each in world.gather(reason) if each is not None), None)


def _measure(
    operation: Operation, index: int, task: Task, world: World, context: Context
) -> Outcome:
    """Verify, sample and verify with another pattern; ranks that take no part sleep."""
    colors = world.gather(index)
    apart = len(set(colors)) > 1
    active = world.split(colors) if apart else world
    result = RankResult()
    if not operation.idle:
        result = measure_among(active, operation, task, context)
    world.sleep_until_all_arrive()
    if apart:
        active.free()
    share = operation.host_share if isinstance(operation, SharesTime) else None
    params = {**operation.params, **overhead_params(operation.overhead_s, result, share)}
    return Outcome(index, result, operation.timing_layer, params)
