"""Launches of a small suite, measured by `clusterbench run` and kept compactly to draw from.

A record is a gzipped CSV with a line for each case and launch, and a TOML file beside it that says
when, on what and with what they were measured. Recording into a file that is there adds launches
to it. Neither holds the name of a host or of a folder.
"""

import csv
import gzip
import io
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from provekit import provenance

from bench import __version__
from bench.core.records import Row, Status, parse_params
from bench.store.folder import open_run

SUITE = Path(__file__).with_name("recorded.toml")
SECONDS = 3.7
"""Time budget of a launch, its start within it: no case is repeated then, nor waits for a state."""


class Launched(NamedTuple):
    """A case in a launch: one line of a record."""

    case: str
    launch: int
    started_utc: str
    t_median_s: float
    t_p99_s: float


def record(path: Path, launches: int) -> int:
    """Measure so many launches of the suite, add them to the record, and return how many it has."""
    kept = read_record(path) if path.exists() else []
    first = 1 + max((line.launch for line in kept), default=-1)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench", "run", str(SUITE), "-o", folder, "--no-report"]
        # Another seed than the launches before had: the order of cases differs.
        command += ["--launches", str(launches), "--seed", str(1 + first)]
        command += ["--budget", f"{launches * SECONDS:.0f}s"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        rows = open_run(Path(folder) / "latest").rows()
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, [*kept, *(_line(row, first) for row in rows if row.status == Status.OK)])
    with path.with_name("launches.toml").open("a") as about:
        about.write("" if kept else _machine())
        about.write(_chunk(rows, launches))
    return first + launches


def read_record(path: Path) -> list[Launched]:
    """Return the lines of a record, in the order in which they were measured."""
    with gzip.open(path, "rt", newline="") as file:
        return [
            Launched(case, int(launch), started, float(median), float(p99))
            for case, launch, started, median, p99 in list(csv.reader(file))[1:]
        ]


def by_case(lines: Iterable[Launched]) -> dict[str, np.ndarray]:
    """Return of each case its launches in order, a line each: begun, median and 99th percentile.

    All in seconds; begun since 1970.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    for line in lines:
        begun_s = datetime.fromisoformat(line.started_utc).timestamp()
        found.setdefault(line.case, []).append((begun_s, line.t_median_s, line.t_p99_s))
    return {case: np.array(sorted(launches)) for case, launches in found.items()}


def _line(row: Row, first: int) -> Launched:
    # A row that is ok has all three.
    assert row.started_utc is not None  # noqa: S101
    assert row.t_median_s is not None  # noqa: S101
    assert row.t_p99_s is not None  # noqa: S101
    # Five digits are a thousandth of a percent, and a hundredth of a second orders the cases.
    started = datetime.fromisoformat(row.started_utc).isoformat(timespec="milliseconds")[:22] + "Z"
    median, p99 = (float(f"{seconds:.5g}") for seconds in (row.t_median_s, row.t_p99_s))
    return Launched(row.case, first + row.launch, started, median, p99)


def _write(path: Path, lines: list[Launched]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Launched._fields)
    writer.writerows(lines)
    # Without the time of writing: the same lines are the same bytes.
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _machine() -> str:
    known = {
        "suite": "scripts/comparekit/recorded.toml",
        "hardware": f"{provenance.cpus()}, {provenance.memory()}",
        "system": provenance.kernel(),
        "mpi": provenance.mpi(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "clusterbench": __version__,
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in known.items())


def _chunk(rows: list[Row], launches: int) -> str:
    """Launches of one run, and how restless the machine was meanwhile."""
    measured = [row for row in rows if row.status == Status.OK]
    params = [parse_params(row.params) for row in measured]
    preempted, moved = (
        sum(name in one for one in params) for name in ("preempted_percent", "state_percent")
    )
    started = min(row.started_utc or "" for row in measured)
    return (
        f'\n[[run]]\nstarted_utc = "{started[:19]}Z"\nlaunches = {launches}\n'
        f"rows = {len(measured)}\nleft_out = {len(rows) - len(measured)}\n"
        f"rows_preempted = {preempted}\nrows_in_another_state = {moved}\n"
    )
