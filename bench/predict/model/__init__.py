"""Models fitted on calibration cases; a new one is a file here and a line below."""

from collections.abc import Callable

from bench.predict.model.curve import Curve
from bench.predict.model.gemm import fit_rows
from bench.predict.model.interpolation import join_sizes
from bench.predict.model.rounds import fit_rounds

Fit = Callable[[list[float], list[float]], Curve]
"""From rising sizes and the seconds measured at them, the curve through all sizes.

Raises ValueError where the points admit no curve of this kind.
"""

_BY_SIZE: Fit = join_sizes
_OTHERS: dict[str, Fit] = {"matmul": fit_rows, "barrier": fit_rounds}


def fit_of(benchmark: str) -> Fit:
    """Return the fit of a benchmark: along message sizes where nothing else is said."""
    return _OTHERS.get(benchmark, _BY_SIZE)


_FAMILIES: dict[str, str] = {
    "latency": "point to point",
    "bandwidth": "point to point",
    "bibandwidth": "point to point",
    "message_rate": "point to point",
    "pairs_latency": "point to point",
    "pairs_bandwidth": "point to point",
    "allreduce": "collectives",
    "reduce_scatter": "collectives",
    "allgather": "collectives",
    "alltoall": "collectives",
    "broadcast": "collectives",
    "scatter": "collectives",
    "gather": "collectives",
    "exchange": "exchange and steps",
    "training_step": "exchange and steps",
    "matmul": "matmul",
    "split_matmul": "matmul",
    "memcpy": "memory",
    "stream": "memory",
}


def family(benchmark: str) -> str:
    """Return the name of the benchmarks whose curves miss alike, and share a headline.

    One that is in no family is its own.
    """
    return _FAMILIES.get(benchmark, benchmark)
