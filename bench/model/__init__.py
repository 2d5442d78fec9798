"""Models fitted on calibration cases, by benchmark; a new one is a file here and a line below."""

from collections.abc import Callable

from bench.model.curve import Curve
from bench.model.gemm import fit_rows
from bench.model.interpolation import join_sizes
from bench.model.rounds import fit_rounds

Fit = Callable[[list[float], list[float]], Curve]
"""From rising sizes and the seconds measured at them, the curve through all sizes.

Raises ValueError where the points admit no curve of this kind.
"""

FITS: dict[str, Fit] = {
    "latency": join_sizes,
    "bandwidth": join_sizes,
    "bibandwidth": join_sizes,
    "message_rate": join_sizes,
    "pairs_latency": join_sizes,
    "pairs_bandwidth": join_sizes,
    "pairs_bibandwidth": join_sizes,
    "multi_pair": join_sizes,
    "fan_in": join_sizes,
    "fan_out": join_sizes,
    "ring_shift": join_sizes,
    "allreduce": join_sizes,
    "reduce_scatter": join_sizes,
    "allgather": join_sizes,
    "alltoall": join_sizes,
    "broadcast": join_sizes,
    "scatter": join_sizes,
    "gather": join_sizes,
    "barrier": fit_rounds,
    "overlap": join_sizes,
    "exchange": join_sizes,
    "memcpy": join_sizes,
    "copy": join_sizes,
    "stream": join_sizes,
    "matmul": fit_rows,
    "split_matmul": join_sizes,
    "training_step": join_sizes,
}

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
