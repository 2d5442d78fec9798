"""One started job: a process that cannot outlive this one, its output, and why it ended."""

import contextlib
import ctypes
import os
import re
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bench.contracts import LaunchCommand
from bench.core.errors import LaunchError, printable
from bench.core.records import Job

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
TICK_S = 1.0
"""Longest wait without a word to the caller."""
TERMINATE_S = 2.0
"""Time for a launcher to end its ranks before it is killed."""
_TAIL_BYTES = 16_384

_CAUSES = (
    # The message of a rank, then Open MPI's, Hydra's, that of the submitter, and Slurm's.
    re.compile(r"^(rank \d+ on \S+: .+)$", re.M),
    re.compile(r"process (rank \d+) with PID \d+ on node (\S+)\s+exited on\s+(signal \d+ \(\w+\))"),
    re.compile(r"YOUR APPLICATION TERMINATED WITH THE EXIT STRING: (.+?) \((signal \d+)\)"),
    re.compile(r"^=\s+(EXIT CODE: \d+)$", re.M),
    re.compile(r"^(?:clusterbench: )?(\S+ job \S+ ended early: .+)$", re.M),
    re.compile(r"^srun: error: (\S+: tasks? [\d,-]+: .+)$", re.M),
)


class JobProcess:
    """A running job. Standard error goes to the log; the job's input stays open until it ends.

    Raises:
        LaunchError: where the program of the command cannot be executed.
    """

    def __init__(self, command: LaunchCommand, job: Job, log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            try:
                self._process = subprocess.Popen(
                    command.tokens,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, **command.env},
                    # Ctrl-C is for this process, which then ends the job itself.
                    start_new_session=True,
                    preexec_fn=_terminate_with_parent,
                )
            except OSError as error:
                raise LaunchError(
                    f"cannot start {printable(command.tokens[0], 200)}: {error.strerror}"
                ) from error
        self._give(job)

    def _give(self, job: Job) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        # Where it died at once, its exit status and its log show why.
        with contextlib.suppress(BrokenPipeError):
            pipe.write(msgspec.json.encode(job) + b"\n")
            pipe.flush()

    def lines(self, go_on: Callable[[], bool]) -> Iterator[bytes]:
        """Return the lines of its output as they come.

        Args:
            go_on: called after every read, and at least once a second; False ends the reading.
        """
        output = self._process.stdout
        if output is None:
            return
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if selector.select(TICK_S):
                    data = os.read(output.fileno(), 1 << 20)
                    if not data:
                        break
                    *complete, pending = (pending + data).split(b"\n")
                    yield from complete
                if not go_on():
                    return
        if pending:
            yield pending

    def end(self) -> int:
        """End the job, by force where it does not end by itself, and return its exit status."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for demand in (None, signal.SIGTERM, signal.SIGKILL):
            if demand is not None:
                _signal_group(process.pid, demand)
            try:
                process.wait(TERMINATE_S)
                break
            except subprocess.TimeoutExpired:
                continue
        if process.stdout is not None:
            process.stdout.close()
        return process.wait()

    def find_cause(self) -> str:
        """Return why it ended, by its log: the first cause that is known, or the last line."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        for cause in _CAUSES:
            match = cause.search(text)
            if match:
                return printable(" ".join(match.groups()), 300)
        lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
        return printable(lines[-1], 300) if lines else ""


def _terminate_with_parent() -> None:
    """Have Linux end the launcher when this process dies, however it dies (runs in the child)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
