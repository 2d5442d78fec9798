"""Time of a product with weights of another shape, from products with weights of a few sizes.

Per weight a product costs what reading it and using it for m rows costs, which hangs on m and, by
the cache that the weights fit into, on how many there are; hardly on their form. So seconds per
weight at each measured size, by batch as `gemm.Rows` joins them, are joined on log axes over the
number of weights.
"""

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from bench.predict.model.gemm import Rows, fit_rows


class Shapes(msgspec.Struct, frozen=True):
    """Curves over the batch, by rising number of weights."""

    weights: tuple[float, ...]
    curves: tuple[Rows, ...]

    def seconds(self, m: float, k: float, n: float) -> float:
        """Return the time of a product of m rows with k x n weights.

        Beyond the fewest and the most weights that were measured the time per weight stays.
        """
        each = [
            math.log(curve.seconds(m) / count)
            for count, curve in zip(self.weights, self.curves, strict=True)
        ]
        return k * n * math.exp(float(np.interp(math.log(k * n), np.log(self.weights), each)))


def fit_shapes(measured: Mapping[tuple[int, int], Mapping[float, float]]) -> Shapes:
    """Join measured products.

    Args:
        measured: by k and n, the seconds by batch; no two shapes of equally many weights.

    Raises:
        ValueError: where there is no shape, a shape has fewer than two batches, or two shapes have
            equally many weights.
    """
    shapes = sorted(measured, key=math.prod)
    weights = tuple(float(math.prod(shape)) for shape in shapes)
    if not shapes or len(set(weights)) < len(weights):
        raise ValueError(f"{len(set(weights))} sizes of weights of {len(shapes)} shapes")
    curves = []
    for shape in shapes:
        batches = sorted(measured[shape])
        curves.append(fit_rows(batches, [measured[shape][batch] for batch in batches]))
    return Shapes(weights, tuple(curves))
