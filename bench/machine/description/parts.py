"""The tables of a machine description; `bench.machine.description` shows a file."""

from typing import Annotated

import msgspec
from msgspec import Meta

from bench.machine.description.quantity import (
    Duration,
    FlopRate,
    Frequency,
    LinkRate,
    Quantity,
    Rate,
    Size,
)

MOST_NODES = 1_000_000
Few = Annotated[int, Meta(ge=1, le=1024)]
Word = Annotated[str, Meta(min_length=1, max_length=253)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; None is not stated."""


class Peaks(Part, frozen=True, kw_only=True):
    """FLOP/s by dtype, dense, that nothing exceeds."""

    fp64: FlopRate | None = None
    fp32: FlopRate | None = None
    tf32: FlopRate | None = None
    fp16: FlopRate | None = None
    bf16: FlopRate | None = None
    fp8: FlopRate | None = None

    def of(self, dtype: str) -> FlopRate | None:
        """Return the rate for a dtype; None where it is not stated."""
        rate: FlopRate | None = getattr(self, dtype, None)
        return rate


class Cpu(Part, frozen=True, kw_only=True):
    """All processors of a node together."""

    clock: Frequency | None = None
    """That no core exceeds."""


class Memory(Part, frozen=True, kw_only=True):
    """The main memory of a node."""

    bandwidth: Rate | None = None


class Gpu(Part, frozen=True, kw_only=True):
    """The GPUs of a node, all alike."""

    model: Word | None = None
    """Of the catalogue."""
    count: Few | None = None
    peak: Peaks = Peaks()
    """Of one GPU, as the rest."""
    memory: Size | None = None
    bandwidth: Rate | None = None
    link: LinkRate | None = None
    """To the other GPUs of its node."""


class Nic(Part, frozen=True, kw_only=True):
    """The network adapters of a node that are used at once, all alike, by one port each."""

    model: Word | None = None
    """Of the catalogue: its best port, in its best slot."""
    count: Few = 1
    link: LinkRate | None = None
    line: Rate | None = None
    """What the wire of an Ethernet link toggles, frames and all."""
    slot: LinkRate | None = None
    mtu: Annotated[int, Meta(ge=68, le=2**20)] | None = None
    """Bytes."""
    burst: Size | None = None
    """What a shaped link lets pass at once after a pause."""


class Node(Part, frozen=True, kw_only=True):
    """A node."""

    model: Word | None = None
    """Of the catalogue; what the other tables state beats it."""
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    gpu: Gpu = Gpu()
    nic: Nic = Nic()


class Network(Part, frozen=True, kw_only=True):
    """How nodes are joined."""

    latency: Duration | None = None
    """Of a message between two ranks."""
    reduces: bool = False
    """Whether switches add up what passes them."""
    nodes_per_switch: Annotated[int, Meta(ge=1, le=MOST_NODES)] | None = None
    """Of the switches that nodes hang on, filled one after the other."""
    oversubscription: Annotated[float, Meta(ge=1, le=1000)] | None = None
    """What the nodes of such a switch can send over what can leave it."""


class Description(Part, frozen=True, kw_only=True):
    """A machine: its nodes are alike, and what joins them."""

    source: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    hosts: Annotated[tuple[Word, ...], Meta(max_length=MOST_NODES)] = ()
    nodes: Annotated[int, Meta(ge=1, le=MOST_NODES)] | None = None
    node: Node = Node()
    network: Network = Network()

    def names(self, host: str) -> bool:
        """Return whether this describes a host, by its full name or the first part of it."""
        short = {name.partition(".")[0] for name in self.hosts}
        return not self.hosts or host.partition(".")[0] in short

    def count_nodes(self) -> int | None:
        """Return how many nodes there are; None where it is not stated."""
        return self.nodes or len(self.hosts) or None

    def source_of(self, *values: Quantity | None) -> str | None:
        """Return who states some values: their own sources, else that of the whole file."""
        own = [value.source for value in values if value is not None and value.source]
        return "; ".join(dict.fromkeys(own)) or self.source
