"""What carries messages and collective calls out: MPI, or NCCL between GPUs."""

from collections.abc import Collection

from bench.contracts import AxisSpec, Context, FollowsSteps, SharesTime
from bench.core.records import Axis, Case

LIBRARY = AxisSpec(
    name="library",
    kind=str,
    default=("mpi",),
    choices=("mpi", "nccl"),
    advice="what carries the calls out; RCCL counts as nccl, and both need memory = device",
)


def by_nccl(case: Case) -> bool:
    """Return whether NCCL is to carry a case out, by its library or its path."""
    return "nccl" in (case.axes.get("library"), case.axes.get("path"))


def refuse_nccl(context: Context, memories: Collection[str]) -> str | None:
    """Return why the ranks of a job cannot use NCCL for such memory, or None; all have to ask.

    What follows from the case comes first, since it is the same on every rank: the question after
    it is put to all of them.
    """
    others = sorted({*memories} - {"device"})
    if others:
        return f"NCCL and RCCL need memory = device; this is {' and '.join(others)} memory"
    if context.message_loops is None:
        return "needs MPI: NCCL and RCCL join ranks that MPI has started"
    return context.gpu_library.lacks()


def open_library(case: Case, context: Context) -> FollowsSteps:
    """Return what follows the schedules of a case; every rank has to ask.

    Raises:
        UnpreparedError: where NCCL could not join the ranks.
    """
    return context.gpu_library.open() if by_nccl(case) else context.need_message_loops()


def share_of_host(loops: FollowsSteps) -> float | None:
    """Return the share of the time in which the host queued calls; None where it does not queue."""
    return loops.host_share if isinstance(loops, SharesTime) else None


def library_facts(case: Case, context: Context) -> dict[str, Axis]:
    """Return what the row's `params` hold of the library; of MPI that is in the run's facts."""
    return context.gpu_library.facts if by_nccl(case) else {}
