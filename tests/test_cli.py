"""The command line as a person or a script meets it: outputs, exit codes, and the run's folder."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench import __version__
from bench.cli import run_command
from bench.cli.commands import commands
from bench.cli.ending import verdict_code
from bench.contracts import LaunchCommand
from bench.core.records import Origin, Status
from bench.core.verdict import Outcome, Verdict
from bench.launch import LAUNCHERS
from bench.measure import MEASUREMENTS
from bench.plan.suite import suite_names
from bench.store.folder import RunFolder, open_run
from bench.store.verdicts import read_verdicts

ROOT = Path(__file__).parent.parent
SUITE = """[suite]
name = "mine"
cap_s = 0.01

[[benchmark]]
name = "memcpy"
bytes = { from = "64 B", to = "16 KiB", per_octave = 1 }

[[benchmark]]
name = "latency"
bytes = 8
"""


def clusterbench(*arguments: str, cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "bench", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        timeout=600,
        check=False,
        **{"capture_output": True, **more},
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """Run a small suite without MPI; its folder is the last line printed."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "mine.toml").write_text(SUITE, encoding="utf-8")
    return clusterbench(
        "run", "./mine.toml", "--launcher", "local", "--no-report", "--label", "µ", cwd=folder
    )


@pytest.fixture(scope="module")
def run(done, tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.getbasetemp()
    made = next(folder.glob("cli*")) / done.stdout.splitlines()[-1]
    return open_run(made)


# Without measuring anything.


@pytest.mark.parametrize("command", [[], *([name] for name in commands.commands)])
def test_every_command_helps(command, capsys):
    assert run_command([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "Usage" in out
    assert err == ""


def test_without_a_command_there_is_help(tmp_path):
    done = clusterbench(cwd=tmp_path)
    assert "doctor" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_printed(capsys):
    assert run_command(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_everything_there_is_can_be_listed(capsys):
    assert run_command(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed["benchmarks"]) == set(MEASUREMENTS)
    assert set(listed["suites"]) == set(suite_names())
    assert set(listed["launchers"]) == set(LAUNCHERS)
    assert set(listed["models"]) == set(MEASUREMENTS)
    assert all(all(axes["axes"].values()) for axes in listed["benchmarks"].values())
    assert run_command(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for kind in listed.values() for name in kind)
    assert {"hdr", "100gbe"} <= listed["hardware"]["links"].keys()
    assert listed["hardware"]["GPUs"]["h200-sxm"].startswith("NVIDIA H200")
    words = out.replace(",", " ").split()
    assert all(name in words for rows in listed["hardware"].values() for name in rows)


def test_a_plan_as_json_is_the_plan_as_text(capsys):
    flags = ["quick", "--launcher", "local", "--launches", "2", "--seed", "9"]
    assert run_command(["plan", *flags, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert run_command(["plan", *flags]) == 0
    text = capsys.readouterr().out
    assert (printed["suite"], printed["seed"], printed["launches"]) == ("quick", 9, 2)
    cases = [case["id"] for entry in printed["jobs"] for case in entry["job"]["cases"]]
    assert printed["rows"] == len(cases)
    assert [line.strip() for line in text.splitlines() if "/" in line and "=" in line] == cases
    for entry in printed["jobs"]:
        assert f"job {entry['job']['id']}: " in text
        assert " ".join(entry["command"]["tokens"][1:]) in text


def test_planning_leaves_nothing_behind(tmp_path):
    assert clusterbench("plan", "quick", "--launcher", "local", cwd=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_answers_in_words_and_in_json(tmp_path):
    done = clusterbench("doctor", "--json", cwd=tmp_path)
    assert done.returncode in (0, 3)
    diagnosis = json.loads(done.stdout)
    assert {"facts", "findings", "verdict"} <= set(diagnosis)
    verdict = msgspec.convert(diagnosis["verdict"], Verdict)
    assert verdict_code(verdict) == done.returncode
    assert [msgspec.to_builtins(f) for f in verdict.findings] == [
        finding for finding in diagnosis["findings"] if finding["level"] == "stop"
    ]


@pytest.mark.parametrize("arguments", [["list"], ["plan", "network", "--launcher", "local"]])
def test_a_reader_that_goes_away_is_no_error(arguments, tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = clusterbench(
        *arguments, cwd=tmp_path, capture_output=False, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 0


# A run.


def test_a_run_ends_well_and_its_folder_is_the_last_line(done, run):
    assert done.returncode == 0
    assert run.path.is_dir()
    assert run.path.parent.name == "results"
    assert (run.path.parent / "latest").resolve() == run.path.resolve()
    assert "Traceback" not in done.stderr


def test_a_run_has_one_row_for_every_planned_case(run):
    assert run.missing() == []
    planned = [case.id for job in run.plan for case in job.cases]
    assert sorted(row.case for row in run.rows()) == sorted(planned)
    assert run.meta.outcome == "complete"
    assert run.meta.finished_utc is not None
    assert run.meta.origin is Origin.MEASURED


def test_what_one_process_cannot_do_is_skipped_with_the_reason_and_no_failure(run):
    skipped = [row for row in run.rows() if row.status is Status.SKIPPED]
    assert [row.case for row in skipped] == ["latency/bytes=8"]
    assert "launcher local starts 1 process" in (skipped[0].reason or "")


def test_measured_rows_have_times_samples_and_a_rate(run):
    samples = run.samples()
    for row in run.rows():
        if row.status is Status.OK:
            own = [s.seconds for s in samples if (s.case, s.launch) == (row.case, row.launch)]
            assert len(own) == row.samples
            assert min(own) == row.t_min_s
            assert row.bytes_wrong == 0
            assert row.bytes_checked
            assert row.gbytes_per_s == pytest.approx(row.bytes / row.t_median_s / 1e9)


def test_predictions_are_frozen_after_calibration_and_before_the_first_target(run):
    stage = {case.id: str(job.stage) for job in run.plan for case in job.cases}
    rows = [row for row in run.rows() if row.status is Status.OK]
    predictions = run.predictions()
    assert {p.case for p in predictions} == {case for case, s in stage.items() if s == "target"}
    frozen = {p.frozen_at for p in predictions}
    assert len(frozen) == 1
    moment = frozen.pop()
    for row in rows:
        assert (row.started_utc < moment) == (stage[row.case] == "calibrate")


def test_flags_and_provenance_are_kept(run):
    assert run.meta.measured.flags == {"launcher": "local", "label": "µ"}
    assert run.suite_text == SUITE
    assert run.meta.version == __version__
    assert run.nodes.hosts
    assert run.commands
    assert set(run.nodes.hosts.values()) <= set(run.nodes.facts)


def test_a_run_can_be_scored(run, capsys):
    code = run_command(["score", str(run.path), "--json"])
    assert code in (0, 3)
    assert json.loads(capsys.readouterr().out)


def test_a_run_can_be_reported_elsewhere_and_the_page_is_named(run, tmp_path, capsys):
    assert run_command(["report", str(run.path), "-o", str(tmp_path / "page"), "--json"]) == 0
    page = Path(json.loads(capsys.readouterr().out)["report"])
    assert page.is_file()
    assert page.is_relative_to(tmp_path)


def test_a_run_played_back_has_the_same_numbers_and_says_what_it_is(run, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text(SUITE, encoding="utf-8")
    flags = ["--launcher", "replay", "--replay", str(run.path), "--no-report", "--json"]
    code = run_command(["run", str(tmp_path / "mine.toml"), *flags, "-o", str(tmp_path / "out")])
    printed = json.loads(capsys.readouterr().out)
    played = open_run(Path(printed["run"]))
    assert played.meta.origin is Origin.REPLAYED
    measured = {row.case: row for row in run.rows() if row.status is Status.OK}
    again = {row.case: row for row in played.rows() if row.status is Status.OK}
    assert {case: row.t_median_s for case, row in again.items()} == {
        case: row.t_median_s for case, row in measured.items()
    }
    assert {row.origin for row in again.values()} == {Origin.REPLAYED}
    # What never ran has nothing to play back, and says so.
    assert printed["rows"]["ok"] == len(measured)
    assert printed["rows"]["not measured"] == 0
    assert code == (4 if printed["rows"]["failed"] else 0)
    verdict = msgspec.convert(printed["verdict"], Verdict)
    assert verdict_code(verdict) == code
    assert read_verdicts(played.path) == {"run": verdict}


class Broken:
    """A launcher whose jobs die at once."""

    name = "broken"
    most_ranks = None
    reaches_hosts = False
    nodes = None

    def place(self, _ranks: int) -> None:
        """Nobody knows where."""

    def command(self, _job: object) -> LaunchCommand:
        program = "import sys; print('no route to host', file=sys.stderr); sys.exit(7)"
        return LaunchCommand((sys.executable, "-P", "-c", program), {})


class Missing(Broken):
    """A launcher whose program is not there."""

    def command(self, _job: object) -> LaunchCommand:
        return LaunchCommand(("/no/such/launcher",), {})


class Interrupted(Broken):
    """A launcher during which somebody presses Ctrl-C."""

    def command(self, _job: object) -> LaunchCommand:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("launcher", "code", "outcome", "words"),
    [
        (Broken(), 4, "complete", "exit status 7: no route to host"),
        (Missing(), 4, "complete", "cannot start /no/such/launcher"),
        (Interrupted(), 130, "interrupted", ""),
    ],
)
def test_a_run_that_goes_wrong_is_readable_and_its_exit_code_shows_it(
    launcher, code, outcome, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("bench.run.resolve.Resolved.open", lambda *_: launcher)
    (tmp_path / "mine.toml").write_text(SUITE, encoding="utf-8")
    arguments = ["run", str(tmp_path / "mine.toml"), "--launcher", "local", "--no-report"]
    assert run_command([*arguments, "--json", "-o", str(tmp_path / "out")]) == code
    printed = json.loads(capsys.readouterr().out)
    run = open_run(Path(printed["run"]))
    assert run.meta.outcome == printed["outcome"] == outcome
    verdict = msgspec.convert(printed["verdict"], Verdict)
    assert verdict.outcome is (Outcome.FAILED_ROWS if code == 4 else Outcome.NOT_MEASURED)
    assert read_verdicts(run.path) == {"run": verdict}
    assert verdict.value == run_length(run)
    if outcome == "complete":
        assert run.missing() == []
        assert {row.status for row in run.rows()} == {Status.FAILED}
        assert all(words in (row.reason or "") for row in run.rows())
    else:
        assert len(run.missing()) == printed["rows"]["not measured"] == run_length(run)


def test_a_full_disk_ends_a_run_in_one_line_and_keeps_what_was_written(run, tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE, encoding="utf-8")
    *_, second, journal = sorted(path.stat().st_size for path in run.path.iterdir())
    # Bytes of one file: the same events again fill the journal, the largest, before the end.
    most = (second + journal) // 2

    ended = clusterbench(
        *("run", "./mine.toml", "--launcher", "replay", "--replay", str(run.path), "--no-report"),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    assert ended.returncode == 4
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("clusterbench: cannot write the files of the run (File too large); all")
    assert "Traceback" not in ended.stderr
    kept = open_run(tmp_path / "results" / "latest")
    assert len(kept.rows()) < run_length(kept)
    assert len(kept.missing()) == run_length(kept) - len(kept.rows())


def run_length(run: RunFolder) -> int:
    return sum(len(job.cases) for job in run.plan)
