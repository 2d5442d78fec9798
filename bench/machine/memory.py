"""Facts of main memory and of the NUMA nodes it hangs on."""

import re
from pathlib import Path
from typing import Annotated

import msgspec

from bench.machine.compared import COMPARED, Compared
from bench.machine.cpu import cgroup_folders
from bench.machine.describe import Rows, format_memory, show
from bench.machine.sysfs import (
    cpu_list_text,
    list_numbered,
    read_cpu_list,
    read_kib_lines,
    read_natural,
    read_word,
)

SIZE = Compared(within=2.0**30, text=format_memory)
"""Firmware takes some megabytes more on one node than on another; no module is so small."""

_LIMIT = Compared(none="no limit", text=format_memory, of_job=True)
_NODES = "sys/devices/system/node"
_HUGE_PAGES = "sys/kernel/mm/transparent_hugepage"


class MemoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory of a node, in bytes."""

    total: Annotated[int | None, SIZE] = None
    available: int | None = None
    """What can be taken now without swapping, by the kernel's own estimate."""
    limit: Annotated[int | None, _LIMIT] = None
    """The least memory limit of the cgroups that this process is in; None where there is none."""
    huge_pages: Annotated[str | None, COMPARED] = None
    """When memory comes in transparent huge pages: always, madvise or never."""
    defrag: Annotated[str | None, COMPARED] = None
    """When a process waits until the kernel has made room for one: always, never and others."""
    numa_balancing: Annotated[bool | None, Compared(text=lambda on: "on" if on else "off")] = None
    """Whether the kernel moves pages to the node that uses them, which it finds by faults."""


class NumaNode(msgspec.Struct, frozen=True, kw_only=True):
    """CPUs and memory that are close to each other."""

    node: int
    cpus: Annotated[str | None, COMPARED] = None
    """The kernel's list form, such as `0-63,128-191`; empty for a node of memory alone."""
    memory: Annotated[int | None, SIZE] = None

    @property
    def slot(self) -> str:
        """Its number."""
        return str(self.node)


def read_memory(root: Path) -> MemoryFacts:
    """Read the facts of main memory below `root`."""
    lines = read_kib_lines(root / "proc/meminfo")
    balancing = read_natural(root / "proc/sys/kernel/numa_balancing")
    limits = [read_natural(folder / "memory.max") for folder in cgroup_folders(root)]
    limits += [
        # Without a limit it is the most that a page counter holds, of 19 digits: none is read.
        read_natural(folder / "memory.limit_in_bytes")
        for folder in cgroup_folders(root, "memory")
    ]
    return MemoryFacts(
        total=lines.get("MemTotal"),
        available=lines.get("MemAvailable"),
        limit=min((limit for limit in limits if limit is not None), default=None),
        huge_pages=_read_choice(root / _HUGE_PAGES / "enabled"),
        defrag=_read_choice(root / _HUGE_PAGES / "defrag"),
        numa_balancing=None if balancing is None else balancing > 0,
    )


def read_free_memory(root: Path) -> int | None:
    """Return the bytes that this process can still take, as far as the kernel tells.

    Rather too little is told: what a cgroup has taken holds pages of files, which it gives back.
    """
    free = [read_kib_lines(root / "proc/meminfo").get("MemAvailable")]
    for controller, limit, used in (
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        for folder in cgroup_folders(root, controller):
            most = read_natural(folder / limit)
            if most is not None:
                free.append(max(0, most - (read_natural(folder / used) or 0)))
    return min((size for size in free if size is not None), default=None)


def _read_choice(path: Path) -> str | None:
    """Return the word in brackets, which is how the kernel shows which of several holds."""
    match = re.search(r"\[([\w+]{1,20})\]", read_word(path) or "", re.ASCII)
    return match[1] if match else None


def read_numa(root: Path) -> tuple[NumaNode, ...]:
    """Read the NUMA nodes below `root`; none where the kernel does not list them."""
    nodes = []
    for number, folder in list_numbered(root / _NODES, "node"):
        cpus = read_cpu_list(folder / "cpulist")
        lines = read_kib_lines(folder / "meminfo")
        nodes.append(
            NumaNode(
                node=number,
                cpus=None if cpus is None else cpu_list_text(cpus),
                memory=lines.get("MemTotal"),
            )
        )
    return tuple(nodes)


def memory_rows(memory: MemoryFacts, numa: tuple[NumaNode, ...]) -> Rows:
    """Return the facts of memory for a person."""
    limit = (
        "" if memory.limit is None else f", limited to {format_memory(memory.limit)} by a cgroup"
    )
    size = f"{format_memory(memory.total)}, {format_memory(memory.available)} available{limit}"
    nodes = [
        (
            f"NUMA {n.node}",
            f"CPUs {'none' if n.cpus == '' else show(n.cpus)}, {format_memory(n.memory)}",
        )
        for n in numa
    ]
    balancing = {None: "unknown", True: "on", False: "off"}[memory.numa_balancing]
    pages = f"transparent huge pages {show(memory.huge_pages)}, NUMA balancing {balancing}"
    return [("Memory", size), ("Pages", pages), *(nodes or [("NUMA", "unknown")])]
