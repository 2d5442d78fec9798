"""The one writer of a run."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.core.clock import RunClock, utc_text
from bench.core.errors import StorageError
from bench.core.events import Event
from bench.core.records import About, CounterReading, Evidence, Finding, Prediction, Row, Sample
from bench.core.transport import Transport
from bench.store.files import (
    COMMANDS_FILE,
    EVENTS_FILE,
    EVIDENCE_FILE,
    JOURNAL_FILE,
    LOGS_FOLDER,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    Appender,
    replace_file,
    storage_error,
    sync_folder,
)
from bench.store.folder import RunFolder
from bench.store.hashes import file_hashes
from bench.store.journal import last_moment_s
from bench.store.lock import RunLock
from bench.store.meta import write_meta
from bench.store.nodes import NodeRecorder, Nodes
from bench.store.parts import Command, write_findings
from bench.store.tables import csv_lines, header_line

SYNC_S = 3.0
"""What was written is forced to the disk when this time has passed since it was last done."""
MOST_CLOCK_STEP_S = 1.0
"""NTP slews a clock by some milliseconds in a run; over a second it was set."""


class Recorder:
    """Writes a run's files; whoever has one also holds the folder with `lock_run`.

    The first write that fails is the last one that is tried: a file with a gap would mislead.

    Args:
        run: as it is.
        lock: whose holder shows that it lives; None where nobody else can write the run.
        clock: the time of day.

    Raises:
        StorageError: from every method, where the disk is full or gone.
    """

    def __init__(
        self, run: RunFolder, lock: RunLock | None = None, clock: RunClock | None = None
    ) -> None:
        self.folder = folder = run.path
        self.meta = run.meta
        self.machine_text = run.machine_text
        self._lock = lock
        self._clock = RunClock() if clock is None else clock
        self._failed: StorageError | None = None
        self._synced_s = time.monotonic()
        self._findings: dict[Finding, None] = dict.fromkeys(run.findings)
        self._replaced: dict[str, tuple[Finding, ...]] = {}
        """By kind, what the last look found."""
        with self._storing():
            self._clock.go_on_after(last_moment_s(folder / JOURNAL_FILE))
            self._nodes = NodeRecorder(folder, run.nodes)
            self._commands = Appender(folder / COMMANDS_FILE)
            self._journal = Appender(folder / JOURNAL_FILE)
            self._results = Appender(folder / RESULTS_FILE, header_line(Row))
            self._samples = Appender(folder / SAMPLES_FILE, header_line(Sample))
            self._predictions = Appender(folder / PREDICTIONS_FILE, header_line(Prediction))
            self._events = Appender(folder / EVENTS_FILE, header_line(CounterReading))
            Appender(folder / EVIDENCE_FILE, header_line(Evidence)).close()
            self._sync()
            sync_folder(folder)

    @property
    def nodes(self) -> Nodes:
        """What is known of the nodes."""
        return self._nodes.nodes

    @property
    def findings(self) -> list[Finding]:
        """Those of the run, in order."""
        return list(self._findings)

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        if self._failed is not None:
            raise self._failed
        try:
            yield
        except OSError as error:
            self._failed = storage_error(self.folder, error)
            raise self._failed from error

    @contextlib.contextmanager
    def _storing_at_the_end(self) -> Iterator[None]:
        """Try what an earlier failure would forbid, and tell of a failure once."""
        failed, self._failed = self._failed, None
        try:
            with self._storing():
                yield
        except StorageError:
            if failed is None:
                raise
        finally:
            self._failed = failed or self._failed

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

    def command(self, command: Command) -> None:
        """Append a command, and to the journal that its job is started."""
        with self._storing():
            self._commands.write(msgspec.json.encode(command) + b"\n")
        self.note("start", command.job, command.attempt)

    def note(self, kind: str, job: str, attempt: int, **more: object) -> None:
        """Append to the journal: what happened to an attempt of a job."""
        entry = {"time": self.now(), "kind": kind, "job": job, "attempt": attempt, **more}
        with self._storing():
            self._journal.write(msgspec.json.encode(entry) + b"\n")

    def event(self, job: str, attempt: int, event: Event) -> None:
        """Append an event to the journal."""
        self.note("event", job, attempt, event=event)

    def node_facts(
        self, facts: dict[str, dict[str, Any]], paths: dict[str, dict[str, Any]] | None = None
    ) -> None:
        """Keep what hosts are, and what they allow of the direct path, by host."""
        with self._storing():
            self._nodes.add(facts, paths or {})

    def transports(self, transports: Sequence[Transport]) -> None:
        """Keep what was seen to carry messages."""
        with self._storing():
            self._nodes.add_transports(transports)

    def rows(
        self,
        rows: Sequence[Row],
        samples: Sequence[Sample],
        readings: Sequence[CounterReading] = (),
    ) -> None:
        """Append the rows of a case after all its samples: a row that is there has them."""
        with self._storing():
            if readings:
                self._events.write(csv_lines(readings))
            if samples:
                self._samples.write(csv_lines(samples))
            self._results.write(csv_lines(rows))
        self.tick()

    def predictions(self, predictions: Sequence[Prediction]) -> None:
        """Append frozen predictions, on the disk before the cases that they predict begin."""
        with self._storing():
            self._predictions.write(csv_lines(predictions))
            self._predictions.sync()

    def evidence(self, evidence: Sequence[Evidence]) -> None:
        """Replace what is known of the paths that rows took: it changes as control runs end."""
        if self._failed is None:
            text = header_line(Evidence) + csv_lines(evidence)
            with self._storing():
                replace_file(self.folder / EVIDENCE_FILE, text.encode())

    def finding(self, finding: Finding) -> None:
        """Keep a finding with the run, once."""
        self._findings.setdefault(finding)

    def replace_findings(self, kind: str, findings: Sequence[Finding]) -> None:
        """Keep the findings of one kind as they are now, in place of those of an earlier look."""
        for earlier in self._replaced.get(kind, ()):
            self._findings.pop(earlier, None)
        self._replaced[kind] = tuple(findings)
        self._findings |= dict.fromkeys(findings)

    def save(self) -> None:
        """Replace `run.json` with what is known now."""
        with self._storing():
            write_meta(self.folder, self.meta)

    def save_findings(self) -> None:
        """Replace `findings.json` with what is known now."""
        with self._storing():
            write_findings(self.folder, self.findings)

    def tick(self) -> None:
        """Do what is due every few seconds: force what was written to the disk, and show life."""
        if self._lock is not None:
            self._lock.beat()
        if time.monotonic() - self._synced_s >= SYNC_S:
            with self._storing():
                self._sync()

    def _sync(self) -> None:
        # In this order: a row that is on the disk has its samples there.
        for file in (
            self._journal, self._commands, self._events, self._samples, self._results
        ):  # fmt: skip
            file.sync()
        self._synced_s = time.monotonic()

    def end(self, outcome: str) -> None:
        """Write how the run ended, on the disk before anything else is made of it.

        After a write that failed nothing is demanded of the disk: what it takes is written.
        """
        self.meta.finished_utc = self.now()
        self.meta.outcome = outcome
        with self._storing_at_the_end():
            self._sync()
            write_meta(self.folder, self.meta)

    def finish(self) -> None:
        """Close the files, and write `run.json` for the last time, with hashes of the others.

        After a write that failed nothing is demanded of the disk: what it takes is written.
        """
        self._look_at_clock()
        with self._storing_at_the_end():
            for file in (
                self._nodes, self._commands, self._journal, self._events, self._samples,
                self._results, self._predictions,
            ):  # fmt: skip
                file.close()
            write_findings(self.folder, self.findings)
            self.meta.files = file_hashes(self.folder)
            write_meta(self.folder, self.meta)

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
