"""What ranks have to say about a case that ran, and the events that come of it."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.contracts import Checked, ComparesRanks, Measurement
from bench.core.events import CaseEnded, Event, Samples
from bench.core.records import Axis, Case, Status
from bench.rank.account import Accounted
from bench.rank.gpu_clocks import GpuLoad, load_params
from bench.rank.timing.sampling import Sampled

MOST_PREEMPTED = 0.05
"""Share of the time off the core that is no reason to sample again; MPI and BLAS wait busily."""
MOST_NAMED = 8
"""Ranks with wrong bytes that a reason names."""


class Pass(NamedTuple):
    """Samples of this rank, and how disturbed they were on the rank that was disturbed most."""

    sampled: Sampled
    preempted: float
    """Share of the wall time in which a rank was not running."""
    passes: int


class Measured(NamedTuple):
    """What a rank found out about its case; of one that slept, nothing."""

    best: Pass | None = None
    checked: Checked = Checked(0, 0)
    accounted: Accounted | None = None
    loads: tuple[GpuLoad, ...] = ()
    """Of the GPUs that it used."""


class Outcome(NamedTuple):
    """What one rank has to say about its case after it ran."""

    place: int
    """Of the case among those at once; past them all on a rank that slept."""
    told: Measured
    timing_layer: str
    params: dict[str, Axis]


def report_case(
    case: Case,
    measurement: Measurement,
    place: int,
    outcomes: Sequence[Outcome],
    shared: dict[str, Axis],
    own_cores: bool,
) -> list[Event]:
    """Return what the ranks of one case measured, and how it ended."""
    ours = {rank: outcome for rank, outcome in enumerate(outcomes) if outcome.place == place}
    checked = sum(outcome.told.checked.bytes_checked for outcome in ours.values())
    wrong = {rank: outcome.told.checked.bytes_wrong for rank, outcome in ours.items()}
    # The first rank of the job may have slept; those that measured took equally many samples.
    speaker = next(iter(ours.values()))
    loads = [load for each in ours.values() for load in each.told.loads]
    params = {**speaker.params, **load_params(loads), **shared}
    measured = speaker.told.best
    if measured and measured.preempted > MOST_PREEMPTED and own_cores:
        params["preempted_percent"] = round(100 * measured.preempted)
    if measured and measured.passes > 1:
        params["passes"] = measured.passes
    bests = {rank: each.told.best for rank, each in ours.items()}
    samples = {rank: best.sampled.seconds for rank, best in bests.items() if best}
    if samples and isinstance(measurement, ComparesRanks):
        heard = measurement.timekeepers(case)
        samples = {rank: seconds for rank, seconds in samples.items() if rank in heard}
        params |= measurement.compare_ranks(case, samples)
    accounted = [each.told.accounted for each in ours.values() if each.told.accounted]
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
