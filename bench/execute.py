"""What every rank does with one case: agree, set up, verify, sample, verify again."""

from collections.abc import Iterator
from typing import NamedTuple

from bench.contracts import Checked, Context, Measurement, Operation
from bench.events import CaseEnded, CaseStarted, Event, Samples
from bench.measure import MEASUREMENTS
from bench.record import Axis, Case, Sampling, Status
from bench.timing.sampling import Sampled, sample
from bench.world import World


class _Outcome(NamedTuple):
    """What one rank has to say about a case after it ran."""

    sampled: Sampled | None
    checked: Checked


def execute_case(case: Case, rule: Sampling, world: World, context: Context) -> Iterator[Event]:
    """Run a case on all ranks; the events are complete on rank 0."""
    yield CaseStarted(case.id)
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
    outcome = _measure(operation, measurement, rule, world, context)
    yield from _report(case, operation, world.gather(outcome))


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
    operation: Operation, measurement: Measurement, rule: Sampling, world: World, context: Context
) -> _Outcome:
    """Verify, sample and verify with another pattern; ranks that take no part sleep."""
    active = world.split(int(operation.idle)) if world.size > 2 else world
    if operation.idle:
        world.sleep_until_all_arrive()
        return _Outcome(None, Checked(0, 0))
    before = operation.verify(seed=1)
    sampled = None
    # A wrong answer is not worth timing.
    if not any(checked.bytes_wrong for checked in active.gather(before)):
        sampled = sample(
            operation.run, active.broadcast, rule, measurement.tolerance, context.clock
        )
    after = operation.verify(seed=2)
    world.sleep_until_all_arrive()
    checked = Checked(
        before.bytes_checked + after.bytes_checked, before.bytes_wrong + after.bytes_wrong
    )
    return _Outcome(sampled, checked)


def _report(case: Case, operation: Operation, outcomes: list[_Outcome]) -> Iterator[Event]:
    checked = sum(outcome.checked.bytes_checked for outcome in outcomes)
    wrong = sum(outcome.checked.bytes_wrong for outcome in outcomes)
    params: dict[str, Axis] = dict(operation.params)
    if operation.overhead_s is not None:
        params["overhead_ns"] = round(operation.overhead_s * 1e9)
    first = outcomes[0].sampled
    for rank, outcome in enumerate(outcomes):
        if outcome.sampled is not None:
            yield Samples(case.id, rank, tuple(outcome.sampled.seconds.tolist()))
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
    )
