"""What the devices of a node are called as parts of it: `node1:gpu2`, `node1:nic0`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bench.core.hostnames import part
from bench.core.records import About, Finding
from bench.machine.compared import device_slots, read_slots

_CARDS = ("nics", "rdma")


def name_devices(slots: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], str]:
    """Return the name of each GPU and network card on its node, by field of the facts and slot.

    GPUs count as the driver does. Cards count by address, those without one last: an interface and
    an RDMA device on one card are one part.
    """
    names = {("gpus", slot): f"gpu{n}" for n, slot in enumerate(slots.get("gpus", ()))}
    cards = {_address(slot) for field in _CARDS for slot in slots.get(field, ())}
    number = {card: n for n, card in enumerate(sorted(cards, key=lambda c: (":" not in c, c)))}
    return names | {
        (field, slot): f"nic{number[_address(slot)]}"
        for field in _CARDS
        for slot in slots.get(field, ())
    }


def _address(slot: str) -> str:
    """Return the slot of the card; of devices that share one all but the first are numbered."""
    return slot.partition(" #")[0]


def named_devices(facts: msgspec.Struct, field: str) -> list[tuple[str, Any]]:
    """Return the devices of one field of a node's facts, each with its name on the node."""
    names, devices = name_devices(read_slots(facts)), getattr(facts, field)
    return [
        (names[field, slot], device)
        for slot, device in zip(device_slots(devices), devices, strict=True)
    ]


def place(finding: Finding, hosts: Iterable[str]) -> Finding:
    """Return a finding about a node and its parts as one about these hosts and theirs."""
    hosts = tuple(hosts)
    parts = parts_on(hosts, finding.about.parts)
    return msgspec.structs.replace(finding, about=About(finding.about.cases, hosts, parts))


def parts_on(hosts: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the parts of each host that have these names on it, such as `node1:gpu2`."""
    names = tuple(names)
    return tuple(part(host, name) for host in hosts for name in names)
