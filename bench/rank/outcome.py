"""What ranks found out about a case that ran, and the events that come of it."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bench.contracts import Checked, ComparesRanks, Measurement, Seconds
from bench.core.events import CaseEnded, CaseMeasured, Event, PlaceEnded, Samples
from bench.core.records import Axis, Case, Status
from bench.plan.pace import why_too_long
from bench.rank.gpu_clocks import GpuLoad, load_params
from bench.rank.timing.sampling import Sampled
from bench.rank.traffic_meter import Metered

MOST_PREEMPTED = 0.05
"""Share of the time off the core that is no reason to sample again; MPI and BLAS wait busily."""
HOST_BOUND = 0.2
"""Share of an operation from which on what the host does for it is measured rather than it."""
MOST_NAMED = 8
"""Ranks with wrong bytes that a reason names."""


class Pass(NamedTuple):
    """Samples of this rank, and how disturbed they were on the rank that was disturbed most."""

    sampled: Sampled
    preempted: float
    """Share of the wall time in which a rank was not running."""
    passes: int
    sampled_s: float
    """Of all passes, and the pauses between them."""


class RankResult(NamedTuple):
    """What a rank found out about its case; of one that slept, nothing."""

    best: Pass | None = None
    checked: Checked = Checked(0, 0)
    metered: Metered | None = None
    loads: tuple[GpuLoad, ...] = ()
    """Of the GPUs that it used."""
    too_long_s: float | None = None
    """What one operation took, where there was no time for samples of it."""
    error: str | None = None
    """What its operation raised, on this rank."""


def overhead_params(
    overhead_s: float | None, result: RankResult, host_share: float | None = None
) -> dict[str, Axis]:
    """Return what a row's `params` tell of the timing layer's own time in one operation.

    Args:
        overhead_s: of one call, and of the operation where that is one.
        host_share: of an operation that is made of calls which are queued, all that queueing takes.
    """
    if overhead_s is None:
        return {}
    params: dict[str, Axis] = {"overhead_ns": round(overhead_s * 1e9)}
    best = result.best
    if best is None:
        return params
    bound = overhead_s > HOST_BOUND * float(np.median(best.sampled.seconds))
    if host_share is not None:
        params["queueing_percent"] = round(100 * host_share)
        bound = bound or host_share > HOST_BOUND
    if bound:
        params["host_bound"] = 1
    return params


class Outcome(NamedTuple):
    """What one rank found out about its case."""

    case_index: int
    """Of the case among those at once; past them all on a rank that slept."""
    result: RankResult
    timing_layer: str
    params: dict[str, Axis]


class Seat(NamedTuple):
    """Where one rank of a case sits whose places measure for themselves, and why it cannot."""

    node: int
    host: str
    gpu: str | None
    """PCI address of the GPU that its place is; None for a whole node."""
    status: Status = Status.OK
    reason: str | None = None
    idle: bool = False
    """Whether this rank takes no part and sleeps: it is of no place then, whatever GPU it has."""

    @property
    def place(self) -> tuple[int, str | None]:
        """What all ranks of a place have in common."""
        return self.node, self.gpu


def report_case(
    case: Case,
    measurement: Measurement,
    index: int,
    outcomes: Sequence[Outcome],
    shared: dict[str, Axis],
    own_cores: bool,
) -> list[Event]:
    """Return what the ranks of one case measured, and how it ended."""
    ours = {rank: outcome for rank, outcome in enumerate(outcomes) if outcome.case_index == index}
    samples, ended = _judge(case, measurement, ours, shared, own_cores)
    return [*_samples_events(case, samples), ended]


def report_effort(case: Case, outcomes: Sequence[Outcome]) -> CaseMeasured:
    """Return what sampling took on the rank where it took longest, without the time of the case."""
    bests = [outcome.result.best for outcome in outcomes if outcome.result.best]
    if not bests:
        too_long_s = [outcome.result.too_long_s for outcome in outcomes]
        return CaseMeasured(case.id, 0.0, 0.0, max(filter(None, too_long_s), default=None))
    longest = max(bests, key=lambda best: best.sampled_s)
    return CaseMeasured(case.id, 0.0, longest.sampled_s, longest.sampled.operation_s)


def report_places(
    case: Case,
    measurement: Measurement,
    seats: Sequence[Seat],
    outcomes: Sequence[Outcome],
    shared: Mapping[tuple[int, str | None], dict[str, Axis]],
    own_cores: bool,
) -> list[Event]:
    """Return what each place of a case measured, and how the case ended in all of them.

    Args:
        seats: of all ranks; those of one place agree on its status, and idle ones are of none.
        outcomes: of all ranks; those that slept have none of their place's.
        shared: by place, what its row has in `params`.
    """
    members: dict[tuple[int, str | None], list[int]] = {}
    for rank, seat in enumerate(seats):
        if not seat.idle:
            members.setdefault(seat.place, []).append(rank)
    samples: dict[int, Seconds] = {}
    places, judged = [], []
    for index, ranks in enumerate(members.values()):
        seat = seats[ranks[0]]
        ours = {rank: outcomes[rank] for rank in ranks if outcomes[rank].case_index == index}
        if seat.status is Status.OK and ours:
            found, ended = _judge(case, measurement, ours, shared[seat.place], own_cores)
            samples |= found
        else:
            ended = CaseEnded(case=case.id, status=seat.status, reason=seat.reason)
        judged.append(ended)
        places.append(
            PlaceEnded(
                host=seat.host,
                gpu=seat.gpu,
                ranks=tuple(ranks),
                **{name: getattr(ended, name) for name in _OF_PLACE},
            )
        )
    worst = min(judged, key=lambda ended: _WORST_FIRST.index(ended.status))
    checked = [ended for ended in judged if ended.bytes_checked is not None]
    return [
        *_samples_events(case, samples),
        msgspec.structs.replace(
            worst,
            bytes_checked=sum(each.bytes_checked or 0 for each in checked) if checked else None,
            bytes_wrong=sum(each.bytes_wrong or 0 for each in checked) if checked else None,
            sampled_ranks=len(samples) if checked else None,
            sample_count=sum(map(len, samples.values())) if checked else None,
            traffic=tuple(traffic for each in judged for traffic in each.traffic),
            places=tuple(places),
        ),
    ]


_OF_PLACE = (
    "status", "reason", "loops", "warmups", "converged", "bytes_checked", "bytes_wrong",
    "timing_layer", "params",
)  # fmt: skip
_WORST_FIRST = (Status.FAILED, Status.OK, Status.SKIPPED)
"""Of several places: a case is skipped where all of them are."""


def _samples_events(case: Case, samples: Mapping[int, Seconds]) -> list[Event]:
    return [Samples(case.id, rank, tuple(each.tolist())) for rank, each in sorted(samples.items())]


def _judge(
    case: Case,
    measurement: Measurement,
    ours: dict[int, Outcome],
    shared: dict[str, Axis],
    own_cores: bool,
) -> tuple[dict[int, Seconds], CaseEnded]:
    """Return the times that count of ranks that measured together, and how that ended."""
    checked = sum(outcome.result.checked.bytes_checked for outcome in ours.values())
    wrong = {rank: outcome.result.checked.bytes_wrong for rank, outcome in ours.items()}
    # The first rank of the job may have slept; those that measured took equally many samples.
    first = next(iter(ours.values()))
    loads = [load for each in ours.values() for load in each.result.loads]
    params = {**first.params, **load_params(loads), **shared}
    measured = first.result.best
    if measured and measured.preempted > MOST_PREEMPTED and own_cores:
        params["preempted_percent"] = round(100 * measured.preempted)
    if measured and measured.passes > 1:
        params["passes"] = measured.passes
    bests = {rank: each.result.best for rank, each in ours.items()}
    samples = {rank: best.sampled.seconds for rank, best in bests.items() if best}
    if samples and isinstance(measurement, ComparesRanks):
        timekeepers = measurement.timekeepers(case)
        samples = {rank: seconds for rank, seconds in samples.items() if rank in timekeepers}
    errors = [each.result.error for each in ours.values() if each.result.error is not None]
    if errors:
        samples = {}
    no_time = _find_no_time(samples)
    if no_time is not None:  # JSON has no such number, and no statistics either
        samples = {}
    if samples and isinstance(measurement, ComparesRanks):
        params |= measurement.compare_ranks(case, samples)
    metered = [each.result.metered for each in ours.values() if each.result.metered]
    reason = _wrong_answer(wrong, checked) if sum(wrong.values()) else no_time
    if errors:
        reason = errors[0] + (f" (and {len(errors) - 1} more ranks)" if errors[1:] else "")
    status = Status.OK if reason is None else Status.FAILED
    if reason is None and (operation_s := first.result.too_long_s) is not None:
        status, reason = Status.SKIPPED, why_too_long(operation_s)
    sampled = measured.sampled if measured else None
    return samples, CaseEnded(
        case=case.id,
        status=status,
        reason=reason,
        loops=sampled.loops if sampled else None,
        warmups=sampled.warmups if sampled else None,
        converged=sampled.converged if sampled else None,
        bytes_checked=checked,
        bytes_wrong=sum(wrong.values()),
        timing_layer=first.timing_layer,
        params={name: _in_json(value) for name, value in params.items()},
        sampled_ranks=len(samples),
        operations=next((one.operations for one in metered), None),
        traffic=tuple(one.traffic for one in metered if one.traffic is not None),
    )


def _find_no_time(samples: dict[int, Seconds]) -> str | None:
    """Return which rank timed what cannot be, or None."""
    for rank, seconds in samples.items():
        bad = np.flatnonzero(~((seconds > 0) & np.isfinite(seconds)))
        if bad.size:
            return f"rank {rank} took {seconds[bad[0]]} s for sample {bad[0]}, which is no time"
    return None


def _in_json(value: Axis) -> Axis:
    """Return a value that JSON can hold: one that is no finite number as the word for it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _wrong_answer(wrong: dict[int, int], checked: int) -> str:
    """Return how many bytes were wrong, and on which ranks."""
    bad = [str(rank) for rank, count in wrong.items() if count]
    where = f"rank{'s' if len(bad) > 1 else ''} {', '.join(bad[:MOST_NAMED])}"
    more = f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
    return f"wrong answer: {sum(wrong.values())} of {checked} bytes checked, on {where}{more}"
