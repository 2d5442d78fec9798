"""The catalogue: what vendors and standards state of links, adapters, GPUs and nodes, with sources.

The rows are the TOML files of the folder of the same name. Every number is text with its unit and
becomes base units here: bytes, bytes per second and direction, FLOP/s, Hz. A basis parts rates
apart: line (as the wire toggles), payload (after line coding), effective (as somebody measured
it). Rows that contradict themselves are refused when they are read: public catalogues are full of
them.
"""

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from bench.core.errors import RequestError, nearest, printable
from bench.core.units import parse_bytes, parse_measure, parse_rate

FOLDER = Path(__file__).parent

Each = Literal["each"]
"""Per direction; a sum of both directions has no place here."""


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    sources: tuple[str, ...]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document; `retrieved` is the month it was opened, None where it is cited by name only."""

    title: str
    retrieved: str | None = None


class Pcie(_Row, frozen=True, kw_only=True):
    """A PCIe generation: transfers per second and lane, and its line coding."""

    transfers: str
    coding: tuple[int, int]
    direction: Each
    flit: bool = False

    @property
    def transfers_per_s(self) -> float:
        """Of one lane and direction."""
        return parse_measure(self.transfers, "T/s")


class Link(_Row, frozen=True, kw_only=True):
    """InfiniBand or Ethernet: a rate on the line and one of payload."""

    title: str
    family: Literal["infiniband", "ethernet"]
    line: str
    payload: str
    direction: Each


class Fabric(_Row, frozen=True, kw_only=True):
    """Links between GPUs, of one GPU."""

    title: str
    per_link: str
    links: int
    payload: str
    direction: Each
    reduces: bool = False


class Nic(_Row, frozen=True, kw_only=True):
    """A network adapter: what a port can be and what its slot can be, best first."""

    title: str
    ports: tuple[str, ...]
    host: tuple[str, ...]


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Device memory; `pin` is the rate of one of `bus_bits` data lines."""

    kind: str
    size: str
    bus_bits: int
    pin: str
    bandwidth: str

    @property
    def nbytes(self) -> int:
        """Capacity."""
        return parse_bytes(self.size)

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return parse_rate(self.bandwidth)


class Peak(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A peak rate with what public tables leave out: what adds up, where, and at which clock."""

    dtype: str
    accumulate: str
    unit: Literal["vector", "packed", "tensor", "matrix"]
    rate: str
    clock: str
    clock_basis: Literal["base", "boost"]
    lanes: int
    dense: bool

    @property
    def flop_per_s(self) -> float:
        """As the vendor states it."""
        return parse_measure(self.rate, "FLOP/s")

    @property
    def clock_hz(self) -> float:
        """At which the vendor states it."""
        return parse_measure(self.clock, "Hz")


class Tiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows and columns of the pieces that a library cuts a product into."""

    shapes: tuple[tuple[int, int], ...]
    sources: tuple[str, ...]


class Gpu(_Row, frozen=True, kw_only=True):
    """A GPU."""

    title: str
    year: int
    multiprocessors: int
    form: Literal["card", "module"]
    host: str
    memory: Memory
    peaks: tuple[Peak, ...]
    models: tuple[str, ...] = ()
    """Names that its driver gives it."""
    dies: int = 1
    fabric: str | None = None
    reach: Literal["pair", "mesh", "switch"] | None = None
    tiles: Tiles | None = None


class Effective(_Row, frozen=True, kw_only=True):
    """A rate that was measured, beside the payload rate it is a part of."""

    title: str
    payload: str
    effective: str
    direction: Each
    reduces: bool = False


class Node(_Row, frozen=True, kw_only=True):
    """A published kind of node; payload is that of all its adapters together."""

    title: str
    gpu: str
    gpus: int
    payload: str
    direction: Each
    network_effective: str | None = None
    intra_effective: str | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """All rows by kind and name."""

    sources: dict[str, Source]
    pcie: dict[str, Pcie]
    links: dict[str, Link]
    fabrics: dict[str, Fabric]
    nics: dict[str, Nic]
    gpus: dict[str, Gpu]
    effective: dict[str, Effective]
    nodes: dict[str, Node]

    def link_names(self) -> list[str]:
        """Return every name that is a link; PCIe with every number of lanes."""
        slots = [f"{name}-x{lanes}" for name in self.pcie for lanes in (1, 2, 4, 8, 16)]
        return [*self.links, *slots, *self.fabrics]


Row = TypeVar("Row", bound=_Row)


@cache
def load() -> Catalogue:
    """Read the catalogue that comes with the program.

    Raises:
        ValueError: where a row is malformed or contradicts itself.
    """
    from bench.machine.catalogue.checks import contradictions

    catalogue = read(FOLDER)
    wrong = contradictions(catalogue)
    if wrong:
        raise ValueError("; ".join(wrong))
    return catalogue


def read(folder: Path) -> Catalogue:
    """Read the files of a folder without judging the rows.

    Raises:
        ValueError: where a file has an unknown key or a value of the wrong type.
    """
    text = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in _files(folder)}
    return Catalogue(
        sources=msgspec.convert(text["sources"], dict[str, Source]),
        pcie=_rows(text["pcie"], "pcie", Pcie),
        links={
            **_rows(text["infiniband"], "link", Link),
            **_rows(text["ethernet"], "link", Link),
        },
        fabrics=_rows(text["fabrics"], "fabric", Fabric),
        nics=_rows(text["nics"], "nic", Nic),
        gpus=_rows(text["gpus"], "gpu", Gpu),
        effective=_rows(text["effective"], "effective", Effective),
        nodes=_rows(text["nodes"], "node", Node),
    )


def find(rows: dict[str, Row], name: str, what: str) -> Row:
    """Return a row by name.

    Raises:
        RequestError: where there is none; the message names the nearest.
    """
    if name not in rows:
        raise RequestError(f"no {what} named {printable(name)!r}; {nearest(name, rows)}")
    return rows[name]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.toml"))


def _rows(document: dict[str, Any], key: str, kind: type[Row]) -> dict[str, Row]:
    convert: Callable[..., list[Row]] = msgspec.convert
    rows = convert(document[key], list[kind])  # type: ignore[valid-type]
    named = {row.name: row for row in rows}
    if len(named) != len(rows):
        raise ValueError(f"two rows of {key} share a name")
    return named
