"""One started job: a process that cannot outlive this one, its input, and its output."""

import contextlib
import ctypes
import functools
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec

from bench.contracts import LaunchCommand
from bench.core.errors import LaunchError, printable
from bench.core.lines import Lines
from bench.core.records import Job

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
TICK_S = 1.0
"""Longest wait without a call to the caller."""
TERMINATE_S = 2.0
"""Time for a launcher to end its ranks before it is killed."""
HURRY_S = 1.0
"""The same where it has shown that it waits for nobody."""
_NOT_STARTED = 127
_WRITE_BYTES = 1 << 16
_READ_BYTES = 1 << 20


class JobProcess:
    """A job that is started, read and ended.

    Standard error goes to the log. The job is written to its input, which then stays open until the
    job is ended: its end means that nobody waits for results any more.

    Args:
        command: what starts the ranks.
        job: for rank 0.
        log: appended to.
    """

    def __init__(self, command: LaunchCommand, job: Job, log: Path) -> None:
        self._command = command
        self._log = log
        self._unwritten = memoryview(msgspec.json.encode(job) + b"\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the job; whatever happens from here on, `end` ends it.

        Raises:
            LaunchError: where the program of the command cannot be executed, or a file that it
                reads cannot be written.
        """
        program = self._command.tokens[0]
        for path, text in self._command.files.items():
            _write(Path(path), text)
        with self._log.open("ab") as errors, _interrupted_after():
            try:
                self._process = subprocess.Popen(
                    self._command.tokens,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, **self._command.env},
                    # Ctrl-C is for this process, which then ends the job itself.
                    start_new_session=True,
                    # A launcher that cannot tell where it is does not start.
                    cwd=None if _has_current_folder() else "/",
                    # Between jobs this process has no other thread that could hold a lock.
                    preexec_fn=functools.partial(terminate_with_parent, os.getpid()),
                )
            except OSError as error:
                raise LaunchError(
                    f"cannot start {printable(program, 200)}: {error.strerror}"
                ) from error

    def lines(self, go_on: Callable[[], bool]) -> Iterator[bytes]:
        """Write the job as its reader takes it, and return the lines of its output as they come.

        Args:
            go_on: called after every read, and at least once a second; False ends the reading.
        """
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        output, lines = process.stdout, Lines()
        os.set_blocking(process.stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            while True:
                ready = {key.fileobj for key, _ in selector.select(TICK_S)}
                if process.stdin in ready and not self._write_on(process.stdin.fileno()):
                    selector.unregister(process.stdin)
                if output in ready:
                    data = os.read(output.fileno(), _READ_BYTES)
                    if not data:
                        break
                    yield from lines.add(data)
                if not go_on():
                    return
        if rest := lines.rest():
            yield rest

    def _write_on(self, pipe: int) -> bool:
        """Write what the pipe takes of the job; return whether more is to be written."""
        try:
            written = os.write(pipe, self._unwritten[:_WRITE_BYTES])
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # Where it died at once, its exit status and its log show why.
            return False
        self._unwritten = self._unwritten[written:]
        return len(self._unwritten) > 0

    @property
    def pid(self) -> int:
        """Number of the launcher; 0 before it was started."""
        return self._process.pid if self._process else 0

    def end(self, patient: bool = True) -> int:
        """End the job, by force where it does not end by itself.

        Args:
            patient: whether to give it time to end by itself.

        Returns:
            Its exit status, below 0 the signal; that of a shell where it could not be started.
        """
        process = self._process
        if process is None:
            return _NOT_STARTED
        try:
            _ask_to_end(process, patient)
        except BaseException:
            # Another Ctrl-C: there is no time to be kind.
            _signal_group(process.pid, signal.SIGKILL)
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
        return process.wait()


def _has_current_folder() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def _ask_to_end(process: "subprocess.Popen[bytes]", patient: bool) -> None:
    """Close its input, then ask all processes of the job to end, then kill them."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    demands = (signal.SIGTERM, signal.SIGKILL)
    for demand in (None, *demands) if patient else demands:
        if demand is not None:
            _signal_group(process.pid, demand)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERMINATE_S if patient else HURRY_S)
            return


@contextlib.contextmanager
def _interrupted_after() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP wait for the end of the block.

    A process that has just been made must not get lost on its way to a variable.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    held = {}
    if threading.current_thread() is threading.main_thread():  # the only one that is interrupted
        for held_back in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # One that is ignored is ignored by the job too, which a handler here would change.
            if callable(signal.getsignal(held_back)):
                held[held_back] = signal.signal(held_back, note)
    try:
        yield
    finally:
        for held_back, handler in held.items():
            signal.signal(held_back, handler)
        for number in came:
            signal.raise_signal(number)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise LaunchError(f"cannot write {printable(path, 200)}: {error.strerror}") from error


def terminate_with_parent(parent: int) -> None:
    """Have Linux end the launcher when this process dies, however it dies (runs in the child)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
