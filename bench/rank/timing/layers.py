"""Choice of the timing layer: native where numba can compile, interpreted where it cannot."""

import contextlib
import ctypes
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import CopyQueue, MemoryLoops, MessageLoops

if TYPE_CHECKING:
    from bench.rank.timing.ceiling_loops import CeilingLoops

CACHE_VARIABLE = "NUMBA_CACHE_DIR"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a private folder in it
_LIBRARY = re.compile(r"/lib(?:p?mpi|mpich)[^/]*\.so[^/]*$")
"""libmpi.so.40, libmpi_abi.so.0, libmpich.so.12, libmpi_cray.so.12, ..."""


def cache_folder() -> Path:
    """Return a private folder for compiled loops, in the user's cache or else where one can be.

    Compiled code is executed as it is read, so a folder that others may write is not used.
    """
    name = f"clusterbench-{os.getuid()}"
    candidates = [Path(_SHARED_MEMORY) / name]
    with contextlib.suppress(OSError):  # in a container all of it may be read-only
        candidates.insert(0, Path(tempfile.gettempdir()) / name)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    if base and Path(base).is_absolute():
        cache = Path(base) if os.environ.get("XDG_CACHE_HOME") else Path(base) / ".cache"
        candidates.insert(0, cache / "clusterbench")
    for folder in candidates:
        if _is_private(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="clusterbench-"))


def _is_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        writable = os.access(folder, os.W_OK)
    except OSError:
        return False
    return (
        writable
        and not folder.is_symlink()
        and status.st_uid == os.getuid()
        and status.st_mode & 0o022 == 0
    )


def prepare_cache() -> None:
    """Set where numba keeps compiled loops, before it is imported.

    A folder that somebody chose and nothing can be made in is given up: numba would look beside
    the code and below HOME, and start no rank where it may write neither.
    """
    if not _can_be_made(os.environ.get(CACHE_VARIABLE)):
        os.environ[CACHE_VARIABLE] = str(cache_folder() / name_loops(Path(__file__).parent))


def _can_be_made(folder: str | None) -> bool:
    try:
        Path(folder or "").mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError):
        return False
    return bool(folder) and os.access(folder or "", os.W_OK | os.X_OK)


def name_loops(folder: Path) -> str:
    """Return a name that changes with the code of the loops.

    Numba's index of a cache names modules: after an upgrade that has renamed one it could not be
    read, and no rank would start.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def open_memory_loops() -> MemoryLoops:
    """Return native memory loops, or interpreted ones where numba is missing or broken."""
    prepare_cache()
    try:
        from bench.rank.timing.native import NativeMemoryLoops
    except ImportError:
        from bench.rank.timing.interpreted import NumpyMemoryLoops

        return NumpyMemoryLoops()
    return NativeMemoryLoops()


def open_ceiling_loops() -> "CeilingLoops | None":
    """Return compiled loops for ceilings; None where numba is missing or broken."""
    prepare_cache()
    try:
        from bench.rank.timing.ceiling_loops import CeilingLoops
    except ImportError:
        return None
    return CeilingLoops()


def open_copy_queue() -> CopyQueue:
    """Return a native queue of copies, or an interpreted one where numba is missing or broken."""
    prepare_cache()
    try:
        from bench.rank.timing.standin_queue import NativeQueue
    except ImportError:
        from bench.rank.timing.interpreted import InterpretedQueue

        return InterpretedQueue()
    return NativeQueue()


def open_message_loops(mpi: Any) -> MessageLoops:
    """Return native message loops over the loaded MPI library, or interpreted ones.

    Args:
        mpi: the `mpi4py.MPI` module, initialised.
    """
    prepare_cache()
    try:
        from bench.rank.timing.mpi_calls import Handles, find_calls
        from bench.rank.timing.native import NativeMessageLoops

        calls = find_calls(loaded_library())
    except (ImportError, OSError):
        from bench.rank.timing.interpreted import Mpi4pyMessageLoops

        return Mpi4pyMessageLoops(mpi)
    size = mpi._sizeof(mpi.Comm)
    passed = (mpi.COMM_WORLD, mpi.BYTE, mpi.FLOAT, mpi.DOUBLE, mpi.SUM)
    return NativeMessageLoops(calls, Handles(size, *(_handle(mpi, h, size) for h in passed)))


def loaded_library(maps: str | None = None) -> str:
    """Return the path of the MPI library in this process's map.

    Raises:
        OSError: where there is none that defines MPI_Send.
    """
    text = Path("/proc/self/maps").read_text() if maps is None else maps
    paths = dict.fromkeys(line.split(maxsplit=5)[5] for line in text.splitlines() if "/lib" in line)
    for path in paths:
        if _LIBRARY.search(path) and hasattr(ctypes.CDLL(path), "MPI_Send"):
            return path
    raise OSError("no MPI library in this process")


def _handle(mpi: Any, thing: Any, size: int) -> int:
    kind = ctypes.c_int32 if size == 4 else ctypes.c_int64
    return kind.from_address(mpi._addressof(thing)).value
