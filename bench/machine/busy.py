"""Processes of others that take time from the cores being measured."""

import os
import socket
import time
from pathlib import Path

import msgspec

from bench.core.errors import printable
from bench.core.records import About, Finding
from bench.machine.sysfs import list_folder

_KERNEL_THREAD = 0x00200000
"""PF_KTHREAD of include/linux/sched.h, in field 9 of /proc/PID/stat."""

MOST_SHARE = 0.2
"""Of a core that a process of others may take without being named."""
_NAMED = 5
"""Processes that a finding names; a shared login node can have hundreds."""


class BusyProcess(msgspec.Struct, frozen=True):
    """A process that is not ours, and the share of one core that it takes (2.0 is two cores)."""

    pid: int
    name: str
    """As the process calls itself: hostile text."""
    share: float


class _Process(msgspec.Struct, frozen=True):
    parent: int
    name: str
    kernel: bool
    ticks: int
    """CPU time of all its threads, in clock ticks."""


def foreign_busy(
    threshold: float = MOST_SHARE, interval_s: float = 0.3, root: Path = Path("/")
) -> list[BusyProcess]:
    """Return what others run that takes more than `threshold` of a core, busiest first.

    Left out are this process with its ancestors and descendants, and kernel threads. Takes
    `interval_s`, and resolves one clock tick in it: 10 ms, or 3 % of a core in 0.3 s.
    """
    before, started = _read_processes(root), time.monotonic()
    time.sleep(interval_s)
    after, elapsed_s = _read_processes(root), time.monotonic() - started
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    own = _own_tree(after)
    busy = []
    for (pid, start), process in after.items():
        if process.kernel or pid in own:
            continue
        earlier = before.get((pid, start))
        ticks = process.ticks - (earlier.ticks if earlier else 0)
        share = ticks / ticks_per_s / elapsed_s
        if share > threshold:
            busy.append(BusyProcess(pid, process.name, share))
    return sorted(busy, key=lambda process: -process.share)


def check_busy(busy: list[BusyProcess]) -> list[Finding]:
    """Return a warning that names the busiest processes of others."""
    if not busy:
        return []
    named = [
        f"process {p.pid} ({printable(p.name)}) takes {p.share:.0%} of a core"
        for p in busy[:_NAMED]
    ]
    more = [f"{len(busy) - _NAMED} more processes are busy"] if len(busy) > _NAMED else []
    return [
        Finding(
            name="busy-process",
            level="warning",
            text=f"{', '.join(named + more)}: ranks that share its core wait for it",
            advice="stop it or wait until it is done, then measure",
            about=About(hosts=(socket.gethostname(),)),
            value=busy[0].share,
            limit=MOST_SHARE,
            unit="cores",
        )
    ]


def _read_processes(root: Path) -> dict[tuple[int, int], _Process]:
    """Return every process by its number and start: numbers are used again."""
    found = {}
    for folder in list_folder(root / "proc"):
        if not folder.name.isdecimal():
            continue
        try:
            line = (folder / "stat").read_bytes()
            # The name comes in parentheses and may hold any byte but NUL, parentheses too.
            name = line[line.index(b"(") + 1 : line.rindex(b")")]
            fields = line[line.rindex(b")") + 1 :].split()
            found[int(folder.name), int(fields[19])] = _Process(
                parent=int(fields[1]),
                name=name.decode("utf-8", "backslashreplace"),
                kernel=bool(int(fields[6]) & _KERNEL_THREAD),
                ticks=int(fields[11]) + int(fields[12]),
            )
        except (OSError, ValueError, IndexError):
            continue  # it ended meanwhile, or is not ours to read
    return found


def _own_tree(processes: dict[tuple[int, int], _Process]) -> set[int]:
    """Return the numbers of this process, its ancestors and its descendants."""
    parents = {pid: process.parent for (pid, _), process in processes.items()}
    own = {os.getpid()}
    ancestor = parents.get(os.getpid())
    ancestors = set()
    while ancestor and ancestor not in ancestors:
        ancestors.add(ancestor)
        ancestor = parents.get(ancestor)
    while children := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= children
    return own | ancestors
