"""What differs between two runs beside what they measured."""

from enum import StrEnum

import msgspec


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
