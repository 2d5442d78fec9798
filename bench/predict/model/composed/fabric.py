"""Where ranks are, what messages between them cost, and who sends to whom in which order."""

from typing import NamedTuple

import msgspec

from bench.predict.model.composed.path import MessagePath
from bench.predict.model.datasheet.rounds import Round


class Fabric(msgspec.Struct, frozen=True):
    """Where ranks are, and what messages between them cost."""

    nodes: tuple[int, ...]
    """The node of each rank, numbered from 0; every node with equally many ranks."""
    inside: MessagePath | None
    """Between ranks of a node; None where no two share one."""
    across: MessagePath | None
    """Between nodes; None where there is one alone."""
    inside_crossing: MessagePath | None = None
    """A message inside a node while another goes the other way; as without where not measured."""
    across_crossing: MessagePath | None = None
    """The same across nodes."""
    added_rate: float | None = None
    """Bytes per second that a rank adds to what it has; None where that is taken as free."""

    @property
    def ranks(self) -> int:
        """The world size."""
        return len(self.nodes)

    @property
    def per_node(self) -> int:
        """Ranks of a node."""
        return len(self.nodes) // len(set(self.nodes))


class Phase(NamedTuple):
    """Rounds that follow each other, and the bytes that each rank adds up meanwhile."""

    name: str
    rounds: tuple[Round, ...]
    added: float = 0.0
