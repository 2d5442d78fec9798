"""What a bound is found for: a case, where its ranks are, and what is known; and the bound."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench.core.records import Case
from bench.predict.bounds.hardware import Hardware

NONE = "none: "
"""What `bound_source` begins with where there is no bound."""

CEILING = "measured ceiling: "
"""What `bound_source` begins with where the bound is the best that was reached there by other
means, and no fact of the hardware."""


DETAIL = re.compile(r" \(([^()]*)\)$")
"""Of a ceiling: the numbers that it was made of."""


def is_ceiling(source: object) -> bool:
    """Return whether a bound is what was reached, not what the hardware is known to allow.

    Args:
        source: `bound_source` of a row, or what a table has where there is none.
    """
    return isinstance(source, str) and source.startswith(CEILING)


def bound_kind(source: str) -> str:
    """Return what a bound is, without the numbers of a ceiling, which differ from case to case."""
    return DETAIL.sub("", source) if is_ceiling(source) else source


class Bound(NamedTuple):
    """Seconds that one operation takes at least, and from what; None with the reason."""

    seconds: float | None
    source: str
    usual_s: float | None = None
    """What the same rates give without the burst of a shaped link; None without a bound."""


class Seats(NamedTuple):
    """Where the ranks of a case are."""

    hosts: tuple[str, ...]
    """Of each rank."""
    cores: Mapping[str, int] = {}
    """Logical CPUs of each host that its ranks may use; hosts are missing where unknown."""
    threads: int | None = None
    """BLAS threads of a rank."""
    link_bytes: int | None = None
    """Bytes through the busiest host, as counted on the schedules of all ranks."""
    sets: int | None = None
    """Of matrices that take turns."""
    gpu_cache_bytes: int | None = None
    """Of the last cache of a GPU."""


class Situation(NamedTuple):
    """A case, where it runs, and what is known of the hardware."""

    case: Case
    seats: Seats
    hardware: Hardware


Rule = Callable[[Situation], Bound]
"""Raises `Unbounded` with the reason where there is no bound."""


def memory_kind(case: Case) -> str:
    """Return the kind of memory of a case, the host's where it has no such axis."""
    return str(case.axes.get("memory", "host"))
