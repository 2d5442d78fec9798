"""Progress on standard error: a live bar on a terminal, plain lines elsewhere.

Drawn when a case begins or ends and at most once a second: a bar with a thread of its own would
take time from the ranks that share its cores.
"""

import contextlib
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from bench.core.errors import printable
from bench.core.records import Case, Row, Status

PLAIN_EVERY_S = 5.0


class Tally:
    """Counts the cases that are over: with a row, or waiting for the end of their round."""

    def __init__(self) -> None:
        self._ended = 0
        self._begun: set[str] = set()

    def begin(self, case: Case) -> None:
        """Count a case as the current one."""
        self._begun.add(case.id)

    def end(self, row: Row) -> None:
        """Count the case of a row."""
        self._begun.discard(row.case)
        self._ended += 1

    @property
    def done(self) -> int:
        """The cases before the current one."""
        return self._ended + max(0, len(self._begun) - 1)


class Bar:
    """The live bar."""

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[case]}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._tally = Tally()
        self._task = self._progress.add_task("", total=total, case="starting", left="")
        self._progress.start()

    def queued(self, where: str) -> None:
        """Show where the job is."""
        self._progress.update(self._task, case=printable(where, 40).ljust(40), refresh=True)

    def started(self, case: Case, left_s: float) -> None:
        """Show the case."""
        self._tally.begin(case)
        name = printable(case.id, 40).ljust(40)
        done, left = self._tally.done, f"{_about(left_s)} left"
        self._progress.update(self._task, case=name, completed=done, left=left, refresh=True)

    def ended(self, rows: Sequence[Row]) -> None:
        """Count the case; print what failed."""
        for line in _failures(rows):
            self.show(line)
        self._tally.end(rows[0])
        self._progress.update(self._task, completed=self._tally.done)

    def waiting(self, left_s: float) -> None:
        """Show the time that passes."""
        self._progress.update(self._task, left=f"{_about(left_s)} left", refresh=True)

    def show(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(printable(line, 400), markup=False, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class PlainLines:
    """A line every few seconds.

    Args:
        total: cases.
        whose: begins every line.
        every_s: seconds between two lines about cases that go well.
    """

    def __init__(self, total: int, whose: str = "", every_s: float = PLAIN_EVERY_S) -> None:
        self._total = total
        self._whose = whose
        self._every_s = every_s
        self._tally = Tally()
        self._begin = self._last = time.monotonic()
        self._where = ""

    def queued(self, where: str) -> None:
        """Print where the job is, if that has changed."""
        if where != self._where:
            self._where = where
            self.show(where)

    def started(self, case: Case, left_s: float) -> None:
        """Print where the run is, if that was not printed a moment ago."""
        self._tally.begin(case)
        now = time.monotonic()
        if now - self._last >= self._every_s:
            self._last = now
            self.show(
                f"{self._tally.done}/{self._total} cases, {now - self._begin:.0f} s elapsed, "
                f"{_about(left_s)} left: {case.id}"
            )

    def ended(self, rows: Sequence[Row]) -> None:
        """Count the case; print what failed."""
        self._tally.end(rows[0])
        for line in _failures(rows):
            self.show(line)

    def waiting(self, left_s: float) -> None:
        """Print nothing: a log needs no clock."""

    def show(self, line: str) -> None:
        """Print a line; a log that takes no more is no reason to end a run."""
        with contextlib.suppress(OSError):
            print(printable(f"{self._whose}{line}", 400), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to take away."""


def _about(seconds: float) -> str:
    return f"about {seconds:.0f} s"


def _failures(rows: Sequence[Row]) -> list[str]:
    """Return why a case failed: of several places the first one's reason, and how many more."""
    failed = [row for row in rows if row.status is Status.FAILED]
    if not failed:
        return []
    where = f" on {failed[0].src}" if len(rows) > 1 else ""
    more = f" (and {len(failed) - 1} more places)" if len(failed) > 1 else ""
    return [f"{failed[0].case}: failed{where}: {failed[0].reason}{more}"]


def open_progress(total: int) -> Bar | PlainLines:
    """Return the bar where standard error is a terminal, plain lines elsewhere."""
    return Bar(total) if sys.stderr.isatty() else PlainLines(total)
