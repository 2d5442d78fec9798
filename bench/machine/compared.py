"""Which facts are compared between nodes: declared beside each field of the records of facts.

A field without a declaration is not compared: it names one piece of hardware (a serial number, an
address), holds for one moment (a temperature, free memory), or follows from a field that is.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import msgspec


class Compared(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How a field is compared; inside a record those of its fields are that are declared so too."""

    none: str | None = None
    """What None means, as text. Without it None is not known, and that is no difference."""
    within: float = 0.0
    """Numbers no further apart than this are alike."""
    text: Callable[[Any], str] = str
    """How a number is shown."""
    view: Callable[[Any, Any], Any] | None = None
    """From the value and the facts of its node: what is compared instead."""
    by_slot: bool = False
    """The field holds devices, each with a `slot`: the same place on every node like this one."""
    of_job: bool = False
    """The value may be another one in the next job, so that only nodes of one job are compared."""


COMPARED = Compared()
BY_SLOT = Compared(by_slot=True)


@functools.cache
def compared_fields(record: type[msgspec.Struct]) -> tuple[tuple[str, Compared], ...]:
    """Return the fields of a record that are compared, each with how."""
    hints = get_type_hints(record, include_extras=True)
    return tuple(
        (name, how)
        for name in record.__struct_fields__
        for how in getattr(hints[name], "__metadata__", ())
        if isinstance(how, Compared)
    )


class Leaf(msgspec.Struct, frozen=True, eq=False):
    """The name of one fact that is compared, and how; `make_leaf` makes each of them once."""

    part: str
    """The field that holds its device, such as `gpus`; empty where it is of no device."""
    slot: str
    """Of its device."""
    field: str
    """Such as `pcie.width_now`; empty for the device itself."""
    missing: str | None = None
    """What a node has that lacks it; None where its value is just not known there."""
    how: Compared = COMPARED


@functools.cache
def make_leaf(
    part: str, slot: str, field: str, missing: str | None = None, how: Compared = COMPARED
) -> Leaf:
    """Return the one leaf of these names: thousands of nodes have it, and it is looked up often."""
    return Leaf(part, slot, field, missing, how)


def name_fact(part: str, slot: str, field: str) -> str:
    """Return a fact's name, such as `cpu.model` or `gpus[0000:18:00.0].pcie.width_now`."""
    device = f"{part}[{slot}]" if part else ""
    return ".".join(word for word in (device, field) if word)


Value = str | float


def read_leaves(record: msgspec.Struct) -> dict[Leaf, Value]:
    """Return the values of a node that are compared."""
    return dict(_record_leaves(record, make_leaf("", "", ""), record))


def read_slots(record: msgspec.Struct) -> dict[str, tuple[str, ...]]:
    """Return the slots of a node's devices in order, by field."""
    return {
        name: device_slots(getattr(record, name))
        for name, how in compared_fields(type(record))
        if how.by_slot
    }


def device_slots(devices: tuple[Any, ...]) -> tuple[str, ...]:
    """Return a name of its place for each device; those that share a place are numbered."""
    seen: Counter[str] = Counter()
    slots = []
    for device in devices:
        slots.append(f"{device.slot} #{seen[device.slot]}" if seen[device.slot] else device.slot)
        seen[device.slot] += 1
    return tuple(slots)


def _record_leaves(
    record: msgspec.Struct, at: Leaf, node: msgspec.Struct
) -> Iterator[tuple[Leaf, Value]]:
    for name, how in compared_fields(type(record)):
        value = getattr(record, name)
        if how.view is not None:
            value = how.view(value, node)
        field = f"{at.field}.{name}" if at.field else name
        leaf = make_leaf(at.part, at.slot, field, how=how)
        if value is None and how.none is not None:
            yield leaf, how.none
        elif isinstance(value, msgspec.Struct):
            yield from _record_leaves(value, leaf, node)
        elif how.by_slot:
            for slot, device in zip(device_slots(value), value, strict=True):
                own = (at.part, at.slot, f"{field}[{slot}]") if at.part else (name, slot, "")
                place = make_leaf(*own)
                yield from _record_leaves(device, place, node)
        elif value is not None:
            yield from _value_leaves(value, leaf)


def _value_leaves(value: Any, leaf: Leaf) -> Iterator[tuple[Leaf, Value]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            own = make_leaf(leaf.part, leaf.slot, f"{leaf.field}.{key}", "absent", leaf.how)
            yield own, "absent" if entry is None else str(entry)
    elif isinstance(value, tuple):
        yield leaf, ", ".join(map(str, value)) or "none"
    elif leaf.how.within or isinstance(value, str):
        yield leaf, value
    else:
        yield leaf, leaf.how.text(value)
