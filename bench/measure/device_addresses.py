"""Which cases hand MPI addresses of a GPU, and which of them this rank must not start."""

from bench.contracts import Context, OnGpu
from bench.core.records import Case
from bench.measure.pair import end_memories, pair_ranks
from bench.measure.profiles import profile_of

_DEVICE = "device"
_PAIRWISE = frozenset({"path", "src_rank", "dst_rank", "dst_memory"})


def hands_device(case: Case) -> bool:
    """Return whether MPI gets an address of a GPU from any rank."""
    axes = case.axes
    own = axes.get("path", "direct") == "direct" and axes.get("library", "mpi") == "mpi"
    return own and profile_of(case.benchmark).hands_memory_to_mpi and _DEVICE in _memories(case)


def refuse_device(case: Case, context: Context) -> str | None:
    """Return why this rank's MPI must not be handed the case's memory, or None.

    An MPI that does not state it is tried: the first message is the verification's. Where the job
    died of such a case before, that is the answer.
    """
    if not hands_device(case) or not _holds_device(case, context):
        return None
    memory = context.memories[_DEVICE]
    if context.takes_device is None or not isinstance(memory, OnGpu):
        return None
    taken = context.takes_device(memory.maker, not _is_messages(case))
    if taken.answer is False:
        return taken.why
    if taken.answer is None and context.died_in is not None:
        return (
            f"{taken.why}, and a job ended in {context.died_in}, where it was handed one: take an "
            "MPI that does, or path staged"
        )
    return None


def _memories(case: Case) -> set[str]:
    return {*end_memories(case)} if "memory" in case.axes else set()


def _is_messages(case: Case) -> bool:
    """Return whether the case is made of messages alone, and not of collective calls."""
    return profile_of(case.benchmark).operation is None


def _holds_device(case: Case, context: Context) -> bool:
    """Return whether this rank's own end lies on a GPU."""
    if not _PAIRWISE & case.axes.keys():
        return True
    world = context.communicator
    ends = zip(pair_ranks(case, world.size), end_memories(case), strict=True)
    return any(rank == world.rank and kind == _DEVICE for rank, kind in ends)
