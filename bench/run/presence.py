"""Whether the ranks that a launcher started on this machine are still there.

They are its descendants, and only those can be seen: ranks on other hosts, and those that a daemon
of a scheduler starts, are not. While one of them lives, a look is a read of its state.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_RANK = b"\0bench.rank\0"
"""In the command line of every rank."""
_MOST_BYTES = 1 << 16
_MOST_PROCESSES = 4096
_STATE, _START = 0, 19
"""Fields of `stat` after the name of the program, which may hold blanks and parentheses."""


class _Process(NamedTuple):
    pid: int
    start: bytes
    """Moment of its start, which tells it from a later process of the same number."""


class Presence:
    """Looks for the ranks of a launcher.

    Args:
        launcher: its process.
    """

    def __init__(self, launcher: int) -> None:
        self._launcher = launcher
        self._ranks: list[_Process] = []
        self._seen = False

    def have_gone(self) -> bool:
        """Return whether ranks have been seen here, and none of them is left."""
        if any(_is_alive(rank) for rank in self._ranks):
            return False
        self._ranks = list(_find_ranks(self._launcher))
        self._seen = self._seen or bool(self._ranks)
        return self._seen and not self._ranks


def _find_ranks(launcher: int) -> Iterator[_Process]:
    left = [launcher]
    for _ in range(_MOST_PROCESSES):
        if not left:
            return
        pid = left.pop()
        left += _children(pid)
        if pid != launcher and _is_rank(_read(_PROC / str(pid) / "cmdline")):
            stat = _read_stat(pid)
            if stat is not None and stat[_STATE] not in (b"Z", b"X"):
                yield _Process(pid, stat[_START])


def _is_rank(command: bytes) -> bool:
    """Return whether a command is that of a rank, not of a launcher with it as its arguments."""
    program, _, arguments = command.partition(b"\0")
    return b"python" in program.rpartition(b"/")[2] and _RANK in b"\0" + arguments


def _is_alive(rank: _Process) -> bool:
    stat = _read_stat(rank.pid)
    return stat is not None and stat[_START] == rank.start and stat[_STATE] not in (b"Z", b"X")


def _children(pid: int) -> list[int]:
    """Return the children of all threads of a process; none where the kernel does not tell."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in (_PROC / str(pid) / "task").iterdir():
            text = _read(thread / "children")
            found += [int(word) for word in text.split() if word.isdigit()]
    return found


def _read_stat(pid: int) -> list[bytes] | None:
    fields = _read(_PROC / str(pid) / "stat").rpartition(b")")[2].split()
    return fields if len(fields) > _START else None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""
