"""One writer for the folder of a run, whichever host of a shared file system it is on.

The lock is a POSIX record lock on a regular file, which NFS carries to its server; one on a folder
holds on one host alone, since folders of NFS have no lock operation (Linux, fs/nfs/dir.c). Where a
file system has no locks, and where a mount keeps them local, the file itself tells: its holder
writes host, process and time into it again and again.

Linux drops a record lock as soon as its process closes any descriptor of the file, and lets a
process lock what it has locked (fcntl(2)). So nothing else in this process may open the file.
"""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.core.clock import utc_seconds, utc_text
from bench.core.errors import RequestError, printable
from bench.store.files import LOCK_FILE

BEAT_S = 10.0
"""Between two signs of life of the holder."""
YOUNG_S = 300.0
"""A sign of life that is younger is one of a process that lives: it may hash or report for minutes,
and clocks of two hosts may differ."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_HELD = (errno.EAGAIN, errno.EACCES)
_MOST_BYTES = 4096
_held_here: set[Path] = set()
"""Lock files of this process."""


class Holder(msgspec.Struct, frozen=True):
    """Who writes a run: the content of its lock file."""

    host: str
    pid: int
    alive_utc: str

    def age_s(self) -> float:
        """Return the seconds since its last sign of life, as far as the two clocks agree."""
        try:
            return time.time() - utc_seconds(self.alive_utc)
        except ValueError:
            return 0.0


class RunLock:
    """A lock that is held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._beaten_s = -BEAT_S
        self.beat()

    def beat(self) -> None:
        """Give a sign of life, if the last one is some seconds old."""
        now_s = time.monotonic()
        if now_s - self._beaten_s < BEAT_S:
            return
        self._beaten_s = now_s
        holder = Holder(socket.gethostname(), os.getpid(), utc_text(time.time()))
        # A disk that is full or gone is told of by what writes rows.
        with contextlib.suppress(OSError):
            content = msgspec.json.encode(holder) + b"\n"
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[RunLock]:
    """Hold the folder of a run for one writer.

    Raises:
        RequestError: where another process writes it, may write it, or nobody can.
    """
    path = folder.resolve() / LOCK_FILE
    if path in _held_here:
        raise _refusal(None, path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise RequestError(
            f"{printable(folder, 400)} cannot be written ({error.strerror}); make it writable, or "
            "work on a copy of it"
        ) from error
    try:
        _take(descriptor, path)
        _held_here.add(path)
        try:
            yield RunLock(descriptor)
        finally:
            _held_here.discard(path)
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except OSError as error:
        if error.errno in _HELD:
            raise _refusal(_holder(descriptor), path) from error
        if error.errno not in _NO_LOCKS:
            raise
        locked = False
    holder = _holder(descriptor)
    if holder is None:
        return
    if holder.host == socket.gethostname():
        # Its lock would be seen here; what is written is left by one that was killed.
        if not locked and _lives(holder.pid):
            raise _refusal(holder, path)
    elif holder.age_s() < YOUNG_S:
        raise _refusal(holder, path)
    else:
        raise RequestError(
            f"{_name(holder)} wrote {printable(path.parent, 400)}, ended without saying so, and "
            f"gave its last sign of life at {printable(holder.alive_utc)}; if it is gone, remove "
            f"{printable(path, 400)} and try again"
        )


def _refusal(holder: Holder | None, path: Path) -> RequestError:
    who = "" if holder is None else f" ({_name(holder)})"
    return RequestError(
        f"another clusterbench{who} writes {printable(path.parent, 400)}; wait for it, or end it"
    )


def _name(holder: Holder) -> str:
    return f"process {holder.pid} on {printable(holder.host)}"


def _holder(descriptor: int) -> Holder | None:
    """Return what the lock file holds; None where its last holder ended in order."""
    try:
        return msgspec.json.decode(os.pread(descriptor, _MOST_BYTES, 0), type=Holder)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return pid != os.getpid()
