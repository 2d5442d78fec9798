"""What benchmarks declare, by name, also where rows name a benchmark that is none of these."""

from typing import Literal

from bench.contracts import Part, Profile
from bench.measure import MEASUREMENTS

_PLACES = {name: place for place, name in enumerate(MEASUREMENTS)}


def profile_of(benchmark: str) -> Profile:
    """Return what a benchmark declares; one that is not known is a family of its own."""
    measurement = MEASUREMENTS.get(benchmark)
    return Profile(family=benchmark) if measurement is None else measurement.profile


def place_of(benchmark: str) -> int:
    """Return where a reader meets a benchmark, from 0; unknown ones come last."""
    return _PLACES.get(benchmark, len(_PLACES))


def size_axis_of(benchmark: str) -> str | None:
    """Return the axis that a benchmark's curves run along, or None where it is not known."""
    measurement = MEASUREMENTS.get(benchmark)
    return None if measurement is None else measurement.size_axis


def first_with(part: Part) -> str:
    """Return the first benchmark whose times are such a part of others."""
    return next(name for name, one in MEASUREMENTS.items() if one.profile.part == part)


def comparing(what: Literal["rates", "latencies"]) -> frozenset[str]:
    """Return the benchmarks whose pairs show that of hosts beside each other."""
    return frozenset(
        name for name, one in MEASUREMENTS.items() if one.profile.compares_hosts == what
    )
