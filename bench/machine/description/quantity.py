"""A value of a machine description: how it is written, and what it is in base units.

bandwidth = "204.8 GB/s"                                  # a number and its unit
bandwidth = ["190 GB/s", "205 GB/s"]                      # somewhere between two
bandwidth = { value = "190 GB/s", source = "STREAM, 2026-11" }   # who says so; either of both
"""

import math
from typing import Any, ClassVar, Literal, Self

from bench.core.errors import nearest, printable
from bench.core.units import parse_bytes, parse_measure, parse_rate, parse_seconds
from bench.machine.catalogue import load

End = Literal["slow", "middle", "fast"]
"""Of a range: the end that makes a machine slow or fast, or the geometric middle."""
ENDS: tuple[End, ...] = ("slow", "middle", "fast")

_MOST = 1e18
_MOST_SOURCE = 200


class Quantity:
    """A value in base units, or the two that it lies between, and its source where it has one."""

    more_is_faster: ClassVar[bool] = True
    may_be_zero: ClassVar[bool] = False
    __slots__ = ("high", "low", "source")

    def __init__(self, low: float, high: float | None = None, source: str | None = None) -> None:
        self.low = low
        self.high = low if high is None else high
        self.source = source

    @staticmethod
    def parse(text: str) -> float:
        """Return the number of a text with its unit."""
        raise NotImplementedError

    @classmethod
    def read(cls, written: object) -> Self:
        """Return what a value of a file means.

        Raises:
            ValueError: where it means nothing; the text says what to write.
        """
        value, source = _sourced(written)
        written_ends = value if isinstance(value, list) else [value]
        ends = [end for end in written_ends if isinstance(end, str)]
        if not 1 <= len(written_ends) <= 2 or len(ends) < len(written_ends):
            raise ValueError(
                f"{printable(value)} is no value; write text with a unit, or two of them as a range"
            )
        numbers = [cls._one(end) for end in ends]
        if numbers[0] > numbers[-1]:
            raise ValueError(f"{printable(ends[0])} is over {printable(ends[1])}; the least first")
        return cls(numbers[0], numbers[-1], source)

    @classmethod
    def _one(cls, text: str) -> float:
        try:
            number = cls.parse(text)
        except ValueError as error:
            raise ValueError(printable(error, 200)) from error
        if number > _MOST or (number == 0 and not cls.may_be_zero):
            raise ValueError(f"{printable(text)} is none that a machine has; give one above 0")
        return number

    def at(self, end: End) -> float:
        """Return the value at an end of its range; all are the same where it is none."""
        if self.low == self.high:
            return self.low
        if end == "middle":
            return math.sqrt(self.low * self.high)
        return self.high if (end == "fast") is self.more_is_faster else self.low

    def _key(self) -> tuple[object, ...]:
        return self.low, self.high, self.source

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._key()}"


class Rate(Quantity):
    """Bytes per second and direction."""

    @staticmethod
    def parse(text: str) -> float:
        """Return bytes per second."""
        return parse_rate(text)

    __slots__ = ()


class Size(Quantity):
    """Bytes."""

    @staticmethod
    def parse(text: str) -> float:
        """Return bytes."""
        return parse_bytes(text)

    __slots__ = ()


class Duration(Quantity):
    """Seconds."""

    @staticmethod
    def parse(text: str) -> float:
        """Return seconds."""
        return parse_seconds(text)

    more_is_faster = False
    may_be_zero = True
    __slots__ = ()


class Frequency(Quantity):
    """Hz."""

    __slots__ = ()

    @staticmethod
    def parse(text: str) -> float:
        """Return Hz."""
        return parse_measure(text, "Hz")


class FlopRate(Quantity):
    """FLOP/s."""

    __slots__ = ()

    @staticmethod
    def parse(text: str) -> float:
        """Return FLOP/s."""
        return parse_measure(text, "FLOP/s")


class LinkRate(Rate):
    """A link of the catalogue by its name, or its payload rate in bytes per second each way."""

    __slots__ = ("name",)

    def __init__(
        self,
        low: float = 0.0,
        high: float | None = None,
        source: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(low, high, source)
        self.name = name
        """None where the rate is given instead."""

    @classmethod
    def read(cls, written: object) -> Self:
        """Return the link or rate that a value names.

        Raises:
            ValueError: where it names none; the nearest is named.
        """
        value, source = _sourced(written)
        if not isinstance(value, str) or (value[:1].isdigit() and not value.endswith("gbe")):
            return super().read(written)
        names = load().link_names()
        if value not in names:
            raise ValueError(f"{printable(value)!r} is not valid; {nearest(value, names)}")
        return cls(source=source, name=value)

    def _key(self) -> tuple[object, ...]:
        return *super()._key(), self.name


def read_quantity(kind: type, written: object) -> Any:
    """Read a value of a file for a field of one of the types above.

    Raises:
        ValueError: where it is none.
    """
    if issubclass(kind, Quantity):
        return kind.read(written)
    raise NotImplementedError(f"no value of a description is a {kind.__name__}")


def _sourced(written: object) -> tuple[object, str | None]:
    """Return the value, and its source where it is written with one."""
    if not isinstance(written, dict):
        return written, None
    for key in written:
        if key not in ("value", "source"):
            raise ValueError(f"unknown key {printable(key)}; {nearest(key, ('value', 'source'))}")
    source = written.get("source")
    if "value" not in written:
        raise ValueError("value is missing")
    if source is not None and not (isinstance(source, str) and 0 < len(source) <= _MOST_SOURCE):
        raise ValueError(f"source must be text of 1 to {_MOST_SOURCE} characters")
    return written["value"], source
