"""Time of a product of m rows with fixed weights, from a few measured batches.

Between two measured batches the time is linear in m: a fixed cost (the call, and reading the
weights once) and a cost per row. The measured ceilings bound it: no row is predicted to cost less
than at the best rate that was seen, and no product less than the smallest one.
"""

import itertools

import msgspec

from bench.core.units import format_seconds


class Rows(msgspec.Struct, frozen=True):
    """Seconds at rising batches, joined by straight lines."""

    batches: tuple[float, ...]
    measured_s: tuple[float, ...]

    @property
    def formula(self) -> str:
        """The measured points, and the ceiling that they set."""
        points = ", ".join(
            f"{format_seconds(t)} at {m:g}"
            for m, t in zip(self.batches, self.measured_s, strict=True)
        )
        return (
            f"linear in m between {points}; at least {format_seconds(self.row_s)} a row "
            "(measured ceiling)"
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        """Batches, then seconds."""
        return (*self.batches, *self.measured_s)

    @property
    def row_s(self) -> float:
        """The measured compute ceiling: least seconds per row."""
        return min(t / m for m, t in zip(self.batches, self.measured_s, strict=True))

    def seconds(self, size: float) -> float:
        """Return the predicted seconds of a product of `size` rows."""
        points = list(itertools.pairwise(zip(self.batches, self.measured_s, strict=True)))
        (m0, t0), (m1, t1) = next((p for p in points if size <= p[1][0]), points[-1])
        line = t0 + (t1 - t0) * (size - m0) / (m1 - m0)
        return max(line, size * self.row_s, min(self.measured_s))


def fit_rows(sizes: list[float], seconds: list[float]) -> Rows:
    """Join the measured batches.

    Args:
        sizes: batches, rising, at least two.
        seconds: measured at them, above 0.

    Raises:
        ValueError: where there are fewer than two points.
    """
    if len(sizes) < 2:
        raise ValueError(f"{len(sizes)} calibrated batches; a line needs 2")
    return Rows(tuple(sizes), tuple(seconds))
