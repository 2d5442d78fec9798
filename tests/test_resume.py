"""A run is resumed with its hosts, from anywhere; what a crash tore off is predicted again."""

import json
import shutil
import socket
from pathlib import Path

import msgspec
import pytest
from begun import begun_plan

from bench.cli import run_command
from bench.core.errors import RequestError
from bench.core.records import Prediction, Status
from bench.core.verdict import Verdict
from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.predict.fit import predict_targets
from bench.run.resume import predict_rest
from bench.run.session import carry_on
from bench.store.files import PREDICTIONS_FILE, RESULTS_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.tables import csv_lines, header_line
from bench.store.verdicts import read_verdicts

ROOT = Path(__file__).parent.parent
COPIES = """
[suite]
name = "mine"
cap_s = 0.02
[[benchmark]]
name = "memcpy"
bytes = [8, 16]
ranks = 1
"""


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run over the host of a file, its last row lost; we are elsewhere."""
    asked_from, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    asked_from.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(asked_from)
    Path("mine.toml").write_text(COPIES)
    Path("hosts").write_text("localhost\n")
    arguments = ["run", "./mine.toml", "--hostfile", "hosts", "--bind", "none", "--no-report"]
    assert run_command([*arguments, "-o", str(tmp_path)]) == 0
    folder = (tmp_path / "latest").resolve()
    lines = (folder / RESULTS_FILE).read_text().splitlines(keepends=True)
    (folder / RESULTS_FILE).write_text("".join(lines[:-1]))
    monkeypatch.chdir(elsewhere)
    return folder


def resume(folder: Path, *flags: str) -> int:
    return run_command(["resume", str(folder), "--no-report", *flags])


def check_whole(folder: Path) -> None:
    run = open_run(folder)
    assert not run.missing()
    assert {row.status for row in run.rows()} == {Status.OK}


@pytest.mark.mpi
def test_a_run_is_resumed_from_another_folder(measured):
    assert resume(measured) == 0
    check_whole(measured)
    assert list(open_run(measured).meta.measured.hosts) == ["localhost"]


@pytest.mark.mpi
def test_what_was_judged_before_a_resume_is_judged_anew(measured, capsys):
    assert run_command(["score", str(measured)]) == 3
    assert set(read_verdicts(measured)) == {"run", "score"}
    capsys.readouterr()
    assert resume(measured, "--json") == 0
    verdict = msgspec.convert(json.loads(capsys.readouterr().out)["verdict"], Verdict)
    assert verdict.text == "PASS: 2 rows measured"
    assert read_verdicts(measured) == {"run": verdict}


@pytest.mark.mpi
def test_a_host_file_that_has_gone_is_not_needed_again(measured):
    (measured.parent / "here" / "hosts").unlink()
    assert resume(measured) == 0
    check_whole(measured)


@pytest.mark.mpi
def test_a_host_file_that_names_other_hosts_is_a_difference(measured, capsys):
    (measured.parent / "here" / "hosts").write_text("elsewhere\n")
    before = (measured / RESULTS_FILE).read_bytes()
    capsys.readouterr()
    assert resume(measured) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the list of hosts was localhost and is elsewhere" in line
    assert "--force" in line
    assert (measured / RESULTS_FILE).read_bytes() == before


@pytest.mark.mpi
def test_a_host_file_that_counts_otherwise_is_a_difference(measured, capsys):
    (measured.parent / "here" / "hosts").write_text("localhost slots=4\n")
    capsys.readouterr()
    assert resume(measured) == 2
    assert "the list of hosts was localhost and is localhost:4" in capsys.readouterr().err


@pytest.mark.mpi
def test_other_hosts_that_are_forced_are_recorded(measured):
    (measured.parent / "here" / "hosts").write_text(f"{socket.gethostname()}\n")
    assert resume(measured, "--force") == 0
    check_whole(measured)
    run = open_run(measured)
    assert list(run.meta.measured.hosts) == [socket.gethostname()]
    (finding,) = [f for f in run.findings if f.name == "changed-on-resume"]
    assert "the list of hosts was localhost" in finding.text
    assert (finding.value, finding.limit) == (socket.gethostname(), "localhost")


LATENCY = """
[suite]
name = "mine"
[[benchmark]]
name = "latency"
bytes = { from = "8 B", to = "1 MiB", per_octave = 1 }
"""


@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_predictions_that_a_crash_tore_off_are_made_again_and_the_others_are_not(frozen, tmp_path):
    plan = make_plan(parse_suite(LATENCY, "mine"))
    every = predict_targets(plan, [], "before", 1)
    assert len(every) > 3
    begun_plan(tmp_path, plan)
    text = header_line(Prediction) + csv_lines(every[:frozen])
    (tmp_path / PREDICTIONS_FILE).write_text(text)
    made = predict_rest(RunFolder(tmp_path), [], 1)(plan, [], "after")
    assert [p.case for p in made] == [p.case for p in every[frozen:]]
    assert {p.frozen_at for p in made} == {"after"}


def test_a_run_of_an_older_schema_is_read_and_not_resumed(tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(ROOT / "results/reference/x86-2-cores-openmpi", folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run = open_run(folder)
    assert (run.meta.schema, len(run.rows()), len(run.missing())) == (1, 219, 0)
    with pytest.raises(RequestError, match=r"schema 1.*new run"):
        carry_on(folder, force=True)
    assert {path: path.read_bytes() for path in before} == before
