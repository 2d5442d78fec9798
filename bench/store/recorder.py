"""The one writer of a run: journal, rows, samples, predictions and `run.json`."""

import contextlib
import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.core.clock import RunClock, utc_seconds, utc_text
from bench.core.errors import RequestError, StorageError, printable
from bench.core.events import Event
from bench.core.records import About, Evidence, Finding, Prediction, Row, Sample
from bench.store.folder import (
    EVIDENCE_FILE,
    JOURNAL_FILE,
    LOGS_FOLDER,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    Appender,
    RunMeta,
    csv_header,
    csv_lines,
    csv_text,
    file_hashes,
    replace_file,
    storage_error,
    write_meta,
)

LATEST = "latest"
MOST_CLOCK_STEP_S = 1.0
"""NTP slews a clock by some milliseconds in a run; over a second it was set."""


def utc_now() -> str:
    """Return the time of day as ISO 8601 in UTC with microseconds."""
    return utc_text(time.time())


def create_folder(parent: Path, suite: str) -> Path:
    """Create the folder of a new run, `<utc>-<suite>-<id>`, and point `latest` at it.

    Raises:
        RequestError: where the parent cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = parent / f"{stamp}-{suite}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
        (folder / LOGS_FOLDER).mkdir()
        _point_latest(parent, folder.name)
    except OSError as error:
        raise RequestError(
            f"cannot write results to {printable(parent, 200)}: {error.strerror}; "
            "choose another folder with -o"
        ) from error
    return folder


def _point_latest(parent: Path, name: str) -> None:
    link = parent / LATEST
    if link.exists() and not link.is_symlink():
        return
    temporary = parent / f".{LATEST}.{os.getpid()}"
    temporary.symlink_to(name)
    temporary.replace(link)


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold the folder of a run for one writer.

    Raises:
        RequestError: where another process writes it, or nobody can.
    """
    if not os.access(folder, os.W_OK):
        raise RequestError(
            f"{printable(folder, 400)} is read-only here; make it writable, or work on a copy of it"
        )
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise RequestError(
            f"another clusterbench writes {printable(folder, 400)}; wait for it, or end it"
        ) from error
    finally:
        os.close(descriptor)


class Recorder:
    """Writes a run's files; whoever has one also holds the folder with `lock_run`.

    The first write that fails is the last one that is tried: a file with a gap would mislead.

    Args:
        folder: of the run, created.
        meta: what `run.json` holds at first.
        clock: the time of day.

    Raises:
        StorageError: from every method, where the disk is full or gone.
    """

    def __init__(self, folder: Path, meta: RunMeta, clock: RunClock | None = None) -> None:
        self.folder = folder
        self.meta = meta
        self._clock = RunClock() if clock is None else clock
        self._failed: StorageError | None = None
        self._findings: dict[Finding, None] = dict.fromkeys(meta.findings)
        """Those of the run, in order; `meta` has them as a list."""
        self._replaced: dict[str, tuple[Finding, ...]] = {}
        """By kind, what the last look found."""
        with self._storing():
            self._clock.go_on_after(_last_moment_s(folder / JOURNAL_FILE))
            # First, since a folder without it cannot be resumed.
            write_meta(folder, meta)
            self._journal = Appender(folder / JOURNAL_FILE)
            self._results = Appender(folder / RESULTS_FILE, csv_header(Row))
            self._samples = Appender(folder / SAMPLES_FILE, csv_header(Sample))
            self._predictions = Appender(folder / PREDICTIONS_FILE, csv_header(Prediction))
            Appender(folder / EVIDENCE_FILE, csv_header(Evidence)).close()

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        if self._failed is not None:
            raise self._failed
        try:
            yield
        except OSError as error:
            self._failed = storage_error(self.folder, error)
            raise self._failed from error

    def now(self) -> str:
        """Return the time of day, as `utc_now` gives it; it neither jumps nor runs backwards."""
        return utc_text(self._clock.now_s())

    def log_file(self, job: str, attempt: int) -> Path:
        """Return the file for what a job prints that is no event, created."""
        name = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', job)}-{attempt}.log"
        path = self.folder / LOGS_FOLDER / name
        with self._storing():
            path.touch()
        return path

    def note(self, kind: str, job: str, attempt: int, **more: object) -> None:
        """Append to the journal: what happened to an attempt of a job."""
        entry = {"time": self.now(), "kind": kind, "job": job, "attempt": attempt, **more}
        with self._storing():
            self._journal.write(msgspec.json.encode(entry).decode() + "\n")

    def event(self, job: str, attempt: int, event: Event) -> None:
        """Append an event to the journal."""
        self.note("event", job, attempt, event=event)

    def row(self, row: Row, samples: Sequence[Sample]) -> None:
        """Append a row after its samples: a row that is there has all of them."""
        with self._storing():
            if samples:
                self._samples.write(csv_lines(samples))
            self._results.write(csv_lines([row]))

    def predictions(self, predictions: Sequence[Prediction]) -> None:
        """Append frozen predictions."""
        with self._storing():
            self._predictions.write(csv_lines(predictions))

    def evidence(self, evidence: Sequence[Evidence]) -> None:
        """Replace what is known of the paths that rows took: it changes as control runs end."""
        if self._failed is None:
            text = csv_text([csv_header(Evidence)]) + csv_lines(evidence)
            with self._storing():
                replace_file(self.folder / EVIDENCE_FILE, text.encode())

    def finding(self, finding: Finding) -> None:
        """Keep a finding with the run, once."""
        if finding not in self._findings:
            self._findings[finding] = None
            self.meta.findings.append(finding)

    def replace_findings(self, kind: str, findings: Sequence[Finding]) -> None:
        """Keep the findings of one kind as they are now, in place of those of an earlier look."""
        for earlier in self._replaced.get(kind, ()):
            self._findings.pop(earlier, None)
        self._replaced[kind] = tuple(findings)
        self._findings |= dict.fromkeys(findings)
        self.meta.findings = list(self._findings)

    def save(self) -> None:
        """Replace `run.json` with what is known now."""
        with self._storing():
            write_meta(self.folder, self.meta)

    def finish(self, outcome: str) -> None:
        """Close the files, and write `run.json` for the last time, with hashes of the others.

        After a write that failed nothing is demanded of the disk: what it takes is written.
        """
        failed, self._failed = self._failed, None
        self._look_at_clock()
        self.meta.finished_utc = self.now()
        self.meta.outcome = outcome
        try:
            with self._storing():
                for appender in (self._journal, self._results, self._samples, self._predictions):
                    appender.close()
                self.meta.files = file_hashes(self.folder)
                write_meta(self.folder, self.meta)
        except StorageError:
            if failed is None:
                raise

    def _look_at_clock(self) -> None:
        step_s = self._clock.machine_ahead_s()
        if abs(step_s) > MOST_CLOCK_STEP_S:
            where = "ahead of" if step_s > 0 else "behind"
            self.finding(
                Finding(
                    name="clock-step",
                    level="warning",
                    text=f"the clock of this machine is now {abs(step_s):.0f} s {where} where it "
                    "would be, had it run evenly since the run began: it was set, or the machine "
                    "slept. The times of rows go on evenly from the first",
                    advice="keep the clock with NTP or chrony, which slew it",
                    about=About(hosts=(socket.gethostname(),)),
                    value=step_s,
                    limit=MOST_CLOCK_STEP_S,
                    unit="s",
                )
            )


def _last_moment_s(journal: Path) -> float:
    """Return the time of the last entry of a journal, 0 where there is none."""
    try:
        lines = journal.read_bytes().splitlines()
        return utc_seconds(msgspec.json.decode(lines[-1], type=_Moment).time)
    except (FileNotFoundError, IndexError, ValueError, msgspec.MsgspecError):
        return 0.0


class _Moment(msgspec.Struct):
    time: str
