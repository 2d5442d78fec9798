"""Nodes that differ from the majority in what can move a number: one odd node slows all others."""

from collections import Counter
from collections.abc import Iterator
from statistics import median_low
from typing import Any

import msgspec

from bench.core.errors import printable
from bench.core.records import Finding

_COMPARED = (
    "system.os",
    "system.kernel",
    "cpu.model",
    "cpu.sockets",
    "cpu.cores",
    "cpu.smt",
    "cpu.governors",
    "blas",
    "gpus",
    "nics",
    "rdma",
    "packages",
    "libraries",
)
_OWN = ("uuid", "serial", "address", "guid", "pci.address", "clock", "throttle", "pcie", "link")
"""Parts of names of facts that belong to one piece of hardware or one moment."""
MOST_SKEW_S = 1.0
"""Between clocks. Nodes read theirs within a fraction of a second of each other, so less than this
cannot be told."""
_CLOCK = "clock"
_CLOCK_ADVICE = (
    "keep the clocks of all nodes with NTP or chrony, so that their logs can be compared; no time "
    "in this run is a difference between two nodes' clocks"
)
_ADVICE = "bring the nodes to the same state before comparing them"
_MEMORY_STEP = 2**30
"""Memory is compared in GiB: firmware takes some megabytes more on one node than on another."""


class Difference(msgspec.Struct, frozen=True):
    """A fact in which a node is not like most others."""

    host: str
    fact: str
    value: str
    majority: str


def find_differences(nodes: dict[str, dict[str, Any]]) -> list[Difference]:
    """Return every fact of every node that differs from what most nodes have.

    Args:
        nodes: facts by host, as builtins. Where no value is held by more than half of the nodes,
            the most frequent one is the majority, and the first of those in order of hosts.
    """
    flat = {host: dict(_flatten(facts)) for host, facts in nodes.items()}
    names = dict.fromkeys(name for facts in flat.values() for name in facts)
    found = []
    for name in names:
        values = {host: facts.get(name, "absent") for host, facts in flat.items()}
        common = Counter(values.values()).most_common(1)[0][0]
        found += [
            Difference(host, name, value, common)
            for host, value in values.items()
            if value != common
        ]
    return found + list(_find_clocks(nodes))


def _find_clocks(nodes: dict[str, dict[str, Any]]) -> Iterator[Difference]:
    """Return the nodes whose clock is over a second from that of the node in the middle."""
    read = {host: facts.get("clock_s") for host, facts in nodes.items()}
    clocks = {host: float(s) for host, s in read.items() if isinstance(s, int | float)}
    if not clocks:
        return
    middle_s = median_low(clocks.values())
    for host, clock_s in clocks.items():
        if abs(clock_s - middle_s) > MOST_SKEW_S:
            skew = f"{clock_s - middle_s:+.1f} s"
            yield Difference(host, _CLOCK, skew, f"within {MOST_SKEW_S:.0f} s of the median node")


def difference_findings(differences: list[Difference]) -> list[Finding]:
    """Return a warning for each difference."""
    return [
        Finding(
            name="odd-node",
            level="warning",
            text=f"{printable(d.host)} differs from most nodes in {d.fact}: "
            f"{printable(d.value)} instead of {printable(d.majority)}",
            advice=_CLOCK_ADVICE if d.fact == _CLOCK else _ADVICE,
        )
        for d in differences
    ]


def _flatten(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path in _COMPARED:
        value: Any = facts
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        yield from _leaves(path, value)
    total = (facts.get("memory") or {}).get("total")
    if isinstance(total, int):
        yield "memory", f"{round(total / _MEMORY_STEP)} GiB"


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not any(part in str(key) for part in _OWN):
                yield from _leaves(f"{path}.{key}", inner)
    elif isinstance(value, list | tuple):
        if all(not isinstance(item, dict) for item in value):
            yield path, ", ".join(map(str, value))
            return
        yield f"number of {path}", str(len(value))
        for i, item in enumerate(value):
            yield from _leaves(f"{path}[{i}]", item)
    elif value is not None:
        yield path, str(value)
