"""What differs between the nodes of two runs, by the facts that nodes are compared by.

What holds for a moment alone (free memory, clocks of an idle GPU) is no such fact.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from bench.core.errors import printable
from bench.core.hostnames import fold_hosts
from bench.judge.changed.kinds import kind_of_fact
from bench.judge.changed.records import SHOWN, Difference
from bench.machine.compared import Leaf, Value, name_fact
from bench.machine.differences import place_devices, show_value, view_node
from bench.machine.odd_nodes import tell_apart

_MOST_VALUES = 4
"""That are named where each host of a side may have its own."""
_TOLD_BY_RUN = ("packages.clusterbench",)


class _Host(NamedTuple):
    side: int
    name: str


class _Change(NamedTuple):
    """What two sides have; None where nobody knows."""

    a: str | None
    b: str | None
    hosts: tuple[str, ...] = ()


def find_node_changes(
    a: Mapping[str, msgspec.Struct], b: Mapping[str, msgspec.Struct]
) -> Iterator[Difference]:
    """Yield every fact in which the nodes of two runs differ, once for devices that differ alike.

    Args:
        a: facts of the nodes of one side, by host; not empty.
        b: of the other side.
    """
    hosts = [_Host(side, name) for side, facts in enumerate((a, b)) for name in facts]
    views = {host: view_node((a, b)[host.side][host.name]) for host in hosts}
    leaves: dict[Leaf, dict[_Host, Value]] = defaultdict(dict)
    for host, values in place_devices(views).items():
        for leaf, value in values.items():
            leaves[leaf][host] = value
    sides = {(leaf.part, leaf.slot): set[int]() for leaf in leaves}
    for leaf, by_host in leaves.items():
        sides[leaf.part, leaf.slot] |= {
            host.side for host, value in by_host.items() if leaf.field or value != "absent"
        }
    slots: dict[tuple[str, str, _Change], list[str]] = defaultdict(list)
    for leaf, by_host in leaves.items():
        if leaf.missing is not None:
            by_host = {host: by_host.get(host, leaf.missing) for host in hosts}
        # Of a device that one side does not have, that is all there is to tell.
        if leaf.part and leaf.field and len(sides[leaf.part, leaf.slot]) < 2:
            continue
        if name_fact(leaf.part, leaf.slot, leaf.field) in _TOLD_BY_RUN:
            continue
        for change in _compare(leaf, by_host):
            slots[leaf.part, leaf.field, change].append(leaf.slot)
    yield from _fold(slots)


def _compare(leaf: Leaf, by_host: Mapping[_Host, Value]) -> Iterator[_Change]:
    a, b = ({h.name: v for h, v in by_host.items() if h.side == side} for side in (0, 1))
    if not a or not b:
        yield _Change(_tell(leaf, a) if a else None, _tell(leaf, b) if b else None)
    elif a.keys() == b.keys():
        yield from _compare_hosts(leaf, a, b)
    elif not (_within(leaf, a, b) and _within(leaf, b, a)):
        yield _Change(_tell(leaf, a), _tell(leaf, b))


def _compare_hosts(leaf: Leaf, a: Mapping[str, Value], b: Mapping[str, Value]) -> Iterator[_Change]:
    alike = _alike(leaf)
    changed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for host, value in a.items():
        if not alike(value, b[host]):
            changed[show_value(leaf, value), show_value(leaf, b[host])].append(host)
    for (before, after), hosts in changed.items():
        yield _Change(before, after, () if len(hosts) == len(a) else tuple(sorted(hosts)))


def _within(leaf: Leaf, some: Mapping[str, Value], others: Mapping[str, Value]) -> bool:
    """Return whether each value of some hosts is one of the others'."""
    alike = _alike(leaf)
    every = set(others.values())
    return all(any(alike(value, other) for other in every) for value in set(some.values()))


def _alike(leaf: Leaf) -> Callable[[Value, Value], bool]:
    def compare(one: Value, other: Value) -> bool:
        if isinstance(one, str) or isinstance(other, str):
            return one == other
        return abs(one - other) <= leaf.how.within

    return compare


def _tell(leaf: Leaf, values: Mapping[str, Value]) -> str:
    """Return the value of a side, or each of several with its hosts."""
    hosts: dict[str, list[str]] = defaultdict(list)
    for host, value in values.items():
        hosts[show_value(leaf, value)].append(host)
    if len(hosts) == 1:
        return next(iter(hosts))
    each = [f"{value} on {fold_hosts(names)}" for value, names in sorted(hosts.items())]
    more = len(each) - _MOST_VALUES
    return "; ".join(each[:_MOST_VALUES] + ([f"{more} more values"] if more > 0 else []))


def _fold(slots: Mapping[tuple[str, str, _Change], list[str]]) -> Iterator[Difference]:
    seen = set()
    for (part, field, change), found in slots.items():
        # A card that is an interface and an RDMA device is one card.
        same = (tuple(found), field, change)
        if part and same in seen:
            continue
        seen.add(same)
        first, *more = found
        slot = f"{first} and {len(more)} more" if more else first
        a, b = _show(change)
        yield Difference(
            kind=kind_of_fact(part, field),
            what=printable(name_fact(part, slot, field), SHOWN),
            a=a,
            b=b,
            hosts=tuple(printable(host) for host in change.hosts),
        )


def _show(change: _Change) -> tuple[str | None, str | None]:
    if change.a is None or change.b is None:
        return _shorten(change.a), _shorten(change.b)
    a, b = tell_apart([change.a, change.b])
    return a, b


def _shorten(value: str | None) -> str | None:
    return None if value is None else printable(value, SHOWN)
