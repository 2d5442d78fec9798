"""Findings about nodes that differ: each difference once, with its hosts folded."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bench.core.errors import printable
from bench.core.hostnames import fold_hosts
from bench.core.records import About, Finding
from bench.machine.compared import name_fact
from bench.machine.differences import CLOCK, Odd, Place
from bench.machine.parts import parts_on

ODD_NODE = "odd-node"
_MOST_VALUES = 4
"""Values that a finding names where each node may have its own."""
_LONG = 60
"""Characters of a value that is shown whole."""
_MOST_SHOWN = 200
_CLOCK_ADVICE = (
    "keep the clocks of all nodes with NTP or chrony, so that their logs can be compared; no time "
    "in this run is a difference between two nodes' clocks"
)
_ADVICE = "bring the nodes to the same state before comparing them"


class Difference(msgspec.Struct, frozen=True):
    """A fact in which hosts differ."""

    part: str
    slots: tuple[str, ...]
    """Of all devices of that kind for which this holds; empty where it is a fact of none."""
    field: str
    values: tuple[tuple[str, tuple[str, ...]], ...]
    """Each value with its hosts: one that is not that of most, or all where none is."""
    majority: str | None
    """What most hosts have; None where no value is that of most."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """All that have one of the values."""
        return tuple(sorted(host for _, hosts in self.values for host in hosts))

    @property
    def fact(self) -> str:
        """Its name for people; of several devices alike the first and how many more."""
        first, *more = self.slots or ("",)
        return name_fact(self.part, f"{first} and {len(more)} more" if more else first, self.field)


def fold_differences(odd: Mapping[Place, Odd]) -> list[Difference]:
    """Return each difference once, with all its hosts, and with all devices that differ alike.

    A card that is an interface and an RDMA device is one card: what both have is kept once.
    """
    hosts: dict[tuple[str, str, str, str | None, str | None], dict[str, list[str]]] = {}
    for place, values in odd.items():
        # Values of which none is that of most stand together.
        alone = values.value if values.majority is not None else None
        key = (place.part, place.slot, place.field, values.majority, alone)
        hosts.setdefault(key, {}).setdefault(values.value, []).append(place.host)
    slots: dict[Difference, list[str]] = defaultdict(list)
    seen = set()
    for (part, slot, field, majority, _), of_value in hosts.items():
        found = tuple((value, tuple(sorted(names))) for value, names in _commonest_first(of_value))
        difference = Difference(part, (), field, found, majority)
        same = (slot, field, majority, found)
        if same not in seen:
            seen.add(same)
            slots[difference].append(slot)
    return [
        msgspec.structs.replace(difference, slots=tuple(found) if difference.part else ())
        for difference, found in slots.items()
    ]


def _commonest_first(hosts: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    return sorted(hosts.items(), key=lambda pair: (-len(pair[1]), pair[0]))


def difference_findings(
    differences: Iterable[Difference], names: Mapping[tuple[str, str], str]
) -> list[Finding]:
    """Return a warning for each difference, with its hosts folded.

    Args:
        names: of the devices of a node, by part and slot, such as `gpu2`.
    """
    return [
        Finding(
            name=ODD_NODE,
            level="warning",
            text=_describe(difference),
            advice=_CLOCK_ADVICE if difference.field == CLOCK else _ADVICE,
            about=About(
                hosts=difference.hosts,
                parts=parts_on(
                    difference.hosts,
                    (names[d] for s in difference.slots if (d := (difference.part, s)) in names),
                ),
            ),
            value=None if difference.majority is None else _tell_apart(difference)[0],
            limit=None if difference.majority is None else _tell_apart(difference)[-1],
        )
        for difference in differences
    ]


def _tell_apart(difference: Difference) -> list[str]:
    """Return the values and that of most, to print."""
    most = [] if difference.majority is None else [difference.majority]
    return tell_apart([value for value, _ in difference.values] + most)


def tell_apart(values: Sequence[str]) -> list[str]:
    """Return values to print: of long lists only what not all of them have.

    A card has dozens of settings, and a port of counters.
    """
    if not any(len(value) > _LONG for value in values):
        return [printable(value) for value in values]
    lists = [value.split(", ") for value in values]
    common = set(lists[0]).intersection(*lists[1:])
    rest = [", ".join(entry for entry in entries if entry not in common) for entries in lists]
    return [printable(text or "none of these", _MOST_SHOWN) for text in rest]


def _describe(difference: Difference) -> str:
    fact = printable(difference.fact)
    values = _tell_apart(difference)
    if difference.majority is not None:
        ((_, hosts),) = difference.values
        return (
            f"{fold_hosts(hosts)} {'differs' if len(hosts) == 1 else 'differ'} from most nodes in "
            f"{fact}: {values[0]} instead of {values[-1]}"
        )
    shown = zip(values, difference.values, strict=True)
    each = [f"{value} on {fold_hosts(hosts)}" for value, (_, hosts) in shown]
    more = len(each) - _MOST_VALUES
    each = each[:_MOST_VALUES] + ([f"{more} more values elsewhere"] if more > 0 else [])
    doubt = ", and no value is that of most nodes" if len(difference.hosts) > 2 else ""
    return f"{fold_hosts(difference.hosts)} differ in {fact}{doubt}: {', '.join(each)}"
