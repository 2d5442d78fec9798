"""Which CPUs and which memory of the host are near a GPU, as its PCI device in sysfs says."""

import contextlib
import os
import re
from pathlib import Path

from bench.machine.memory import read_numa
from bench.machine.sysfs import parse_cpu_list, read_cpu_list, read_natural

_DEVICES = "sys/bus/pci/devices"
_ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")


def sysfs_address(text: str) -> str | None:
    """Return a PCI address as sysfs spells it: `0000:3b:00.0` for NVML's `00000000:3B:00.0`."""
    match = _ADDRESS.fullmatch(text.lower())
    return f"{int(match[1], 16):04x}:{match[2]}:{match[3]}.{match[4]}" if match else None


def near_cpus(root: Path, address: str) -> frozenset[int]:
    """Return the logical CPUs near a PCI device, none where that is not known."""
    folder = root / _DEVICES / (sysfs_address(address) or "none")
    return frozenset(read_cpu_list(folder / "local_cpulist") or ())


def move_near(address: str, root: Path = Path("/")) -> None:
    """Run this thread, and what it starts, on the CPUs near a GPU, of those it may run on.

    A rank that may run on none of them stays where it is.
    """
    own = os.sched_getaffinity(0)
    wanted = own & near_cpus(root, address)
    if wanted and wanted != own:
        with contextlib.suppress(OSError):  # a cpuset that has become smaller since
            os.sched_setaffinity(0, wanted)


def numa_of_device(root: Path, address: str) -> int | None:
    """Return the NUMA node of a PCI device; None where it has none, or it is not known."""
    return read_natural(root / _DEVICES / (sysfs_address(address) or "none") / "numa_node")


def numa_of_cpus(root: Path, cpus: frozenset[int]) -> int | None:
    """Return the NUMA node that has all of some CPUs; None where several have them."""
    nodes = ((node.node, parse_cpu_list(node.cpus or "") or ()) for node in read_numa(root))
    return next((node for node, own in nodes if cpus and cpus <= {*own}), None)
