"""The one writer of a run: journal, rows, samples, predictions and `run.json`."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from bench.errors import RequestError, printable
from bench.events import Event
from bench.record import Finding, Prediction, Row, Sample
from bench.results import (
    EVIDENCE_COLUMNS,
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
    file_hashes,
    write_meta,
)

LATEST = "latest"
_UTC = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_now() -> str:
    """Return the time of day as ISO 8601 in UTC with microseconds."""
    return datetime.now(UTC).strftime(_UTC)


def earlier(utc: str, seconds: float) -> str:
    """Return the time so many seconds before a time that `utc_now` gave."""
    moment = datetime.strptime(utc, _UTC).replace(tzinfo=UTC) - timedelta(seconds=seconds)
    return moment.strftime(_UTC)


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
        RequestError: where another process writes it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RequestError(
            f"another clusterbench writes {printable(folder, 400)}; wait for it, or end it"
        ) from error


class Recorder:
    """Writes a run's files, and holds their folder until it is finished.

    Args:
        folder: of the run, created.
        meta: what `run.json` says at first.
        now: the time of day, as `utc_now` gives it.
    """

    def __init__(self, folder: Path, meta: RunMeta, now: Callable[[], str] = utc_now) -> None:
        self.folder = folder
        self.meta = meta
        self.now = now
        self._holder = os.open(folder, os.O_RDONLY)
        _lock(self._holder, folder)
        self._journal = Appender(folder / JOURNAL_FILE)
        self._results = Appender(folder / RESULTS_FILE, csv_header(Row))
        self._samples = Appender(folder / SAMPLES_FILE, csv_header(Sample))
        self._predictions = Appender(folder / PREDICTIONS_FILE, csv_header(Prediction))
        Appender(folder / EVIDENCE_FILE, EVIDENCE_COLUMNS).close()
        write_meta(folder, meta)

    def log_file(self, job: str, attempt: int) -> Path:
        """Return the file for what a job prints that is no event."""
        return self.folder / LOGS_FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', job)}-{attempt}.log"

    def note(self, kind: str, job: str, attempt: int, **more: object) -> None:
        """Append to the journal: what happened to an attempt of a job."""
        entry = {"time": self.now(), "kind": kind, "job": job, "attempt": attempt, **more}
        self._journal.write(msgspec.json.encode(entry).decode() + "\n")

    def event(self, job: str, attempt: int, event: Event) -> None:
        """Append an event to the journal."""
        self.note("event", job, attempt, event=event)

    def row(self, row: Row, samples: Sequence[Sample]) -> None:
        """Append a row after its samples: a row that is there has all of them."""
        if samples:
            self._samples.write(csv_lines(samples))
        self._results.write(csv_lines([row]))

    def predictions(self, predictions: Sequence[Prediction]) -> None:
        """Append frozen predictions."""
        if predictions:
            self._predictions.write(csv_lines(predictions))

    def finding(self, finding: Finding) -> None:
        """Keep a finding with the run, once."""
        if finding not in self.meta.findings:
            self.meta.findings.append(finding)

    def save(self) -> None:
        """Replace `run.json` with what is known now."""
        write_meta(self.folder, self.meta)

    def finish(self, outcome: str) -> None:
        """Close the files, and write `run.json` for the last time, with hashes of the others."""
        for appender in (self._journal, self._results, self._samples, self._predictions):
            appender.close()
        self.meta.finished_utc = self.now()
        self.meta.outcome = outcome
        with contextlib.suppress(OSError):
            self.meta.files = file_hashes(self.folder)
        write_meta(self.folder, self.meta)
        os.close(self._holder)
