"""How a run ends: its outcome is on the disk first, and nothing after it takes that back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.core.records import Status
from bench.core.verdict import Outcome
from bench.run import end
from bench.run.request import Request
from bench.run.session import carry_out
from bench.store.files import JOURNAL_FILE
from bench.store.folder import open_run

SUITE = """
[suite]
name = "ending"
cap_s = {cap_s}
[[benchmark]]
name = "memcpy"
bytes = {{ from = "64 B", to = "1 MiB", per_octave = {per_octave} }}
"""
LONGEST_S = 300


def suite(folder: Path, cap_s: float = 0.01, per_octave: float = 0.25) -> Path:
    path = folder / "ending.toml"
    path.write_text(SUITE.format(cap_s=cap_s, per_octave=per_octave))
    return path


@pytest.mark.parametrize("failure", [ValueError("odd facts"), OSError("gone"), MemoryError()])
def test_evidence_that_cannot_be_made_costs_no_outcome(failure, tmp_path, monkeypatch, capsys):
    def fail(*_args):
        raise failure

    monkeypatch.setattr(end, "collect_evidence", fail)
    ended = carry_out(Request(suite=str(suite(tmp_path)), launcher="local"), tmp_path)
    run = open_run(ended.folder)
    assert (ended.verdict.outcome, run.meta.outcome) == (Outcome.PASS, "complete")
    assert run.meta.files
    assert not run.changed()
    assert "evidence of paths could not be made" in capsys.readouterr().err


def test_an_interruption_after_the_last_case_leaves_a_complete_run(tmp_path, monkeypatch):
    def interrupt(*_args):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(end, "collect_evidence", interrupt)
    ended = carry_out(Request(suite=str(suite(tmp_path)), launcher="local"), tmp_path)
    run = open_run(ended.folder)
    assert (ended.outcome, run.meta.outcome) == ("complete", "complete")
    assert not run.missing()
    # Nobody vouches for files that were not hashed to the end.
    assert run.meta.files == {}


def start(folder: Path, *, ignored: bool = False) -> subprocess.Popen[str]:
    def heed_or_ignore() -> None:
        # Whoever started the tests may ignore it, as nohup does.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

    path = suite(folder, cap_s=0.3, per_octave=4 if not ignored else 0.25)
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "bench",
            "run",
            path,
            "--launcher",
            "local",
            "-o",
            folder / "r",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_or_ignore,
    )


def wait_for_a_case(folder: Path) -> Path:
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        for journal in (folder / "r").glob(f"*-ending-*/{JOURNAL_FILE}"):
            if '"type":"case"' in journal.read_text():
                return journal.parent
        time.sleep(0.02)
    raise AssertionError("no case began")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_session_that_ends_ends_the_run_and_no_page_is_made(number, tmp_path):
    process = start(tmp_path)
    folder = wait_for_a_case(tmp_path)
    os.kill(process.pid, number)
    shown, _ = process.communicate(timeout=LONGEST_S)
    run = open_run(folder)
    assert (process.returncode, run.meta.outcome) == (130, "interrupted")
    assert run.missing()
    assert not (folder / "report.html").exists()
    assert f"clusterbench resume {folder}" in shown
    assert shown.splitlines()[-1] == str(folder)


def test_a_run_under_nohup_outlives_its_terminal(tmp_path):
    process = start(tmp_path, ignored=True)
    folder = wait_for_a_case(tmp_path)
    os.kill(process.pid, signal.SIGHUP)
    process.communicate(timeout=LONGEST_S)
    run = open_run(folder)
    assert (process.returncode, run.meta.outcome) == (0, "complete")
    assert {row.status for row in run.rows()} == {Status.OK}


def test_a_changed_file_is_named_by_the_report_and_the_score(tmp_path, capsys):
    ended = carry_out(Request(suite=str(suite(tmp_path)), launcher="local"), tmp_path)
    path = ended.folder / "results.csv"
    path.write_text(path.read_text().replace(",ok,", ",skipped,", 1))
    from bench.cli import run_command

    assert run_command(["report", str(ended.folder)]) == 0
    assert "results.csv" in (ended.folder / "report.md").read_text().partition("SHA-256")[2][:40]
    capsys.readouterr()
    run_command(["score", str(ended.folder)])
    assert "results.csv" in capsys.readouterr().err
