"""In which order launches are measured.

Where the arms set what differs, each block has one launch of both, so that neighbours can be held
against each other, and which comes first is drawn. Of every two blocks one begins with A and one
with B, in random order: a steady drift then falls on both sides alike. Where somebody changes
something by hand, half of A is measured before, and half after it was changed back.
"""

import random
from collections.abc import Sequence

from bench.store.ab import SIDES, Slot

FIRST_BLOCK = 1
"""0 is for launches that share nothing."""


def interleave(seed: int, launches: int, begin: int = 0) -> list[Slot]:
    """Return the slots of launches of both sides, from `begin` on; more of them change no earlier.

    Args:
        seed: of the order.
        launches: of each side, with those before `begin`.
        begin: the first one.
    """
    return [
        Slot(side=side, launch=launch, block=FIRST_BLOCK + launch)
        for launch in range(begin, launches)
        for side in _order(seed, launch)
    ]


def _order(seed: int, launch: int) -> Sequence[str]:
    """Return the sides in the order of a block: of each two, one is turned round."""
    drawn = random.Random(f"{seed}/{launch // 2}").random() < 0.5  # noqa: S311 - no secret
    return SIDES if drawn == (launch % 2 == 0) else SIDES[::-1]


def change_by_hand(launches: int) -> list[Slot]:
    """Return half of A, all of B, and the other half of A; `period` counts the changes before."""
    a, b = SIDES
    half = launches // 2
    return [
        *(Slot(side=a, launch=launch, period=0) for launch in range(half)),
        *(Slot(side=b, launch=launch, period=1) for launch in range(launches)),
        *(Slot(side=a, launch=launch, period=2) for launch in range(half, launches)),
    ]


def count_launches(slots: Sequence[Slot], side: str) -> int:
    """Return how many launches of a side these are, with those before them."""
    return max((1 + slot.launch for slot in slots if slot.side == side), default=0)


def until_change(slots: Sequence[Slot], by_hand: bool) -> list[Slot]:
    """Return the slots, done or not, up to the next change by hand after which any is left."""
    left = [slot for slot in slots if slot.state != "done"]
    if not by_hand or not left:
        return list(slots)
    return [slot for slot in slots if (slot.period or 0) <= (left[0].period or 0)]


def next_slots(slots: Sequence[Slot]) -> list[Slot]:
    """Return what is measured next: one slot, or several that are measured side by side.

    Side by side are slots that follow each other in one period, each of another side and on hosts
    of its own. None are left where the list is empty.
    """
    left = [slot for slot in slots if slot.state != "done"]
    chosen = left[:1]
    for slot in left[1:]:
        if not _is_beside(slot, chosen):
            break
        chosen.append(slot)
    return chosen


def _is_beside(slot: Slot, chosen: Sequence[Slot]) -> bool:
    hosts = {host for other in chosen for host in other.hosts}
    return (
        bool(slot.hosts)
        and all(other.hosts for other in chosen)
        and all(other.side != slot.side for other in chosen)
        and all((other.period, other.block) == (slot.period, slot.block) for other in chosen)
        and not hosts.intersection(slot.hosts)
    )
