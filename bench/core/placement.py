"""Where ranks are: in even blocks, so that the first and the last one are on different nodes.

Where a list of hosts counts the ranks of each, blocks are as even as the counts allow: as many
ranks as are counted are placed so, and two are a pair between hosts. MPI's own order would fill the
first host before it takes the next one.
"""

from collections.abc import Sequence

import msgspec

Limits = int | tuple[int | None, ...]
"""How many nodes there are, or the most ranks of each of them, None for one without a limit."""


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


def place_ranks(
    ranks: int, nodes: int | Sequence[str], counts: Sequence[int | None] = ()
) -> Placement:
    """Return ranks in blocks, the first nodes with one more where they do not spread evenly.

    No node gets more ranks than its count, as long as the counts suffice for all of them; beyond
    that they are passed over.

    Args:
        ranks: at least one.
        nodes: how many there are, or their names; those that no rank is left for are not used.
        counts: the most ranks of each node, None for one without a limit, which takes what the
            others leave; none of any if empty.
    """
    number = nodes if isinstance(nodes, int) else len(nodes)
    most = _most_ranks(ranks, counts) or [ranks] * number
    each = _fill_level(ranks, most)
    blocks = [min(each, one) for one in most]
    left = ranks - sum(blocks)
    for node, one in enumerate(most):
        if left and one > each:
            blocks[node] += 1
            left -= 1
    used = [node for node, block in enumerate(blocks) if block]
    names = () if isinstance(nodes, int) else tuple(nodes[node] for node in used)
    return Placement(tuple(blocks[node] for node in used), names)


def _most_ranks(ranks: int, counts: Sequence[int | None]) -> list[int]:
    """Return the most ranks of each node; none where counts do not suffice, or there are none."""
    open_ones = counts.count(None)
    left = ranks - sum(count for count in counts if count is not None)
    # A rank each, as long as the others have room.
    each, more = divmod(max(left, open_ones), open_ones) if open_ones else (0, 0)
    most = []
    for count in counts:
        most.append(each + (more > 0) if count is None else count)
        more -= count is None
    return most if sum(most) >= ranks else []


def place_within(ranks: int, limits: Limits) -> Placement:
    """Return ranks in blocks on nodes that nobody names."""
    if isinstance(limits, int):
        return place_ranks(ranks, limits)
    return place_ranks(ranks, len(limits), limits)


def _fill_level(ranks: int, most: Sequence[int]) -> int:
    """Return how many ranks every node gets that takes so many, without the rest of the division.

    The nodes that take fewest are filled first: what they leave is for the others.
    """
    left, others = ranks, len(most)
    for one in sorted(most):
        if one * others >= left:
            return left // others
        left -= one
        others -= 1
    return max(most)
