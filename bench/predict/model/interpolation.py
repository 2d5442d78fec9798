"""The measured sizes joined on log axes: what predicts between them, segments explain it.

Three segments smooth over the steps that caches and protocols leave in a curve; the points keep
them. A disturbance only ever adds time, and a library can send a small message no slower than a
large one, so a point above a later one is taken down to it. The points are joined by cubics that
never fall (Fritsch and Carlson, 1980): alpha + m / B is hollow on log axes, and a chord of it is
always too high.
"""

from functools import cached_property

import numpy as np
from msgspec import Struct
from scipy.interpolate import PchipInterpolator

from bench.predict.model.link import Segments, fit_segments


class Interpolation(Struct, frozen=True, dict=True):
    """Seconds at rising sizes, joined by cubics on log axes; never falling."""

    sizes: tuple[float, ...]
    points_s: tuple[float, ...]
    explained: Segments

    @property
    def formula(self) -> str:
        """How many points, and the segments that explain them."""
        return (
            f"joined on log axes through {len(self.sizes)} sizes; "
            f"near them {self.explained.formula}"
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        """Sizes, then seconds."""
        return (*self.sizes, *self.points_s)

    def seconds(self, size: float) -> float:
        """Return the predicted seconds at a size in bytes.

        Beyond the largest size the rate of the last segment goes on; below the smallest the time
        stays.
        """
        last = self.explained.segments[-1]
        beyond_s = max(0.0, size - self.sizes[-1]) * last.s_per_byte
        inside = self._joined(np.log(np.clip(size, self.sizes[0], self.sizes[-1])))
        return float(np.exp(inside)) + beyond_s

    @cached_property
    def _joined(self) -> PchipInterpolator:
        return PchipInterpolator(np.log(self.sizes), np.log(self.points_s))


def join_sizes(sizes: list[float], seconds: list[float]) -> Interpolation:
    """Join measured sizes.

    Args:
        sizes: bytes, rising, at least two.
        seconds: measured at them, above 0.

    Raises:
        ValueError: where there are fewer than two points.
    """
    lowest = np.minimum.accumulate(seconds[::-1])[::-1] if seconds else seconds
    return Interpolation(tuple(sizes), tuple(map(float, lowest)), fit_segments(sizes, seconds))
