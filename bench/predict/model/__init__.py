"""Models fitted on calibration cases; a new one is a file here and a line below."""

from collections.abc import Callable

from bench.contracts.profile import FitKind
from bench.predict.model.curve import Curve
from bench.predict.model.gemm import fit_rows
from bench.predict.model.interpolation import join_sizes
from bench.predict.model.rounds import fit_rounds

Fit = Callable[[list[float], list[float]], Curve]
"""From rising sizes and the seconds measured at them, the curve through all sizes.

Raises ValueError where the points admit no curve of this kind.
"""

FITS: dict[FitKind, Fit] = {"sizes": join_sizes, "rows": fit_rows, "rounds": fit_rounds}
"""By the kind that a benchmark declares."""
