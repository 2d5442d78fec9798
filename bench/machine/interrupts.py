"""Which CPUs may serve the interrupts of a device, and whether they are near it."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from bench.machine.memory import NumaNode
from bench.machine.sysfs import (
    cpu_list_text,
    list_numbered,
    parse_cpu_list,
    read_cpu_list,
    read_natural,
    read_word,
)

_MANY_CPUS = 8
"""In a smaller machine one CPU is a fair share."""
_NO_TRAFFIC = re.compile(r"async|config|mgmnt|misc|pages|cmd|ctrl|control|admin|event|aen|fatal")
"""Names of interrupts that tell of the device itself, which nobody cares to place."""


def read_interrupt_cpus(root: Path, device: Path) -> str | None:
    """Return the CPUs that may serve the interrupts of the queues of a device, as a list.

    Args:
        root: of the node's files.
        device: the folder of the PCI device.
    """
    numbers = [number for number, _ in list_numbered(device / "msi_irqs", "")]
    line = read_natural(device / "irq")
    if not numbers and line:
        numbers = [line]
    names = {n: read_word(root / f"sys/kernel/irq/{n}/actions") or "" for n in numbers}
    # One without a name is allotted to the device, and not in use.
    used = [number for number, name in names.items() if name] or numbers
    queues = [number for number in used if not _NO_TRAFFIC.search(names[number])] or used
    cpus: set[int] = set()
    for number in queues:
        cpus.update(read_cpu_list(root / f"proc/irq/{number}/smp_affinity_list") or ())
    return cpu_list_text(cpus) or None


@functools.lru_cache
def place_interrupts(cpus: str | None, numa: tuple[NumaNode, ...]) -> str | None:
    """Return where interrupts are served, such as `NUMA 0` or `CPU 3, NUMA 0`.

    A service such as irqbalance moves them from CPU to CPU all the time: what tells nodes apart is
    whether they are on one CPU, and in which parts of the memory. Thousands of nodes are alike.
    """
    served = parse_cpu_list(cpus) if cpus else None
    if not served:
        return None
    nodes = [
        f"NUMA {node.node}"
        for node in numa
        if {*served}.intersection(parse_cpu_list(node.cpus or "") or ())
    ]
    alone = [f"CPU {served[0]}"] if len(served) == 1 else []
    return ", ".join([*alone, *nodes]) or "several CPUs"


def are_far(cpus: str | None, own: int | None, numa: Sequence[NumaNode]) -> bool:
    """Return whether all CPUs that serve interrupts are known to be on other NUMA nodes."""
    near = next((parse_cpu_list(node.cpus or "") for node in numa if node.node == own), None)
    served = parse_cpu_list(cpus) if cpus else None
    return near is not None and served is not None and {*served}.isdisjoint(near) and near != ()


def is_crowded(cpus: str | None, logical: int | None) -> bool:
    """Return whether one CPU of many serves all interrupts."""
    served = parse_cpu_list(cpus) if cpus else None
    return served is not None and len(served) == 1 and (logical or 0) >= _MANY_CPUS
