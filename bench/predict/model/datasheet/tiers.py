"""What a node gets of a network whose switches have less going up than coming in.

k nodes hang on each switch, filled one after the other, and what leaves it is what they can send,
k B, over the oversubscription r. Of an exchange of n nodes:

- all send to all: of n - 1 parts that a node sends, n - k leave its switch, and its k nodes share
  k B / r: as if each had B (n - 1) / (n - k) / r;
- round a ring of nodes: what one node sends leaves each switch, by k B / r, so a node has no more.
"""

from typing import Literal

Pattern = Literal["all to all", "ring"]
PATTERNS: dict[str, Pattern] = {"naive": "all to all", "ring": "ring", "hierarchical": "ring"}
"""Of the algorithms whose traffic over switches is known here."""


def through_switches(
    network: float, pattern: Pattern, nodes: int, per_switch: int, oversubscription: float
) -> float:
    """Return the rate that a node has of its own, bytes per second and direction.

    Args:
        network: of a node alone.
        pattern: who sends to whom.
        nodes: that take part.
        per_switch: nodes on a switch.
        oversubscription: 1 or more.
    """
    if nodes <= per_switch:
        return network
    if pattern == "ring":
        return min(network, per_switch * network / oversubscription)
    return min(network, network * (nodes - 1) / (nodes - per_switch) / oversubscription)
