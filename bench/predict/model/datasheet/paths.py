"""A path is hops in a row; how long bytes take over it, and which hop limits.

Streamed, the slowest hop sets the time. Copied whole from memory to memory, one hop after the
other, the times add up, as where a GPU's data is staged in host memory without GPUDirect.
"""

from collections.abc import Sequence

import msgspec

from bench.predict.model.datasheet.links import Span


class Hop(msgspec.Struct, frozen=True):
    """A link as negotiated at this place of the path."""

    name: str
    span: Span


class Passage(msgspec.Struct, frozen=True):
    """Seconds of bytes over a path, their limits, and the hop that limits."""

    seconds: float
    low_s: float
    high_s: float
    limited_by: str


def streamed(size: float, hops: Sequence[Hop], latency_s: float = 0) -> Passage:
    """Return the time of `size` bytes that pass all hops at once.

    Raises:
        ValueError: where there are no hops.
    """
    slowest = min(hops, key=lambda hop: hop.span.usual)
    return Passage(
        latency_s + size / slowest.span.usual,
        latency_s + size / min(hop.span.high for hop in hops),
        latency_s + size / min(hop.span.low for hop in hops),
        slowest.name,
    )


def staged(size: float, hops: Sequence[Hop], latency_s: float = 0) -> Passage:
    """Return the time of `size` bytes copied whole over one hop after the other.

    The lower limit is a copy in chunks, all hops at work at once.

    Raises:
        ValueError: where there are no hops.
    """
    slowest = min(hops, key=lambda hop: hop.span.usual)
    return Passage(
        latency_s * len(hops) + sum(size / hop.span.usual for hop in hops),
        streamed(size, hops, latency_s).low_s,
        latency_s * len(hops) + sum(size / hop.span.low for hop in hops),
        slowest.name,
    )
