"""The files of a run's folder, and how each is written so that a loss of power keeps it.

Rows and events are appended in single writes, and forced to the disk every few seconds. Whole files
are written under another name, forced to the disk and renamed: a rename may reach it before the
content does (POSIX orders neither), and leave an empty file. What follows the last whole line, or
the first zero byte, is what a crash leaves of a write that never finished.
"""

import contextlib
import errno
import mmap
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.core.errors import StorageError, printable

RUN_FILE = "run.json"
SUITE_FILE = "suite.toml"
MACHINE_FILE = "machine.toml"
PLAN_FILE = "plan.jsonl"
NODES_FILE = "nodes.jsonl"
NODES_FOLDER = "nodes"
COMMANDS_FILE = "commands.jsonl"
FINDINGS_FILE = "findings.json"
VERDICTS_FILE = "verdicts.json"
RESULTS_FILE = "results.csv"
PREDICTIONS_FILE = "predictions.csv"
SAMPLES_FILE = "samples.csv"
EVENTS_FILE = "events.csv"
EVIDENCE_FILE = "evidence.csv"
JOURNAL_FILE = "journal.jsonl"
LOCK_FILE = "lock"
LOGS_FOLDER = "logs"
FIGURES_FOLDER = "figures"
PAGE_FILES = ("report.html", "report.md", "compare.html", "compare.md")

_MODE = 0o666
"""Of a new file: who may read and write it is the umask's to say."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NOTHING_TO_FORCE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What a file system answers that keeps nothing on a disk of its own."""


class Appender:
    """Appends whole lines to one file; each call is one write, so a crash cannot tear two rows.

    Args:
        path: of the file, made where it is not there.
        header: its first line, where it is a table.
    """

    def __init__(self, path: Path, header: str | None = None) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
        self._size = os.fstat(self._descriptor).st_size
        # What a process left that was killed is on no disk yet.
        self._unsynced = self._size > 0
        if header is not None and self._size == 0:
            self.write(header)

    def write(self, text: str | bytes) -> None:
        """Append `text`, which ends in a newline, as a whole or not at all.

        Raises:
            OSError: where the disk is full or gone; what was written before stays readable.
        """
        data = text.encode() if isinstance(text, str) else text
        size = self._size + len(data)
        try:
            while data:
                # A disk takes what it has room for, and refuses the rest.
                data = data[os.write(self._descriptor, data) :]
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size = size
        self._unsynced = True

    def sync(self) -> None:
        """Force what was appended to the disk.

        Raises:
            OSError: where the disk is gone.
        """
        if self._unsynced:
            _force(self._descriptor, os.fdatasync)
            self._unsynced = False

    def close(self) -> None:
        """Force what was appended to the disk, and close the file."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file under a temporary name, force it to the disk and rename it into place.

    Raises:
        OSError: where the disk is full or gone; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            _force(file.fileno(), os.fsync)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk: of files that were made, renamed or removed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _force(descriptor, os.fsync)
    finally:
        os.close(descriptor)


def truncate_file(path: Path, size: int) -> None:
    """Cut a file at an offset, for good; a file that is no longer is left alone."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        if os.fstat(descriptor).st_size > size:
            os.ftruncate(descriptor, size)
            _force(descriptor, os.fsync)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of whoever was killed while replacing a file."""
    for path in (*folder.glob(".*.*"), *(folder / NODES_FOLDER).glob(".*.*")):
        if path.suffix[1:].isdecimal() and path.is_file():
            path.unlink()


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """Give the content of a file to search, of which only what is looked at is read.

    Raises:
        OSError: where it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines that were written whole, of a file whose lines hold no newline.

    Raises:
        OSError: where it cannot be read.
    """
    with path.open("rb") as lines:
        for line in lines:
            if b"\0" in line or not line.endswith(b"\n"):
                return
            yield line


def end_of_lines(content: mmap.mmap | bytes) -> int:
    """Return where the lines end that were written whole, of a file whose lines hold no newline."""
    zero = content.find(b"\0")
    return content.rfind(b"\n", 0, len(content) if zero < 0 else zero) + 1


def storage_error(folder: Path, error: OSError) -> StorageError:
    """Return the line that says why a run's folder took no more, and how to go on."""
    if error.errno in _FULL:
        advice = "free some space"
    elif error.errno in _CLOSED:
        advice = "make it writable"
    elif error.errno == errno.EFBIG:
        advice = "lift the limit of this shell (`ulimit -f unlimited`)"
    else:
        advice = "mend that"
    shown = shlex.quote(printable(folder, 400))
    if not folder.exists():
        return StorageError(
            f"the folder of the run is gone, and what was measured with it: somebody has removed "
            f"{shown}; start the run again"
        )
    begun = (folder / RUN_FILE).is_file()
    next_step = f"go on with `clusterbench resume {shown}`" if begun else "start the run again"
    kept = "all rows before are kept; " if begun else ""
    return StorageError(
        f"cannot write the files of the run ({error.strerror or error}); {kept}{advice}, then "
        f"{next_step}"
    )


def _force(descriptor: int, sync: Callable[[int], None]) -> None:
    try:
        sync(descriptor)
    except OSError as error:
        if error.errno not in _NOTHING_TO_FORCE:
            raise
