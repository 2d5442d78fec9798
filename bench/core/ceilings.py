"""What compiled loops reached on a host at most: ceilings that were measured, and no facts.

A faster moment shows a higher ceiling, so the best of all moments counts.
"""

from collections.abc import Iterable, Mapping

import msgspec


class Pass(msgspec.Struct, frozen=True):
    """The best pass over data that is read and written again and again."""

    reads: int
    """Arrays that are read for each one that is written: 1 in a copy, 2 in a sum."""
    ranks: int
    """That did so at once, each with data of its own."""
    bytes: int
    """Of all arrays of a rank together."""
    rate: float
    """Bytes per second read and written, by all these ranks together."""


class HostCeilings(msgspec.Struct, frozen=True, kw_only=True):
    """What was reached on a host."""

    clock_hz: float | None = None
    """Cycles per second of a core that is alone."""
    flop_per_s: dict[str, float] = {}
    """Of independent multiply-adds of a core that is alone, by dtype; empty where the width of its
    vectors is not known."""
    passes: tuple[Pass, ...] = ()
    line_s: float | None = None
    """Seconds in which a cache line passes from one core to another."""


def best_of(first: HostCeilings, second: HostCeilings) -> HostCeilings:
    """Return the higher ceiling of two of one host, one by one."""
    passes: dict[tuple[int, int, int], Pass] = {}
    for one in (*first.passes, *second.passes):
        key = (one.ranks, one.reads, one.bytes)
        if key not in passes or one.rate > passes[key].rate:
            passes[key] = one
    dtypes = dict.fromkeys((*first.flop_per_s, *second.flop_per_s))
    lines = [one.line_s for one in (first, second) if one.line_s is not None]
    return HostCeilings(
        clock_hz=max(first.clock_hz or 0.0, second.clock_hz or 0.0) or None,
        flop_per_s={
            dtype: max(first.flop_per_s.get(dtype, 0.0), second.flop_per_s.get(dtype, 0.0))
            for dtype in dtypes
        },
        passes=tuple(passes[key] for key in sorted(passes)),
        line_s=min(lines, default=None),
    )


def best_by_host(
    first: Mapping[str, HostCeilings], second: Mapping[str, HostCeilings]
) -> dict[str, HostCeilings]:
    """Return the best of each host that either knows."""
    nothing = HostCeilings()
    names = dict.fromkeys((*first, *second))
    return {name: best_of(first.get(name, nothing), second.get(name, nothing)) for name in names}


def pass_rate(passes: Iterable[Pass], reads: int, ranks: int, footprint: int) -> Pass | None:
    """Return the pass that no other over at least so many bytes of each rank is faster than.

    It is the fastest of those over more data and the next one over less: data of which more fits
    into a cache is not slower. Data smaller than that of any pass goes by the fastest of all.
    """
    known = [one for one in passes if one.reads == reads and one.ranks == ranks]
    at_most = [one.bytes for one in known if one.bytes <= footprint]
    least = max(at_most, default=0)
    return max((one for one in known if one.bytes >= least), key=lambda one: one.rate, default=None)
