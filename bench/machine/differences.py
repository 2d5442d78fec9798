"""Nodes that differ in what can move a number: one odd node slows all others.

Where no value is that of most nodes, as of two that differ, nobody knows which one is odd.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from statistics import median_low
from typing import NamedTuple, TypeVar

import msgspec

from bench.machine.compared import Leaf, Value, make_leaf, read_leaves, read_slots

MOST_SKEW_S = 1.0
"""Between clocks. Nodes read theirs within a fraction of a second of each other, so less than this
means nothing."""
CLOCK = "clock"
"""The name of that fact."""
_PRESENT, _ABSENT = "present", "absent"

Key = TypeVar("Key", bound=Hashable)
"""Names a host."""


class Place(NamedTuple):
    """One fact of one host."""

    part: str
    """The field of the device whose fact it is, such as `gpus`; empty where it is of none."""
    slot: str
    """Of that device."""
    field: str
    host: str


class Odd(NamedTuple):
    """What a host has, and what most have."""

    value: str
    majority: str | None
    """None where no value is that of most hosts."""


class View(msgspec.Struct, frozen=True):
    """What is compared of a node."""

    leaves: dict[Leaf, Value]
    slots: dict[str, tuple[str, ...]]

    def split(self) -> tuple["View", "View"]:
        """Return what no job changes, and what each job may."""
        lasting = {leaf: v for leaf, v in self.leaves.items() if not leaf.how.of_job}
        of_job = {leaf: v for leaf, v in self.leaves.items() if leaf.how.of_job}
        return View(lasting, self.slots), View(of_job, {})


def view_node(facts: msgspec.Struct) -> View:
    """Return what is compared of a node, of one record of facts."""
    return View(read_leaves(facts), read_slots(facts))


def find_odd(views: Mapping[str, View]) -> dict[Place, Odd]:
    """Return every value that is not what most hosts have, and all of a fact without such a value.

    Devices are compared by slot; one that is missing where most hosts have one is a difference.
    """
    leaves: dict[Leaf, dict[str, Value]] = defaultdict(dict)
    for host, values in place_devices(views).items():
        for leaf, value in values.items():
            leaves[leaf][host] = value
    found = {}
    for leaf, by_host in leaves.items():
        if leaf.missing is not None and len(by_host) < len(views):
            by_host = {host: by_host.get(host, leaf.missing) for host in views}
        alike, usual = find_usual(leaf, by_host.values())
        odd = {host: value for host, value in by_host.items() if not alike(value)}
        majority = usual if 2 * len(odd) < len(by_host) else None
        for host, value in by_host.items() if majority is None else odd.items():
            place = Place(leaf.part, leaf.slot, leaf.field, host)
            found[place] = Odd(show_value(leaf, value), majority)
    return found


def find_usual(leaf: Leaf, values: Collection[Value]) -> tuple[Callable[[Value], bool], str]:
    """Return a check whether a value is the commonest or the middle one, and that one as text."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if numbers:
        middle = median_low(numbers)
        within = leaf.how.within
        return lambda v: not isinstance(v, str) and abs(v - middle) <= within, show_value(
            leaf, middle
        )
    common = Counter(values).most_common(1)[0][0]
    return lambda value: value == common, show_value(leaf, common)


def show_value(leaf: Leaf, value: Value) -> str:
    """Return a value as it is shown to people."""
    return value if isinstance(value, str) else leaf.how.text(value)


def place_devices(views: Mapping[Key, View]) -> dict[Key, dict[Leaf, Value]]:
    """Return the values of every host, with its devices in the slots that most hosts have."""
    placed: dict[Key, dict[Leaf, Value]] = {
        host: {leaf: value for leaf, value in view.leaves.items() if not leaf.part}
        for host, view in views.items()
    }
    for part in dict.fromkeys(part for view in views.values() for part in view.slots):
        usual = usual_slots(views.values())[part]
        plans = {
            slots: _plan_slots(slots, usual)
            for slots in dict.fromkeys(view.slots[part] for view in views.values())
        }
        every = dict.fromkeys(slot for plan in plans.values() for slot in (plan or {}).values())
        for host, view in views.items():
            plan = plans[view.slots[part]]
            number = len(usual) if plan is not None else len(view.slots[part])
            placed[host][make_leaf("", "", f"number of {part}")] = str(number)
            if plan is not None:
                placed[host] |= _place(view, part, plan, every)
    return placed


def usual_slots(views: Collection[View]) -> dict[str, tuple[str, ...]]:
    """Return the slots that the devices of most nodes are in, by the field that holds them."""
    return {
        part: Counter(view.slots[part] for view in views).most_common(1)[0][0]
        for part in dict.fromkeys(part for view in views for part in view.slots)
    }


def _place(
    view: View, part: str, plan: Mapping[str, str], every: Iterable[str]
) -> dict[Leaf, Value]:
    """Return the values of a host's devices of one kind, and which of all slots have one."""
    there = set(plan.values())
    values: dict[Leaf, Value] = {
        make_leaf(part, slot, ""): _PRESENT if slot in there else _ABSENT for slot in every
    }
    for leaf, value in view.leaves.items():
        if leaf.part == part:
            slot = plan[leaf.slot]
            values[make_leaf(part, slot, leaf.field, leaf.missing, leaf.how)] = value
    return values


def _plan_slots(slots: tuple[str, ...], usual: tuple[str, ...]) -> dict[str, str] | None:
    """Return the usual slot for each slot of a node.

    As many devices elsewhere are paired in order: a firmware counts its buses another way. Where
    neither addresses nor numbers match, nobody knows which device is which: None.
    """
    if len(slots) == len(usual):
        return dict(zip(slots, usual, strict=True))
    if set(slots) <= set(usual) or set(slots) >= set(usual):
        return {slot: slot for slot in slots}
    return None


def find_odd_clocks(clocks_s: Mapping[str, float]) -> dict[Place, Odd]:
    """Return the hosts whose clock is over a second from that of the one in the middle.

    Where those are not fewer than the others, all hosts, as seconds after the earliest clock.
    """
    middle_s = median_low(clocks_s.values()) if clocks_s else 0.0
    off_s = {h: c - middle_s for h, c in clocks_s.items() if abs(c - middle_s) > MOST_SKEW_S}
    usual: str | None = f"within {MOST_SKEW_S:.0f} s of the median node"
    if 2 * len(off_s) >= len(clocks_s) > 0:
        earliest_s, usual = min(clocks_s.values()), None
        off_s = {host: clock_s - earliest_s for host, clock_s in clocks_s.items()}
    return {
        Place("", "", CLOCK, host): Odd(f"{by_s:+.1f} s", usual) for host, by_s in off_s.items()
    }
