"""What a case sends: the memory it comes from, and how many bytes an operation puts on the wire."""

from bench.core.records import CONTROL, Case, Job
from bench.measure import MEASUREMENTS
from bench.measure.axes import DEVICE_KINDS
from bench.measure.pair import end_memories, window_size

HOG = "hog"
"""The control run during which others load the memory of the host."""
HOG_SHARED = "hog_shares_cores"
"""Parameter of a row whose hog ran on the cores of its ranks."""


def is_in_question(job: Job, case: Case) -> bool:
    """Return whether evidence of a case's path is wanted; not that of control runs."""
    if CONTROL in case.axes or "path" not in case.axes:
        return False
    plain = memory_of(case) == "host" and case.axes["path"] == "direct"
    return bool(job.env) or not plain


def memory_of(case: Case) -> str:
    """Return `device` or `standin` where either end lies in such memory, else `host`."""
    kinds = DEVICE_KINDS & {*end_memories(case)} if "memory" in case.axes else set()
    return min(kinds, default="host")


def sent_per_operation(case: Case) -> int | None:
    """Return the bytes that the first rank of a pair sends in one operation of a loop.

    One operation of a ping-pong is a round trip, one of the others a whole window. None for what is
    no pair: what leaves a node then depends on the algorithm that MPI chose.
    """
    if not MEASUREMENTS[case.benchmark].pairwise:
        return None
    nbytes = int(case.axes["bytes"])
    return nbytes * window_size(case) if "window" in case.axes else nbytes
