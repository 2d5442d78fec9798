"""The folder of a run: written by the runner alone, readable whenever it is killed.

Rows and events are appended in single writes; whole files are replaced by rename. A last line
without its newline is what a crash leaves of a write that never finished, and is not a row.
"""

import contextlib
import csv
import errno
import hashlib
import io
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from bench.core.errors import RequestError, StorageError, printable
from bench.core.records import SCHEMA, Evidence, Finding, Job, Origin, Prediction, Row, Sample
from bench.store.whole_rows import open_whole_rows

RUN_FILE = "run.json"
RESULTS_FILE = "results.csv"
PREDICTIONS_FILE = "predictions.csv"
SAMPLES_FILE = "samples.csv"
JOURNAL_FILE = "journal.jsonl"
EVIDENCE_FILE = "evidence.csv"
LOGS_FOLDER = "logs"
FIGURES_FOLDER = "figures"

Record = TypeVar("Record", bound=msgspec.Struct)

# The words of a host or a library may be longer than the 128 KiB that Python reads at first.
csv.field_size_limit(2**31 - 1)


class Command(msgspec.Struct, frozen=True):
    """One started job: its tokens, and what was added to the environment for it."""

    job: str
    attempt: int
    tokens: tuple[str, ...]
    env: dict[str, str]


class RunMeta(msgspec.Struct, kw_only=True):
    """`run.json`: what was asked, what was started, and on what machine."""

    schema: int = SCHEMA
    run: str
    origin: Origin
    version: str
    """Of clusterbench."""
    suite_name: str
    suite_text: str
    machine_text: str | None = None
    """The machine file that bounds are taken from; None where none was given."""
    flags: dict[str, str | int | bool | None]
    """Command-line flags that differ from their defaults."""
    seed: int
    launches: int
    launcher: str
    plan: tuple[Job, ...]
    mpi: dict[str, str | None]
    """Name, version, library and path of the MPI that started the jobs; empty without one."""
    started_utc: str
    finished_utc: str | None = None
    """Absent while the run goes on, and for ever where it was killed."""
    outcome: str | None = None
    """`complete` or `interrupted`; absent where the run was killed."""
    hosts: dict[str, str | None] = {}
    """Hosts that ranks were asked to run on, in order, each with the name that it calls itself;
    none where they ran here, or a scheduler chose."""
    commands: list[Command] = []
    facts: dict[str, dict[str, Any]] = {}
    """Facts of nodes, stored once per distinct value, keyed by a hash of the value."""
    nodes: dict[str, str] = {}
    """Host name to the key of its facts."""
    paths: dict[str, dict[str, Any]] = {}
    """What each host allows of the direct path, where a job was to prove one."""
    findings: list[Finding] = []
    files: dict[str, str] = {}
    """SHA-256 of every finished file of the run."""


class RunFolder:
    """A run on disk, to read; every reader tolerates the end that a crash leaves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta = read_meta(path)

    def results(self) -> BinaryIO:
        """Open `results.csv` up to its last whole row, empty where it is absent.

        Raises:
            RequestError: where it cannot be read, or a quote in it never ends.
        """
        return open_whole_rows(self.path / RESULTS_FILE)

    def rows(self) -> list[Row]:
        """Return the final rows, one per case and launch that ended."""
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

    def missing(self) -> list[tuple[Job, str]]:
        """Return the planned (job, case id) pairs that have no row: they were not measured."""
        done = {(row.case, row.launch) for row in self.rows()}
        return [
            (job, case.id)
            for job in self.meta.plan
            for case in job.cases
            if (case.id, job.launch) not in done
        ]


def open_run(path: Path) -> RunFolder:
    """Open the run at `path`, a run folder or the `latest` link to one.

    Raises:
        RequestError: where it is no run, or one of a newer schema.
    """
    if not (path / RUN_FILE).is_file():
        raise RequestError(
            f"{printable(path, 400)} is no run folder (no {RUN_FILE} in it); "
            "name a folder that `clusterbench run` printed"
        )
    return RunFolder(path.resolve())


def read_meta(folder: Path) -> RunMeta:
    """Read `run.json`.

    Raises:
        RequestError: where it cannot be read, or was written by a newer version.
    """
    path = folder / RUN_FILE
    try:
        text = path.read_bytes()
        schema = msgspec.json.decode(text, type=dict[str, Any]).get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise RequestError(
                f"{printable(path, 400)} has schema {schema}, this version reads up to {SCHEMA}; "
                "upgrade clusterbench"
            )
        return msgspec.json.decode(text, type=RunMeta)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}"
        ) from error


def write_meta(folder: Path, meta: RunMeta) -> None:
    """Replace `run.json` in one step."""
    replace_file(folder / RUN_FILE, msgspec.json.format(msgspec.json.encode(meta), indent=1))


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file under a temporary name and rename it into place.

    Raises:
        OSError: where the disk is full or gone; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of whoever was killed while replacing a file."""
    for name in (
        RUN_FILE, RESULTS_FILE, SAMPLES_FILE, PREDICTIONS_FILE, EVIDENCE_FILE, JOURNAL_FILE
    ):  # fmt: skip
        for path in folder.glob(f".{name}.*"):
            path.unlink()


_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def storage_error(folder: Path, error: OSError) -> StorageError:
    """Return the line that says why a run's folder took no more, and how to go on."""
    if error.errno in _FULL:
        advice = "free some space"
    elif error.errno in _CLOSED:
        advice = "make it writable"
    else:
        advice = "mend that"
    shown = shlex.quote(printable(folder, 400))
    begun = (folder / RUN_FILE).is_file()
    next_step = f"go on with `clusterbench resume {shown}`" if begun else "start the run again"
    kept = "all rows before are kept; " if begun else ""
    return StorageError(
        f"cannot write the files of the run ({error.strerror or error}); {kept}{advice}, then "
        f"{next_step}"
    )


class Appender:
    """Appends whole lines to one file; each call is one write, so a crash cannot tear two rows."""

    def __init__(self, path: Path, header: Iterable[str] | None = None) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._size = os.fstat(self._descriptor).st_size
        if header is not None and self._size == 0:
            self.write(csv_text([list(header)]))

    def write(self, text: str) -> None:
        """Append `text`, which ends in a newline, as a whole or not at all.

        Raises:
            OSError: where the disk is full or gone; what was written before stays readable.
        """
        data = text.encode()
        size = self._size + len(data)
        try:
            while data:
                # A disk takes what it has room for, and refuses the rest.
                data = data[os.write(self._descriptor, data) :]
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size = size

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def csv_header(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the CSV header of a record type: its fields in order."""
    return kind.__struct_fields__


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV lines; None is empty, and a zero byte, which ends a file, is escaped."""
    return "".join(_csv_line(row) for row in rows).replace("\0", "\\x00")


def _csv_line(row: Iterable[object]) -> str:
    out = io.StringIO()
    # Before Python 3.13 a carriage return is quoted only where it is in the line terminator.
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["" if value is None else value for value in row])
    return out.getvalue().removesuffix("\r\n") + "\n"


def csv_lines(records: Iterable[msgspec.Struct]) -> str:
    """Return records as CSV lines, floats with all their digits."""
    return csv_text(msgspec.structs.astuple(record) for record in records)


def read_csv(path: Path, kind: type[Record]) -> list[Record]:
    """Read a CSV file of records; an absent file has none, an unfinished last line is dropped.

    Columns that a newer minor version added are ignored.

    Raises:
        RequestError: where a line does not fit the record, with its number.
    """
    return list(_read_csv(path, kind))


def _read_csv(path: Path, kind: type[Record]) -> Iterator[Record]:
    try:
        with open_whole_rows(path) as file:
            text = file.read().decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}"
        ) from error
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, None)
    if header is None:
        return
    fields = set(csv_header(kind))
    names = [name if name in fields else None for name in header]
    for number, line in enumerate(lines, start=2):
        present = {
            name: value for name, value in zip(names, line, strict=False) if name and value != ""
        }
        _check_schema(present.get("schema"), path)
        try:
            # strict=False: every value of a CSV file is text, to be read as the field's type.
            yield msgspec.convert(present, kind, strict=False)
        except msgspec.ValidationError as error:
            raise RequestError(
                f"{printable(path, 400)}, row {number}: {printable(error, 200)}; "
                "the file was changed or damaged"
            ) from error


def _check_schema(schema: str | None, path: Path) -> None:
    if schema is not None and schema.isdecimal() and int(schema[:18]) > SCHEMA:
        raise RequestError(
            f"{printable(path, 400)} has schema {schema}, this version reads up to {SCHEMA}; "
            "upgrade clusterbench"
        )


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a run but `run.json`, which holds them."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != RUN_FILE:
            with contextlib.suppress(OSError):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
