"""Rates derived from work and seconds: the one place, so that CSV, plots and verdicts agree."""

from bench.core.records import Work

BUS_FACTORS: dict[str, tuple[int, int]] = {
    "allreduce": (2, 1),
    "reduce_scatter": (1, 1),
    "allgather": (1, 1),
    "alltoall": (1, 1),
    "broadcast": (1, 0),
    "scatter": (1, 1),
    "gather": (1, 1),
}
"""(a, b) of a collective's factor a (n - b) / n on n ranks (nccl-tests, PERFORMANCE.md).

All but a rank's own part crosses its link: twice in an allreduce, which reduces and hands out
again. A broadcast leaves the root whole.
"""


def bus_factor(collective: str, ranks: int) -> float:
    """Return the bytes that cross the busiest link at least, as a multiple of the total.

    So bus bandwidth compares with the rate of a link, whatever the number of ranks.
    """
    times, own = BUS_FACTORS[collective]
    return times * (ranks - own) / ranks


def gbytes_per_s(work: Work, seconds: float) -> float | None:
    """Return 1e9 bytes per second, or None where the work moves none."""
    return None if work.rate_bytes is None else work.rate_bytes / seconds / 1e9


def busbw_gbytes_per_s(work: Work, seconds: float) -> float | None:
    """Return 1e9 bytes per second on the busiest link, or None where that is not defined."""
    return None if work.bus_bytes is None else work.bus_bytes / seconds / 1e9


def tflops(work: Work, seconds: float) -> float | None:
    """Return 1e12 FLOP per second, or None where the work computes nothing."""
    return None if work.flop is None else work.flop / seconds / 1e12


def messages_per_s(work: Work, seconds: float) -> float | None:
    """Return messages per second, or None where the work sends none that count."""
    return None if work.messages is None else work.messages / seconds
