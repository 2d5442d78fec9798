"""The folder of a run, to read."""

from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.records import (
    CounterReading,
    Evidence,
    Finding,
    Job,
    Prediction,
    Row,
    Sample,
)
from bench.store import first_schema
from bench.store.ab import is_ab
from bench.store.files import (
    EVENTS_FILE,
    EVIDENCE_FILE,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    RUN_FILE,
    SAMPLES_FILE,
)
from bench.store.hashes import changed_files
from bench.store.jsons import unreadable
from bench.store.meta import RunMeta, read_run_file
from bench.store.nodes import Nodes
from bench.store.parts import Command, Parts, read_parts
from bench.store.tables import read_csv
from bench.store.whole_rows import open_whole_rows


class RunFolder:
    """A run on disk, to read; every reader tolerates the end that a crash leaves.

    Raises:
        RequestError: where its `run.json` cannot be read, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        schema, text = read_run_file(path)
        self._old: Parts | None = None
        try:
            if schema == 1:
                self.meta, self._old = first_schema.split(text)
            else:
                self.meta = msgspec.json.decode(text, type=RunMeta)
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise unreadable(path / RUN_FILE, error) from error

    @cached_property
    def parts(self) -> Parts:
        """All that stands beside `run.json`, read when it is first asked for."""
        return read_parts(self.path) if self._old is None else self._old

    @property
    def plan(self) -> tuple[Job, ...]:
        """The jobs, in order."""
        return self.parts.plan

    @property
    def nodes(self) -> Nodes:
        """What the nodes are."""
        return self.parts.nodes

    @property
    def commands(self) -> list[Command]:
        """What was started."""
        return self.parts.commands

    @property
    def findings(self) -> list[Finding]:
        """What is worth a person's attention."""
        return self.parts.findings

    @property
    def suite_text(self) -> str:
        """The suite as it was given."""
        return self.parts.suite_text

    @property
    def machine_text(self) -> str | None:
        """The machine file as it was given."""
        return self.parts.machine_text

    def results(self) -> BinaryIO:
        """Open `results.csv` up to its last whole row, empty where it is absent.

        Raises:
            RequestError: where it cannot be read, or a quote in it never ends.
        """
        return open_whole_rows(self.path / RESULTS_FILE)

    def rows(self) -> list[Row]:
        """Return the final rows of the cases that ended."""
        return read_csv(self.path / RESULTS_FILE, Row)

    def predictions(self) -> list[Prediction]:
        """Return the frozen predictions, none where there are none."""
        return read_csv(self.path / PREDICTIONS_FILE, Prediction)

    def samples(self) -> list[Sample]:
        """Return every sample of every rank, nothing trimmed."""
        return read_csv(self.path / SAMPLES_FILE, Sample)

    def evidence(self) -> list[Evidence]:
        """Return what is known of the paths that rows took, none where none was to be proven."""
        return read_csv(self.path / EVIDENCE_FILE, Evidence)

    def counter_readings(self) -> list[CounterReading]:
        """Return what was counted around the samples of cases, none where nothing was read."""
        return read_csv(self.path / EVENTS_FILE, CounterReading)

    def changed(self) -> list[str]:
        """Return the files that are no longer what the run left, of a run that has ended."""
        return changed_files(self.path, self.meta.files)

    def missing(self) -> list[tuple[Job, str]]:
        """Return the planned (job, case id) pairs that have no row: they were not measured."""
        done = {(row.case, row.arm, row.launch) for row in self.rows()}
        return [
            (job, case.id)
            for job in self.plan
            for case in job.cases
            if (case.id, job.arm, job.launch) not in done
        ]


def open_run(path: Path) -> RunFolder:
    """Open the run at `path`, a run folder or the `latest` link to one.

    Raises:
        RequestError: where it is no run, one that had not begun, or one of a newer schema.
    """
    if is_ab(path):
        raise RequestError(
            f"{printable(path, 400)} is a comparison of two runs, which are its folders a and b: "
            "name one of them; `clusterbench compare` takes both, `clusterbench ab --continue` "
            "goes on"
        )
    if not (path / RUN_FILE).is_file():
        raise RequestError(
            f"{printable(path, 400)} is no run folder, or one whose run had not begun (no "
            f"{RUN_FILE} in it); name a folder that `clusterbench run` printed"
        )
    return RunFolder(path.resolve())
