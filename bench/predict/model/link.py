"""A piecewise latency-bandwidth curve: t = alpha + m / B, with other parameters per segment.

One straight line cannot follow a library that switches protocols with size: its cost jumps
between eager and rendezvous messages. Residuals are relative, or the largest message would rule
the fit (Hockney's model; segments as in SMPI, Clauss et al., IPDPS 2011).
"""

import itertools
import math
from collections.abc import Iterator

import msgspec
import numpy as np
from scipy.optimize import nnls

from bench.core.units import format_bytes, format_rate, format_seconds

MOST_SEGMENTS = 3
LEAST_POINTS = 2
"""Of a segment: as many as it has parameters."""
NOISE = 0.02
"""Relative scatter of a single measured point; a fit closer than this explains noise."""


class Segment(msgspec.Struct, frozen=True):
    """t = alpha_s + size * s_per_byte from the size after `low` up to `high`."""

    low: float
    high: float
    alpha_s: float
    s_per_byte: float

    def seconds(self, size: float) -> float:
        """Return the time of one operation of `size` bytes."""
        return self.alpha_s + size * self.s_per_byte


class Segments(msgspec.Struct, frozen=True):
    """A curve of segments that follow each other without a gap."""

    segments: tuple[Segment, ...]

    @property
    def formula(self) -> str:
        """The segments in words."""
        return "; ".join(self._words(segment) for segment in self.segments)

    @staticmethod
    def _words(segment: Segment) -> str:
        words = f"t = {format_seconds(segment.alpha_s)}"
        if segment.s_per_byte > 0:
            words += f" + m / ({format_rate(1 / segment.s_per_byte, 'B/s')})"
        if math.isfinite(segment.high):
            words += f" up to {format_bytes(math.floor(segment.high))}"
        return words

    @property
    def parameters(self) -> tuple[float, ...]:
        """Upper end, alpha and seconds per byte of each segment."""
        return tuple(v for s in self.segments for v in (s.high, s.alpha_s, s.s_per_byte))

    def seconds(self, size: float) -> float:
        """Return the predicted seconds at a size in bytes."""
        return next(s for s in self.segments if size <= s.high).seconds(size)


def fit_segments(sizes: list[float], seconds: list[float]) -> Segments:
    """Fit one to three segments with relative residuals.

    Every split into runs of at least two points is tried; the number of segments follows
    Schwarz's criterion, so that a further segment must explain more than noise.

    Args:
        sizes: bytes, rising, at least two.
        seconds: measured at them, above 0.

    Raises:
        ValueError: where there are fewer than two points.
    """
    if len(sizes) < LEAST_POINTS:
        raise ValueError(f"{len(sizes)} calibrated sizes; a line needs {LEAST_POINTS}")
    m, t = np.array(sizes), np.array(seconds)
    best: tuple[float, Segments] | None = None
    for cuts in _splits(len(m)):
        lines = [_line(m[a:b], t[a:b]) for a, b in itertools.pairwise(cuts)]
        residual = sum(line[2] for line in lines)
        parameters = 3 * len(lines) - 1
        score = len(m) * math.log(residual / len(m) + NOISE**2) + parameters * math.log(len(m))
        if best is None or score < best[0]:
            best = score, _join(m, cuts, lines)
    if best is None:
        raise ValueError("no split into segments")
    return best[1]


def _splits(count: int) -> Iterator[tuple[int, ...]]:
    """Return the bounds (0, ..., count) of every split into runs of at least two points."""
    for segments in range(1, MOST_SEGMENTS + 1):
        for inner in itertools.combinations(
            range(LEAST_POINTS, count - LEAST_POINTS + 1), segments - 1
        ):
            cuts = (0, *inner, count)
            if all(b - a >= LEAST_POINTS for a, b in itertools.pairwise(cuts)):
                yield cuts


def _line(m: np.ndarray, t: np.ndarray) -> tuple[float, float, float]:
    """Return alpha, seconds per byte and the sum of squared relative residuals; none negative.

    A negative latency or rate is no property of a link.
    """
    scale = float(m.max())
    weighted = np.stack([1 / t, m / scale / t], axis=1)
    (alpha, slope), norm = nnls(weighted, np.ones(len(t)))
    return float(alpha), float(slope) / scale, float(norm) ** 2


def _join(
    m: np.ndarray, cuts: tuple[int, ...], lines: list[tuple[float, float, float]]
) -> Segments:
    """Put the ends of segments half-way, on a log axis, between the sizes that they fit."""
    inner = [math.sqrt(float(m[cut - 1]) * float(m[cut])) for cut in cuts[1:-1]]
    ends = [0.0, *inner, math.inf]
    return Segments(
        tuple(
            Segment(low, high, alpha, slope)
            for (low, high), (alpha, slope, _) in zip(itertools.pairwise(ends), lines, strict=True)
        )
    )
