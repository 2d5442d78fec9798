"""What differs between two runs beside what they measured."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from bench.core.errors import printable

SHOWN = 200
"""Characters of a text."""


class Kind(StrEnum):
    """What a difference is one of; those that most often move a number come first."""

    COMMAND = "command line"
    SUITE = "suite"
    PROGRAM = "clusterbench"
    TRANSPORT = "transport"
    """What was seen to carry messages, not what was asked for."""
    SINGLE_COPY = "single copy"
    """How ranks of a node reach each other's memory."""
    HARDWARE = "hardware"
    CLOCKS = "clocks"
    DRIVER = "driver"
    FIRMWARE = "firmware"
    MPI = "MPI"
    LIBRARY = "communication library"
    LINK = "link"
    CARD = "network card settings"
    ENVIRONMENT = "environment"
    """Variables, files of settings and limits."""
    KERNEL = "kernel"
    BIOS = "BIOS"
    PACKAGE = "package"
    HOSTS = "hosts"
    PLACEMENT = "placement"
    TIME = "time"


RANKS = {kind: rank for rank, kind in enumerate(Kind)}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not alike on both sides, in printable words."""

    kind: Kind
    what: str
    """Such as `nics[eth0].mtu` or `--bind`."""
    a: str | None
    """What the first side has; None where nobody knows."""
    b: str | None
    hosts: tuple[str, ...] = ()
    """Those of both sides that it holds for alone; empty where it holds for all of them."""

    @property
    def known(self) -> bool:
        """Whether both sides are known: of one alone nobody can say that it differs."""
        return self.a is not None and self.b is not None


def differ(kind: Kind, what: str, a: str | None, b: str | None) -> Difference:
    """Return a difference of any texts, in printable words."""
    shown = [None if value is None else printable(value, SHOWN) for value in (a, b)]
    return Difference(kind=kind, what=printable(what, SHOWN), a=shown[0], b=shown[1])


def compare_maps(
    kind: Kind, prefix: str, a: Mapping[str, str], b: Mapping[str, str]
) -> Iterator[Difference]:
    """Yield the names whose values differ, or that one side alone was given."""
    for name in dict.fromkeys((*a, *b)):
        if a.get(name) != b.get(name):
            given = (side.get(name, "not given") for side in (a, b))
            yield differ(kind, f"{prefix}{name}", *given)
