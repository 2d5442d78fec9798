"""Models fitted on calibration cases, by benchmark; a new one is a file here and a line below."""

from collections.abc import Callable

from bench.model.curve import Curve
from bench.model.gemm import fit_rows
from bench.model.link import fit_segments

Fit = Callable[[list[float], list[float]], Curve]
"""From rising sizes and the seconds measured at them, the curve through all sizes.

Raises ValueError where the points admit no curve of this kind.
"""

FITS: dict[str, Fit] = {
    "latency": fit_segments,
    "bandwidth": fit_segments,
    "bibandwidth": fit_segments,
    "message_rate": fit_segments,
    "memcpy": fit_segments,
    "stream": fit_segments,
    "matmul": fit_rows,
}
