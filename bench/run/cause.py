"""Why a job ended, by its log: the words of a rank, of an MPI launcher or of a scheduler."""

import os
import re
from pathlib import Path
from typing import BinaryIO

from bench.core.errors import printable

MOST_SEARCHED = 16 << 20
"""Bytes of a log, from its beginning, in which a cause is looked for; as many ranks as a cluster
has may each write a traceback after the first one's."""
_CHUNK_BYTES = 1 << 20
_LINE_BYTES = 1 << 16
"""Of one line at most: a cause is shorter, and a log need not have lines."""
_TAIL_BYTES = 16_384

_CAUSES = (
    # The best one first: the message of a rank, then Open MPI's, Hydra's, that of the submitter,
    # and Slurm's.
    re.compile(r"^(rank \d+ on \S+: .+)$", re.M),
    re.compile(r"process (rank \d+) with PID \d+ on node (\S+)\s+exited on\s+(signal \d+ \(\w+\))"),
    re.compile(r"YOUR APPLICATION TERMINATED WITH THE EXIT STRING: (.+?) \((signal \d+)\)"),
    re.compile(r"^=\s+(EXIT CODE: \d+)$", re.M),
    re.compile(r"^(?:clusterbench: )?(\S+ job \S+ ended early: .+)$", re.M),
    re.compile(r"^srun: error: (\S+: tasks? [\d,-]+: .+)$", re.M),
)


def find_cause(log: Path) -> str:
    """Return the first cause of the best kind that a log names, else its last line.

    Returns:
        One printable line; empty where the log cannot be read or holds no word.
    """
    try:
        with log.open("rb") as file:
            return _first_cause(file) or _last_line(file)
    except OSError:
        return ""


def _first_cause(log: BinaryIO) -> str:
    """Return the cause in the beginning of a log, or in its end; empty where neither has one."""
    found: dict[int, str] = {}
    while log.tell() < MOST_SEARCHED and 0 not in found and (chunk := log.read(_CHUNK_BYTES)):
        # To the end of the line: none is cut in two.
        _search(chunk + log.readline(_LINE_BYTES), found)
    if not found:
        _search(_tail(log), found)
    return found[min(found)] if found else ""


def _search(text: bytes, found: dict[int, str]) -> None:
    """Add the first cause of each kind that was not found before."""
    words = text.decode(errors="replace")
    for kind, cause in enumerate(_CAUSES):
        if kind not in found and (match := cause.search(words)):
            found[kind] = printable(" ".join(match.groups()), 300)


def _last_line(log: BinaryIO) -> str:
    lines = _tail(log).decode(errors="replace").splitlines()
    words = [line.strip() for line in lines if re.search(r"\w", line)]
    return printable(words[-1], 300) if words else ""


def _tail(log: BinaryIO) -> bytes:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return log.read(_TAIL_BYTES)
