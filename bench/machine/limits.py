"""Limits of this process, which its ranks inherit: what a shell, a login or a scheduler set."""

from pathlib import Path
from typing import Annotated

import msgspec

from bench.core.units import format_bytes
from bench.machine.compared import Compared
from bench.machine.describe import Rows
from bench.machine.sysfs import read_text

_COUNT = Compared(none="no limit", of_job=True)
_SIZE = Compared(none="no limit", of_job=True, text=format_bytes)

_ROWS = {
    "Max open files": "open_files",
    "Max processes": "processes",
    "Max locked memory": "locked_memory",
    "Max address space": "address_space",
    "Max file size": "file_size",
    "Max stack size": "stack",
}


class LimitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel grants a process at most, as `ulimit` shows it; None where without a limit.

    Sizes are in bytes.
    """

    open_files: Annotated[int | None, _COUNT] = None
    processes: Annotated[int | None, _COUNT] = None
    """Of this user, threads among them; the kernel does not hold root to it."""
    locked_memory: Annotated[int | None, _SIZE] = None
    address_space: Annotated[int | None, _SIZE] = None
    file_size: Annotated[int | None, _SIZE] = None
    stack: Annotated[int | None, _SIZE] = None
    """What threads of a process get too."""


def read_limits(root: Path) -> LimitFacts | None:
    """Read the soft limits of this process below `root`; None where the kernel does not tell."""
    text = read_text(root / "proc/self/limits")
    if text is None:
        return None
    found: dict[str, int] = {}
    for line in text.splitlines():
        for title, name in _ROWS.items():
            soft = line.removeprefix(title).split(maxsplit=1)[:1] if line.startswith(title) else []
            if soft and soft[0].isascii() and soft[0].isdecimal():
                found[name] = int(soft[0])
    return LimitFacts(**found)


def limit_rows(limits: LimitFacts | None) -> Rows:
    """Return the limits for a person, those that there are."""
    if limits is None:
        return []
    shown = [
        f"{name.replace('_', ' ')} {value if name in _COUNTED else format_bytes(value)}"
        for name, value in msgspec.structs.asdict(limits).items()
        if value is not None
    ]
    return [("Limits", ", ".join(shown) or "none")]


_COUNTED = frozenset({"open_files", "processes"})
