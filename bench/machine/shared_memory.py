"""Facts of how ranks of one node reach each other's memory: /dev/shm, and cross-memory attach."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec

from bench.machine.compared import COMPARED, Compared
from bench.machine.describe import Rows, format_memory, show
from bench.machine.memory import SIZE
from bench.machine.sysfs import read_natural, read_text

FOLDER = "dev/shm"
POSSIBLE = "possible"
_TRIAL_LIMIT_S = 10.0
_KILLED = "killed"

_TRIAL = """
import ctypes, os, signal
library = ctypes.CDLL(None, use_errno=True)
class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
word, got = ctypes.create_string_buffer(8), ctypes.create_string_buffer(8)
here, there = (Piece(ctypes.addressof(at), 8) for at in (got, word))
ready, told = os.pipe()
first = os.fork()
if not first:
    library.prctl(1, signal.SIGKILL)
    library.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
    word.value = b"attach"
    os.write(told, b".")
    while True:
        signal.pause()
os.read(ready, 1)
second = os.fork()
if not second:
    done = library.process_vm_readv(first, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    os._exit(0 if done == 8 and got.value == b"attach" else ctypes.get_errno() or 255)
_, status = os.waitpid(second, 0)
os.kill(first, signal.SIGKILL)
print(os.waitstatus_to_exitcode(status))
"""
"""Whether one of two siblings, which ranks of a node are, may read the other's memory, once that
has allowed it to Yama, as Open MPI does (PR_SET_PTRACER)."""


class SharedMemoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What ranks of a node exchange messages through. Sizes are in bytes."""

    kind: Annotated[str | None, COMPARED] = None
    """File system of /dev/shm, `tmpfs` where all is well."""
    size: Annotated[int | None, SIZE] = None
    free: int | None = None
    """Left out of the hash."""
    read_only: Annotated[bool | None, Compared(text=lambda yes: "yes" if yes else "no")] = None
    cross_attach: Annotated[str | None, COMPARED] = None
    """Whether a process may copy from another one's memory: `possible`, or `refused: EPERM`."""
    ptrace_scope: Annotated[int | None, Compared()] = None
    """`kernel.yama.ptrace_scope`; None where the kernel has no Yama."""


def read_shared_memory(root: Path) -> SharedMemoryFacts:
    """Read how ranks reach each other's memory below `root`; of a stored tree nothing is tried."""
    size = free = read_only = attach = None
    if root == Path("/"):
        attach = try_cross_attach()
        try:
            state = os.statvfs(root / FOLDER)
        except OSError:
            pass
        else:
            size, free = state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize
            read_only = bool(state.f_flag & os.ST_RDONLY)
    return SharedMemoryFacts(
        kind=_read_kind(root),
        size=size,
        free=free,
        read_only=read_only,
        cross_attach=attach,
        ptrace_scope=read_natural(root / "proc/sys/kernel/yama/ptrace_scope"),
    )


def try_cross_attach() -> str | None:
    """Return whether a process may read its sibling's memory, tried out; None where none could."""
    try:
        done = subprocess.run(
            (sys.executable, "-I", "-S", "-c", _TRIAL),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRIAL_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    if done.returncode != 0 or not words or not words[-1].removeprefix("-").isdecimal():
        return None
    code = int(words[-1])
    if code == 0:
        return POSSIBLE
    # A filter of system calls may kill who makes this one.
    return f"refused: {_KILLED if code < 0 else errno.errorcode.get(code, str(code))}"


def shared_memory_rows(shared: SharedMemoryFacts) -> Rows:
    """Return how ranks of a node reach each other's memory, for a person."""
    only = ", read-only" if shared.read_only else ""
    size = f"{format_memory(shared.size)}, {format_memory(shared.free)} free"
    return [
        (f"/{FOLDER}", f"{show(shared.kind)}, {size}{only}"),
        ("Cross-memory attach", show(shared.cross_attach)),
    ]


def _read_kind(root: Path) -> str | None:
    """Return the file system that /dev/shm is on: that of the last mount nearest to it."""
    best, kind = "", None
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        at = fields[4]
        if f"/{FOLDER}/".startswith(f"{at.rstrip('/')}/") and len(at) >= len(best):
            best, kind = at, kinds[0]
    return kind
