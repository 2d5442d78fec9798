"""One flat ring over all ranks: parts are added on their way round, then handed round.

p - 1 messages of m / p twice, all links at work at once (Patarasu and Yuan, JPDC 2009).
"""

from collections.abc import Sequence

from bench.core.schedule import Schedule
from bench.measure.exchange.parts import DTYPE, ITEM, Addresses, RankOnNode, cut_evenly, shift


def write(schedule: Schedule, place: RankOnNode, at: Addresses, count: int) -> None:
    """Write the sum of `count` numbers over all ranks; needs no room."""
    members = range(place.ranks)
    bounds = cut_evenly(count, place.ranks)
    reduce_scatter(schedule, members, place.rank, at.own, at.total, bounds)
    all_gather(schedule, members, place.rank, at.total, bounds)


def reduce_scatter(
    schedule: Schedule,
    members: Sequence[int],
    me: int,
    own: int,
    total: int,
    bounds: Sequence[int],
) -> None:
    """Leave the sum of part `me` at its place in `total`; the others' partial sums lie beside it.

    Args:
        schedule: to write on.
        members: ranks of the ring, in order.
        me: this rank's place among them.
        own: address of its numbers, which stay as they are.
        total: address of as many numbers.
        bounds: of one part for each member.
    """
    ring = len(members)
    for step in range(ring - 1):
        outgoing, incoming = (me - step - 1) % ring, (me - step - 2) % ring
        _pass_on(schedule, members, me, (own if step == 0 else total, total), bounds, outgoing)
        first, last = bounds[incoming], bounds[incoming + 1]
        if last > first:
            schedule.add(shift(total, first), shift(own, first), last - first, DTYPE)


def all_gather(
    schedule: Schedule,
    members: Sequence[int],
    me: int,
    where: int,
    bounds: Sequence[int],
    item: int = ITEM,
) -> None:
    """Give every member all parts, where each has its own in place.

    Args:
        schedule: to write on.
        members: ranks of the ring, in order.
        me: this rank's place among them.
        where: address of all parts.
        bounds: of one part for each member, in items.
        item: bytes of an item.
    """
    for step in range(len(members) - 1):
        _pass_on(schedule, members, me, (where, where), bounds, (me - step) % len(members), item)


def _pass_on(
    schedule: Schedule,
    members: Sequence[int],
    me: int,
    where: tuple[int, int],
    bounds: Sequence[int],
    part: int,
    item: int = ITEM,
) -> None:
    """Send a part to the next member and receive the one before it; empty ones are not sent."""
    ring = len(members)
    source, target = where
    before = (part - 1) % ring
    size, incoming = (item * (bounds[p + 1] - bounds[p]) for p in (part, before))
    if incoming:
        left = members[(me - 1) % ring]
        schedule.start_receive(target + item * bounds[before], incoming, left)
    if size:
        schedule.start_send(source + item * bounds[part], size, members[(me + 1) % ring])
    schedule.wait()
