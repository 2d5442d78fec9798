"""All processes of a run stopped for a moment, and the time that passes for them."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_LONGEST_S = 60.0
_STILL = {"T", "Z", "X"}
"""States of threads that are stopped or gone, as /proc has them."""


class Halted:
    """Stops a process with all that it has started.

    Args:
        process: that a run consists of, with its descendants.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._halted_s = 0.0
        self._begin_s = time.monotonic()

    def now_s(self) -> float:
        """Return the seconds since the start in which the processes could run."""
        return time.monotonic() - self._begin_s - self._halted_s

    @contextlib.contextmanager
    def halt(self) -> Iterator[None]:
        """Stop all processes for a while.

        Raises:
            TimeoutError: where one does not stop, as in a system call that does not return.
        """
        begin_s = time.monotonic()
        family: dict[int, psutil.Process] = {}
        try:
            # One that was not stopped yet may have started another.
            while new := [each for each in self._living() if each.pid not in family]:
                for each in new:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.suspend()
                    family[each.pid] = each
            for each in family.values():
                _wait_until_stopped(each)
            yield
        finally:
            # Whoever starts others last, so that it finds them as it left them.
            for each in reversed(family.values()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()
            self._halted_s += time.monotonic() - begin_s

    def _living(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._process.status() != psutil.STATUS_ZOMBIE:
                return [self._process, *self._process.children(recursive=True)]
        return []


def _wait_until_stopped(process: psutil.Process) -> None:
    deadline_s = time.monotonic() + _LONGEST_S
    while not _states(process.pid) <= _STILL:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"process {process.pid} does not stop")
        time.sleep(0.001)


def _states(pid: int) -> set[str]:
    """Return the states of all threads: one may still be in a system call."""
    found = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            found.add(path.read_text(errors="replace").rpartition(")")[2].split()[0])
    return found
