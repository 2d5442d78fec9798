"""A change by hand between the launches of A and B: what to do, and what else it may change."""

import shlex
from collections.abc import Callable
from pathlib import Path

from bench.core.errors import printable

RESETS = (
    "clocks and power caps of GPUs, persistence mode, CPU governor",
    "MTU, ring sizes and offloads of network interfaces (ip, ethtool)",
    "IRQ affinity and irqbalance, hugepages, ulimits",
    "modules of the kernel and their parameters, mounts, services of the fabric",
)
"""What a reboot, or a reload of a driver, sets back to its defaults."""


def tell_change(change: str, period: int) -> list[str]:
    """Return what is to be done by hand before a period, in lines."""
    what = printable(change, 300)
    todo = f"now change: {what}" if period == 1 else f"now change back: {what}"
    return [
        todo,
        "and nothing else. A reboot resets more than you change; set again what was set before:",
        *(f"  - {line}" for line in RESETS),
    ]


def tell_continue(folder: Path) -> str:
    """Return the command that goes on after the change."""
    return f"clusterbench ab --continue {shlex.quote(str(folder))}"


Ask = Callable[[str], bool]
"""Asks a person whether what a line says is done; False where nobody is there to be asked."""
