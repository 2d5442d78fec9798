"""Asks MPI once more what it says as it starts, where its words got lost.

Ranks of Open MPI hand what they say to its daemon, which may end before it has printed that. A
process that nobody launched prints it itself.
"""

import contextlib
import os
import sys
from pathlib import Path

from bench.machine.mpi import ask

_TIMEOUT_S = 4.0
_MOST_BYTES = 1 << 16


def ask_alone(mpirun: str | None) -> bytes:
    """Return what one process of this Python environment prints as it starts Open MPI.

    Args:
        mpirun: its launcher, which tells where the texts of its messages are.
    """
    prefix: dict[str, str] = {}
    if mpirun is not None and "OPAL_PREFIX" not in os.environ:
        with contextlib.suppress(OSError):
            prefix = {"OPAL_PREFIX": str(Path(mpirun).resolve().parent.parent)}
    answer = ask([sys.executable, "-P", "-c", "from mpi4py import MPI"], _TIMEOUT_S, prefix)
    return answer.stderr[:_MOST_BYTES].encode(errors="replace") if answer else b""
