"""The processes of arms, as a comparison starts, asks and ends them.

Each has a session of its own: Ctrl-C is for the comparison, which then ends its arms. Several arms
can be asked at once and waited for one after the other: they then measure side by side.
"""

import functools
import os
import subprocess
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.core.errors import LaunchError, printable
from bench.core.program import module_command
from bench.run.ab.messages import (
    Answer,
    Begin,
    Begun,
    Close,
    Closed,
    Demand,
    Launched,
    Measure,
    Ready,
    Refused,
    Task,
    decode_answer,
    encode,
)
from bench.run.process import terminate_with_parent

END_S = 60.0
"""For an arm to end its job and close its run, after it was asked to."""
Kind = TypeVar("Kind", bound=Answer)


class ArmProcess:
    """An arm that measures in a process of its own.

    Args:
        task: what it is.
        python: of its environment; this one's if not given.
    """

    def __init__(self, task: Task, python: str | None = None) -> None:
        self.side = task.side
        command = module_command("bench.run.ab.arm", python)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **task.request.variables},
                start_new_session=True,
                # This process has no other thread that could hold a lock.
                preexec_fn=functools.partial(terminate_with_parent, os.getpid()),
            )
        except OSError as error:
            raise LaunchError(
                f"side {self.side}: cannot start {printable(command[0], 200)}: {error.strerror}"
            ) from error
        self._send(task)

    def ready(self) -> Ready:
        """Wait until it can measure.

        Raises:
            BenchError: where it cannot, and why.
        """
        return self._answer(Ready)

    def begin(self, folder: Path) -> None:
        """Begin its run, and wait until that is done; one that has begun goes on.

        Args:
            folder: of the run, within that of the comparison.

        Raises:
            BenchError: where it cannot begin, and why.
        """
        self._send(Begin(folder=folder))
        self._answer(Begun)

    def start(self, demand: Measure) -> None:
        """Have a launch measured; `wait` tells how it ended."""
        self._send(demand)

    def wait(self) -> Launched:
        """Wait for the end of the launch that was started.

        Raises:
            BenchError: where the arm cannot go on, and why.
        """
        return self._answer(Launched)

    def ask_to_close(self) -> None:
        """Have it close its run; `wait_for_close` tells that it is closed."""
        self._send(Close())

    def wait_for_close(self) -> None:
        """Wait until its run is closed, and the process gone.

        Raises:
            BenchError: where its files could not be written, or the process was gone before.
        """
        self._answer(Closed)
        self._process.wait()

    def ask_to_end(self) -> None:
        """Have it end in the midst of whatever it does; what it has measured is kept."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait_for_end(self) -> None:
        """Wait until it has ended; one that does not is killed."""
        try:
            self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _send(self, message: Task | Demand) -> None:
        if self._process.stdin is None:
            raise ValueError("it has no input")
        try:
            self._process.stdin.write(encode(message))
            self._process.stdin.flush()
        except BrokenPipeError:
            # Its answer, or its exit status, says why.
            return

    def _answer(self, kind: type[Kind]) -> Kind:
        if self._process.stdout is None:
            raise ValueError("it has no output")
        line = self._process.stdout.readline()
        try:
            answer = decode_answer(line)
        except msgspec.MsgspecError as error:
            status = self._process.wait(END_S) if not line else None
            how = f"ended with exit status {status}" if not line else "said what nobody understands"
            raise LaunchError(f"side {self.side}: its process {how}") from error
        if isinstance(answer, Refused):
            raise answer.error(f"side {self.side}")
        if not isinstance(answer, kind):
            raise LaunchError(f"side {self.side}: its process was interrupted")
        return answer
