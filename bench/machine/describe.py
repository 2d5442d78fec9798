"""Facts as text for a person: labels and values, and `unknown` where one is missing."""

from bench.core.errors import printable
from bench.core.units import format_bytes, parse_bytes

Rows = list[tuple[str, str]]
"""Label and value, both printable."""

UNKNOWN = "unknown"

_GIB = parse_bytes("1 GiB")
_MIB = parse_bytes("1 MiB")


def show(value: object, unit: str = "") -> str:
    """Return a fact as text with its unit, escaped; `unknown` where it is missing."""
    return UNKNOWN if value is None else f"{printable(value)}{unit}"


def format_memory(size: int | None) -> str:
    """Return a memory size to the GiB, or to the MiB below 8 GiB: no one reads it to the page."""
    if size is None:
        return UNKNOWN
    step = _GIB if size >= 8 * _GIB else _MIB
    return format_bytes(round(size / step) * step)


def format_count(number: int | None, noun: str) -> str:
    """Return `1 core`, `2 cores` or `unknown cores`."""
    return f"{show(number)} {noun}{'' if number == 1 else 's'}"
