"""Add inside the node, cross the network once, spread inside the node.

A gradient is cut into as many parts as the smallest node has ranks. Each of them adds up one part
for its node, a ring over the nodes adds the nodes' sums, and the node's other ranks receive them.
Each NIC carries 2 (n - 1) / n m each way, the least of any exchange without sums in switches.
"""

from collections import Counter

from bench.core.schedule import Schedule
from bench.measure.exchange.parts import DTYPE, ITEM, Addresses, RankOnNode, cut_evenly, shift
from bench.measure.exchange.ring import all_gather, reduce_scatter


def room(place: RankOnNode, count: int) -> int:
    """Return the numbers of room: the node's sum of a part, and that part of every neighbour."""
    parts = min(Counter(place.nodes).values())
    return -(-count // parts) * len(place.members(place.nodes[place.rank]))


def write(schedule: Schedule, place: RankOnNode, at: Addresses, count: int) -> None:
    """Write the sum of `count` numbers over all ranks."""
    neighbours = place.members(place.nodes[place.rank])
    nodes = sorted(set(place.nodes))
    bounds = cut_evenly(count, min(Counter(place.nodes).values()))
    mine = neighbours.index(place.rank)
    owns = mine < len(bounds) - 1
    partial = _gather(schedule, place, at, neighbours, bounds)
    if owns and len(nodes) > 1:
        first, last = bounds[mine], bounds[mine + 1]
        ring = [place.members(node)[mine] for node in nodes]
        cuts = cut_evenly(last - first, len(ring))
        me = ring.index(place.rank)
        total = shift(at.total, first)
        reduce_scatter(schedule, ring, me, partial, total, cuts)
        all_gather(schedule, ring, me, total, cuts)
    _spread(schedule, place, at, neighbours, bounds)


def _gather(
    schedule: Schedule, place: RankOnNode, at: Addresses, neighbours: list[int], bounds: list[int]
) -> int:
    """Add up this rank's part over the node; return where the node's sum of it lies."""
    mine = neighbours.index(place.rank)
    parts = len(bounds) - 1
    first, size = (bounds[mine], bounds[mine + 1] - bounds[mine]) if mine < parts else (0, 0)
    own = shift(at.own, first)
    one_node = len(set(place.nodes)) == 1
    partial = shift(at.total, first) if one_node else at.room
    landings: list[int] = []
    for other in neighbours:
        if other != place.rank and size:
            landings.append(shift(at.room, size * len(landings)) if landings else partial)
            schedule.start_receive(landings[-1], size * ITEM, other)
    for part, owner in enumerate(neighbours[:parts]):
        nbytes = (bounds[part + 1] - bounds[part]) * ITEM
        if owner != place.rank and nbytes:
            schedule.start_send(shift(at.own, bounds[part]), nbytes, owner)
    schedule.wait()
    for addend in (own, *landings[1:]) if landings else ():
        schedule.add(partial, addend, size, DTYPE)
    return partial if landings else own


def _spread(
    schedule: Schedule, place: RankOnNode, at: Addresses, neighbours: list[int], bounds: list[int]
) -> None:
    """Hand the sum of this rank's part to its neighbours, and receive theirs."""
    mine = neighbours.index(place.rank)
    for part, owner in enumerate(neighbours[: len(bounds) - 1]):
        nbytes = (bounds[part + 1] - bounds[part]) * ITEM
        if owner != place.rank and nbytes:
            schedule.start_receive(shift(at.total, bounds[part]), nbytes, owner)
    if mine < len(bounds) - 1 and bounds[mine + 1] > bounds[mine]:
        nbytes = (bounds[mine + 1] - bounds[mine]) * ITEM
        for other in neighbours:
            if other != place.rank:
                schedule.start_send(shift(at.total, bounds[mine]), nbytes, other)
    schedule.wait()
