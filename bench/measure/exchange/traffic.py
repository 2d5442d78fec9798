"""What really crosses links: bytes and messages counted on the schedules of all ranks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bench.core.records import Axis
from bench.core.schedule import Code, Steps
from bench.measure.exchange.parts import RankOnNode


class LinkTraffic(NamedTuple):
    """Of one operation."""

    link_bytes: int
    """Through the busiest network link of a node, in its busier direction."""
    sent_bytes: int
    """By the rank that sends most, to ranks of its own node too."""
    messages: int
    """Of all ranks."""

    def params(self) -> dict[str, Axis]:
        """Return it as facts of a row."""
        return {
            "link_bytes": self.link_bytes,
            "sent_bytes": self.sent_bytes,
            "messages": self.messages,
        }


def count_traffic(nodes: tuple[int, ...], steps_of: Callable[[RankOnNode], Steps]) -> LinkTraffic:
    """Count what the steps of all ranks send.

    Args:
        nodes: the node of each rank.
        steps_of: returns the steps of a rank; what their addresses are does not matter.
    """
    home = np.array(nodes)
    leaving, entering = (np.zeros(max(nodes) + 1, np.int64) for _ in range(2))
    most_sent = messages = 0
    for rank in range(len(nodes)):
        table = steps_of(RankOnNode(rank, nodes)).table
        sends = table[(table[:, 0] == Code.SEND) | (table[:, 0] == Code.ISEND)]
        nbytes, peers = sends[:, 2], sends[:, 3]
        crossing = home[peers] != nodes[rank]
        leaving[nodes[rank]] += nbytes[crossing].sum()
        np.add.at(entering, home[peers[crossing]], nbytes[crossing])
        most_sent = max(most_sent, int(nbytes.sum()))
        messages += len(sends)
    return LinkTraffic(int(max(leaving.max(), entering.max())), most_sent, messages)
