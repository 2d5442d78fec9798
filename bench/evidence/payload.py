"""How many bytes of messages one operation puts on the wire, for the accounts of E3."""

from bench.measure import MEASUREMENTS
from bench.measure.pair import window_size
from bench.record import Case


def sent_per_operation(case: Case) -> int | None:
    """Return the bytes that the first rank of a pair sends in one operation of a loop.

    One operation of a ping-pong is a round trip, one of the others a whole window. None for what is
    no pair: what leaves a node then depends on the algorithm that MPI chose.
    """
    if not MEASUREMENTS[case.benchmark].pairwise:
        return None
    nbytes = int(case.axes["bytes"])
    return nbytes * window_size(case) if "window" in case.axes else nbytes
