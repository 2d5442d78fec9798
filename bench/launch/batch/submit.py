"""Carries a job through a batch system: submits it, waits, and passes its events on.

As a program (`python -m bench.launch.batch.submit slurm|pbs FOLDER SCRIPT`) it is a child of
the runner like any other started job: the job is the first line of its standard input, events come
out on standard output, and it ends with the exit status of what started the ranks. The end of its
input, or SIGTERM, means that nobody waits for results any more: the batch job is cancelled.

FOLDER is shared with the nodes. The job file in it is taken away before a job is cancelled, so
that one which starts all the same finds nothing to do.
"""

import contextlib
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec

from bench.core.errors import printable
from bench.core.events import Queued, encode
from bench.core.lines import Lines
from bench.core.records import Job
from bench.launch.batch.cancel import cancel_apart
from bench.launch.batch.follow import Follower
from bench.launch.batch.question import Question
from bench.launch.batch.queue import BatchFiles, Phase, Scheduler, Standing, batch_files
from bench.launch.batch.schedulers import SCHEDULERS

LOOK_S = 0.25
"""Between looks at the output, and at the lease."""
ASK_S = 2.0
"""Between questions to the scheduler, which serves everybody."""
REPORT_S = 30.0
"""Longest silence of a job that is submitted or waits in the queue; the runner, which gives up a
job that is silent for longer, then knows that somebody waits."""
ANSWER_S = 30.0
"""For an answer of the scheduler, which may be busy."""
SUBMIT_S = 120.0
SILENCE_S = 900.0
"""How long a scheduler may give no answer: its server may be started again in the meantime."""
SETTLE_S = 10.0
"""For the last output of a job that has ended to arrive over a network file system."""
CANCEL_S = 3.0

EXIT_REFUSED = 1
EXIT_GIVEN_UP = 143
"""The status that a shell gives to a program which SIGTERM ended."""


class Abandoned(Exception):  # noqa: N818 - what happened, not a mistake
    """The runner is gone."""


class Lease:
    """The runner's hold on this program: an input that stays open, and no SIGTERM."""

    def __init__(self) -> None:
        self._ended = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ended = True

    def read_line(self) -> bytes:
        """Return the first line of the input; what follows it is thrown away.

        Raises:
            Abandoned: where the input ends before the line does.
        """
        lines = Lines()
        while data := os.read(0, 1 << 16):
            for line in lines.add(data):
                return line
        raise Abandoned

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            Abandoned: as soon as the lease has ended.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            if selector.select(seconds) and not os.read(0, 4096):
                self._ended = True
        if self._ended:
            raise Abandoned


class Watch:
    """Asks a scheduler every two seconds where a batch job is."""

    def __init__(self, scheduler: Scheduler, number: str, folder: Path) -> None:
        self._scheduler = scheduler
        self._number = number
        self._folder = folder
        self._question: Question | None = None
        self._ask_at = 0.0
        self._answered_at = time.monotonic()

    def look(self) -> Standing | None:
        """Return where the job is, if an answer has just come."""
        if self._question is None:
            if time.monotonic() >= self._ask_at:
                command = self._scheduler.ask_command(self._number)
                self._question = Question(command, ANSWER_S, self._folder)
            return None
        answer = self._question.answer()
        if answer is None:
            return None
        self._question = None
        self._ask_at = time.monotonic() + ASK_S
        standing = self._scheduler.standing(*answer)
        if standing.phase is not Phase.UNKNOWN:
            self._answered_at = time.monotonic()
        return standing

    def silent_s(self) -> float:
        """Return the seconds since the scheduler's last answer."""
        return time.monotonic() - self._answered_at


class Carrier:
    """Takes one job through the queue.

    Args:
        name: of the batch system, as `SCHEDULERS` has it.
        folder: shared with the nodes.
        job: what is carried.
        lease: the runner's.
    """

    def __init__(self, name: str, folder: Path, job: Job, lease: Lease) -> None:
        self._name = name
        self._scheduler = SCHEDULERS[name]
        self._folder = folder
        self._job = job
        self._lease = lease
        self._files = batch_files(job)
        self._out = Follower(folder / self._files.out, sys.stdout.buffer)
        self._err = Follower(folder / self._files.err, sys.stderr.buffer)
        self._submission: Question | None = None
        self._number: str | None = None
        self._over = False
        self._queued = True
        self._words = ""
        self._reported_at = time.monotonic()

    def carry(self, script: str) -> int:
        """Submit the script, wait for its end, and return its exit status."""
        try:
            write_files(self._folder, self._files, self._job, script)
        except OSError as error:
            _complain(f"cannot write to {self._folder}: {error.strerror}; name another with --work")
            return EXIT_REFUSED
        try:
            self._number = self._submit()
            return EXIT_REFUSED if self._number is None else self._follow(self._number)
        except (Abandoned, BrokenPipeError):
            return EXIT_GIVEN_UP
        finally:
            if not self._over:
                self._cancel()

    def _submit(self) -> str | None:
        """Return the number of the batch job, or None where it was refused."""
        command = self._scheduler.submit_command(self._files.script)
        try:
            self._submission = Question(command, SUBMIT_S, self._folder)
        except OSError as error:
            self._over = True
            _complain(f"cannot start {command[0]}: {error.strerror}")
            return None
        while (answer := self._submission.answer()) is None:
            if time.monotonic() - self._reported_at > REPORT_S:
                self._report(self._scheduler.name, f"no answer from {command[0]} yet")
            self._lease.wait(LOOK_S)
        number = self._scheduler.number(answer.output) if answer.status == 0 else None
        if number is None:
            # No batch job, unless the answer took too long: then one may still come of it.
            self._over = answer.status is not None
            _complain(
                answer.error.strip() or answer.output.strip() or f"no answer from {command[0]}"
            )
        return number

    def _follow(self, number: str) -> int:
        """Return the exit status of the script, or 1 where there is none."""
        watch = Watch(self._scheduler, number, self._folder)
        called = f"{self._scheduler.name} job {number}"
        over_at: float | None = None
        ended = ""
        while True:
            self._out.look()
            self._err.look()
            if self._out.exit_status is not None:
                self._over = True
                return self._finish(self._out.exit_status, self._ask_cut(watch, called))
            standing = watch.look() if over_at is None else None
            if standing is not None:
                self._report_standing(called, standing)
                self._over = standing.phase is Phase.OVER
                over_at = time.monotonic() if self._over else None
                ended = _tell_end(called, standing)
            if over_at is not None and time.monotonic() - over_at > SETTLE_S:
                return self._finish(EXIT_REFUSED, ended)
            if watch.silent_s() > SILENCE_S and over_at is None:
                why = f"no answer from {self._scheduler.name} for {SILENCE_S:.0f} s"
                return self._finish(EXIT_REFUSED, f"{called} was given up: {why}")
            self._lease.wait(LOOK_S)

    def _ask_cut(self, watch: Watch, called: str) -> str:
        """Return the scheduler's word for the end of a script that failed, if it brought it about.

        A script whose ranks were sent SIGTERM ends with their status before the queue tells why.
        """
        until_s = time.monotonic() + (0.0 if self._out.exit_status == 0 else SETTLE_S)
        while time.monotonic() < until_s:
            standing = watch.look()
            if standing is not None and standing.phase is Phase.OVER:
                return _tell_end(called, standing) if standing.cut else ""
            self._lease.wait(LOOK_S)
        return ""

    def _report_standing(self, called: str, standing: Standing) -> None:
        """Report where the job is, so that the runner does not take waiting for silence.

        From the start of the job on its own events are the sign of life.
        """
        begins = False
        if standing.phase is not Phase.UNKNOWN:
            begins = self._queued and standing.phase is Phase.RUNNING
            self._queued = standing.phase is Phase.QUEUED
        due = standing.words != self._words or time.monotonic() - self._reported_at > REPORT_S
        if begins or (self._queued and due):
            self._report(called, standing.words)
        self._words = standing.words

    def _report(self, called: str, state: str) -> None:
        sys.stdout.buffer.write(encode(Queued(self._job.id, called, state)))
        sys.stdout.buffer.flush()
        self._reported_at = time.monotonic()

    def _finish(self, status: int, words: str = "") -> int:
        """Pass on the rest; a reason comes last, where the runner looks for it."""
        if status != 0:
            with contextlib.suppress(Abandoned):
                # What a program prints of its end arrives after the line with its status.
                self._lease.wait(LOOK_S)
        self._out.finish()
        self._err.finish()
        if words:
            _complain(words)
        return status

    def _cancel(self) -> None:
        """End the batch job, or the one that a submission under way may still make."""
        # Without its file a job that starts has nothing to do, and one that runs ends itself.
        with contextlib.suppress(OSError):
            (self._folder / self._files.job).unlink()
        until_s = time.monotonic() + CANCEL_S
        if self._number is None and self._submission is not None:
            answer = self._submission.wait(CANCEL_S)
            self._number = self._scheduler.number(answer.output) if answer else None
        if self._number is None:
            return
        with contextlib.suppress(OSError):
            cancellation = Question(self._scheduler.cancel_command(self._number), ANSWER_S)
            answer = cancellation.wait(until_s - time.monotonic())
            if answer and self._scheduler.is_cancelled(answer.status, answer.error):
                return
        # The runner does not wait for longer.
        cancel_apart(self._name, self._number)


def write_files(folder: Path, files: BatchFiles, job: Job, script: str) -> None:
    """Write job and script, for nobody else to change."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (files.job, msgspec.json.encode(job) + b"\n"),
        (files.script, script.encode()),
    ):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def _tell_end(called: str, standing: Standing) -> str:
    how = "ended early" if standing.cut else "left no exit status"
    return f"{called} {how}: {standing.words}"


def _complain(words: str) -> None:
    sys.stderr.write(printable(words, 2000) + "\n")
    sys.stderr.flush()


def main(scheduler: str, folder: str, script: str) -> None:
    """Carry the job on standard input through a scheduler."""
    lease = Lease()
    try:
        job = msgspec.json.decode(lease.read_line(), type=Job)
    except Abandoned:
        sys.exit(EXIT_GIVEN_UP)
    sys.exit(Carrier(scheduler, Path(folder), job, lease).carry(script))


if __name__ == "__main__":
    main(*sys.argv[1:])
