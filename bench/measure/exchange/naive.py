"""Every rank sends its whole gradient to every other one and adds what it receives.

The founding posts' exchange: g^2 (n - 1) m bytes through each NIC and direction. Posted
`at-once`, all messages are on their way together; in `rounds`, rank i sends to i + r in round r.
"""

from bench.core.schedule import Schedule
from bench.measure.exchange.parts import DTYPE, ITEM, Addresses, RankOnNode

POSTINGS = ("at-once", "rounds")


def room(place: RankOnNode, count: int, posting: str) -> int:
    """Return the numbers of room: the first gradient that comes is received where the sum goes."""
    if posting == "rounds":
        return count if place.ranks > 2 else 0
    return count * max(0, place.ranks - 2)


def write(schedule: Schedule, place: RankOnNode, at: Addresses, count: int, posting: str) -> None:
    """Write the sum of `count` numbers over all ranks."""
    if posting == "rounds":
        _in_rounds(schedule, place, at, count)
    else:
        _posted(schedule, place, at, count)


def _in_rounds(schedule: Schedule, place: RankOnNode, at: Addresses, count: int) -> None:
    nbytes, ranks = count * ITEM, place.ranks
    for distance in range(1, ranks):
        landing = at.total if distance == 1 else at.room
        target, source = (place.rank + distance) % ranks, (place.rank - distance) % ranks
        schedule.exchange(at.own, nbytes, target, landing, nbytes, source)
        schedule.add(at.total, at.own if distance == 1 else at.room, count, DTYPE)


def _posted(schedule: Schedule, place: RankOnNode, at: Addresses, count: int) -> None:
    nbytes, ranks = count * ITEM, place.ranks
    landings = [at.total, *(at.room + i * nbytes for i in range(ranks - 2))]
    for distance, landing in enumerate(landings, 1):
        schedule.start_receive(landing, nbytes, (place.rank - distance) % ranks)
    for distance in range(1, ranks):
        schedule.start_send(at.own, nbytes, (place.rank + distance) % ranks)
    schedule.wait()
    for addend in (at.own, *landings[1:]):
        schedule.add(at.total, addend, count, DTYPE)
