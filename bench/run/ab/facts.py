"""What two looks at a machine differ in."""

from collections.abc import Mapping
from typing import Any

from bench.core.errors import printable
from bench.machine.differences import find_odd, view_node
from bench.machine.facts import NodeFacts, read_records

_THEN, _NOW = "then", "now"
Facts = Mapping[str, dict[str, Any]]
"""Facts of nodes as they were sent, by host."""


def tell_changes(then: Facts, now: Facts) -> tuple[str, ...]:
    """Return what of each host is not as it was, in words; hosts of only one look say nothing."""
    told = []
    for host in sorted(then.keys() & now.keys()):
        read = read_records({_THEN: then[host], _NOW: now[host]}, NodeFacts)
        if len(read) < 2:
            continue
        views = {name: view_node(facts).split()[0] for name, facts in read.items()}
        values: dict[str, dict[str, str]] = {}
        for place, odd in find_odd(views).items():
            what = " ".join(filter(None, (place.part, place.slot, place.field)))
            values.setdefault(what, {})[place.host] = odd.value
        for what, by_time in values.items():
            before, after = (printable(by_time.get(t, "unknown")) for t in (_THEN, _NOW))
            told.append(f"{printable(what)} of {printable(host)} was {before} and is {after}")
    return tuple(told)
