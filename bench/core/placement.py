"""Where ranks are: in even blocks, so that the first and the last one are on different nodes."""

from collections.abc import Sequence

import msgspec


class Placement(msgspec.Struct, frozen=True):
    """The ranks on each of the nodes that a job uses, in their order."""

    counts: tuple[int, ...]
    """Ranks on each node, at least one."""
    hosts: tuple[str, ...] = ()
    """The name that each node is asked for by; empty where a scheduler chooses them."""

    @property
    def nodes(self) -> int:
        """How many nodes have a rank."""
        return len(self.counts)

    @property
    def most_per_node(self) -> int:
        """Most ranks on one node."""
        return max(self.counts)

    def node_of_ranks(self) -> tuple[int, ...]:
        """Return the node of each rank, numbered from 0."""
        return tuple(node for node, count in enumerate(self.counts) for _ in range(count))

    def host_of_ranks(self) -> tuple[str, ...]:
        """Return the host of each rank; none where the hosts are not known."""
        return tuple(
            host for host, count in zip(self.hosts, self.counts, strict=False) for _ in range(count)
        )

    def blocks(self) -> dict[str, int]:
        """Return the ranks on each host by its name; none where the hosts are not known."""
        return dict(zip(self.hosts, self.counts, strict=False))


def place_ranks(ranks: int, nodes: int | Sequence[str]) -> Placement:
    """Return ranks in blocks, the first nodes with one more where they do not spread evenly.

    Args:
        ranks: at least one.
        nodes: how many there are, or their names; those that no rank is left for are not used.
    """
    count = nodes if isinstance(nodes, int) else len(nodes)
    each, more = divmod(ranks, count)
    counts = tuple(each + (node < more) for node in range(min(ranks, count)))
    return Placement(counts, () if isinstance(nodes, int) else tuple(nodes[: len(counts)]))
