"""A command of a scheduler, whose answer may take long."""

import subprocess
import time
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """What a command of the scheduler ended with; the status is None where it took too long."""

    status: int | None
    output: str
    error: str


class Question:
    """A command of the scheduler that runs while other things go on.

    It has a session of its own: what ends this program must not tear a submission in two, nor a
    cancellation.

    Raises:
        OSError: where the command cannot be started.
    """

    def __init__(self, tokens: tuple[str, ...], limit_s: float, folder: Path | None = None) -> None:
        self._process = subprocess.Popen(
            tokens,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=folder,
            start_new_session=True,
        )
        self._deadline = time.monotonic() + limit_s
        self._answer: Answer | None = None

    def answer(self) -> Answer | None:
        """Return the answer, or None where there is none yet; past its time it is ended."""
        if self._answer is None:
            status = self._process.poll()
            if status is None:
                if time.monotonic() < self._deadline:
                    return None
                self._process.kill()
            output, error = self._process.communicate()
            self._answer = Answer(status, output, error)
        return self._answer

    def wait(self, seconds: float) -> Answer | None:
        """Return the answer, or None where it has not come by then; it may still come."""
        until_s = time.monotonic() + seconds
        while (answer := self.answer()) is None and time.monotonic() < until_s:
            time.sleep(0.05)
        return answer
