"""The cases of a job in order, and once more those that met the machine in a slow state.

A probe before and after each case measures the state, the same for all cases. It decides, never the
case's own result. Calibration cases wait for the end of their round, since only then the best state
is known; a model fitted across two states predicts neither.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from bench.contracts import Context
from bench.core.events import CaseEnded, CaseMeasured, CaseStarted, Ceilings, Done, Event
from bench.core.limits import MOST_AGAIN_S
from bench.core.records import BUDGET_CAP, Case, Job, Sampling, Stage, Status
from bench.measure import MEASUREMENTS
from bench.measure.expansion import group_cases
from bench.rank.case import execute_at_once, execute_case
from bench.rank.ceilings import ROUNDS, CeilingProbe
from bench.rank.core_probe import Probe
from bench.rank.pacing import Pacer
from bench.rank.world import World

MOST_ROUNDS = 4


COLLECTED_S = 1.0
"""A case that took as long is followed by a collection of what it left behind: ranks run with the
collector off, and a collection takes 40 ms at most."""


UNKNOWN_STATE = 0.0
"""Of a case whose state no probe shows; it is better than every other, so that it is not waited
for."""


class _MeasuredCase(NamedTuple):
    """What a case yielded, when, and in which state."""

    case: Case
    effort: CaseMeasured
    events: list[Event]
    begin_s: float
    state: float
    risen: Ceilings | None


def execute_job(job: Job, world: World, context: Context) -> Iterator[Event]:
    """Measure every case of a job; the events are complete on rank 0.

    Returns:
        The events, in an order in which those of a case follow each other.
    """
    pacer = Pacer(job, world)
    ceilings = CeilingProbe(world, context)
    yield from _told(ceilings.measure(ROUNDS if job.allowance is None else 1))
    # More than two ranks sleep beside the pair, and more ranks than cores have no steady state.
    if world.size != 2 or context.message_loops is None or not context.own_cores:
        for cases in group_cases(job.cases):
            yield from _at_once(cases, job, world, context, pacer, ceilings)
        yield Done(job.id, job.reference_s)
        return
    probe = Probe(world, context, job.reference_s)
    yield from _in_rounds(job, world, context, probe, pacer, ceilings)
    yield Done(job.id, probe.best_s)


def _told(ceilings: Ceilings | None) -> tuple[Event, ...]:
    return () if ceilings is None else (ceilings,)


def _at_once(
    cases: tuple[Case, ...],
    job: Job,
    world: World,
    context: Context,
    pacer: Pacer,
    ceilings: CeilingProbe,
) -> Iterator[Event]:
    """Measure cases together; while they run, the first one of them counts as the one that runs."""
    rule = pacer.choose(cases)
    if rule is None:
        yield from _left_out(cases, pacer)
        return
    begin_s = time.perf_counter()
    yield CaseStarted(cases[0].id)
    outcomes = execute_at_once(cases, rule, world, context)
    yield from _told(ceilings.refresh(cases[0]))
    _collect_after(begin_s)
    took_s = (time.perf_counter() - begin_s) / len(cases)
    for case, events in zip(cases, outcomes, strict=True):
        if case is not cases[0]:
            yield CaseStarted(case.id, time.perf_counter() - begin_s)
        effort, rest = _split_effort(case, events, took_s)
        pacer.learn(case, effort, rule)
        yield effort
        yield from _with_cap(rest, rule, job)


def _in_rounds(
    job: Job,
    world: World,
    context: Context,
    probe: Probe,
    pacer: Pacer,
    ceilings: CeilingProbe,
) -> Iterator[Event]:
    hold = job.stage is Stage.CALIBRATE
    waiting: dict[str, _MeasuredCase] = {}
    begin_s, again_until_s = time.perf_counter(), np.inf
    queue = list(job.cases)
    for round_number in range(MOST_ROUNDS):
        for case in queue:
            late = time.perf_counter() > again_until_s
            if world.broadcast(late or (round_number > 0 and not pacer.fits_again(case))):
                break
            rule = pacer.choose((case,))
            if rule is None:
                yield from _left_out((case,), pacer)
                continue
            yield CaseStarted(case.id)
            new = _measure(case, rule, job, world, context, probe, ceilings)
            yield from _told(new.risen)
            pacer.learn(case, new.effort, rule)
            slow = probe.is_slow(new.state)
            yield msgspec.structs.replace(new.effort, slow=slow)
            old = waiting.get(case.id)
            waiting[case.id] = new if old is None or new.state < old.state else old
            if not hold and not probe.is_slow(waiting[case.id].state):
                yield from _release(waiting.pop(case.id), probe)
        steady = [name for name, one in waiting.items() if not probe.is_slow(one.state)]
        for name in steady:
            yield from _release(waiting.pop(name), probe)
        queue = [one.case for one in waiting.values()]
        if round_number == 0:
            now_s = time.perf_counter()
            again_until_s = now_s + min(MOST_AGAIN_S, now_s - begin_s)
    for one in waiting.values():
        yield from _release(one, probe)


def _measure(
    case: Case,
    rule: Sampling,
    job: Job,
    world: World,
    context: Context,
    probe: Probe,
    ceilings: CeilingProbe,
) -> _MeasuredCase:
    begin_s = time.perf_counter()
    # What passes between two nodes is no state of either, where each measures for itself.
    alone = MEASUREMENTS[case.benchmark].profile.rows == "place" and len({*world.nodes}) > 1
    # In a hurry no state is waited for, and looking at it takes no longer than sampling.
    hurried = rule.most_passes < job.sampling.most_passes
    look = partial(probe.measure, rule.cap_s) if hurried else probe.measure
    before = UNKNOWN_STATE if alone else look() if hurried else probe.settle()
    events = list(execute_case(case, rule, world, context))
    state = UNKNOWN_STATE if alone else max(before, look())
    risen = ceilings.refresh(case)
    _collect_after(begin_s)
    effort, events = _split_effort(case, events, time.perf_counter() - begin_s)
    return _MeasuredCase(case, effort, _with_cap(events, rule, job), begin_s, state, risen)


def _split_effort(
    case: Case, events: Sequence[Event], took_s: float
) -> tuple[CaseMeasured, list[Event]]:
    """Return what a case took, and its other events."""
    efforts = [event for event in events if isinstance(event, CaseMeasured)]
    effort = efforts[0] if efforts else CaseMeasured(case.id, 0.0)
    rest: list[Event] = [event for event in events if not isinstance(event, CaseMeasured)]
    return msgspec.structs.replace(effort, took_s=took_s), rest


def _with_cap(events: list[Event], rule: Sampling, job: Job) -> list[Event]:
    """Return the events of a case; where a budget cut its sampling, the row says how far."""
    if rule.cap_s < job.sampling.cap_s:
        for event in events:
            if isinstance(event, CaseEnded):
                for params in (event.params, *(place.params for place in event.places)):
                    params[BUDGET_CAP] = round(1e3 * rule.cap_s, 1)
    return events


def _left_out(cases: Sequence[Case], pacer: Pacer) -> Iterator[Event]:
    for case in cases:
        yield CaseStarted(case.id)
        yield CaseEnded(case=case.id, status=Status.SKIPPED, reason=pacer.reason())


def _collect_after(begin_s: float) -> None:
    """Collect garbage where a case that began then was a long one."""
    if time.perf_counter() - begin_s >= COLLECTED_S:
        gc.collect()


def _release(measured: _MeasuredCase, probe: Probe) -> Iterator[Event]:
    """Return the events of a case that is over; where its state was another, the row names it."""
    yield CaseStarted(measured.case.id, time.perf_counter() - measured.begin_s)
    known = measured.state != UNKNOWN_STATE
    moved_percent = probe.moved_percent(measured.state) if known else None
    for event in measured.events:
        if isinstance(event, CaseEnded) and moved_percent is not None:
            for params in (event.params, *(place.params for place in event.places)):
                params["state_percent"] = moved_percent
        yield event
