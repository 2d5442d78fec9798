"""Exit codes and last lines, whatever becomes of the output: its reader, the page, the headline."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import run_command

ROOT = Path(__file__).parent.parent
SUITE = '[suite]\nname = "mine"\ncap_s = 0.01\n[[benchmark]]\nname = "memcpy"\nbytes = [64, 128]\n'
OTHER = SUITE.replace("[64, 128]", "[256]")
STOPPED = """
import bench.machine.doctor as doctor, msgspec
examine, finding = doctor.examine, doctor.Finding(name="x", level="stop", text="no MPI")
doctor.examine = lambda: msgspec.structs.replace(examine(), findings=(finding,))
"""
EXITING = """
import sys, bench.machine.doctor as doctor
doctor.examine = lambda: sys.exit(3)
"""
MAIN = "from bench.cli import main; main()"


def clusterbench(
    *arguments: str, cwd: Path, before: str = "", stdout: int = subprocess.PIPE
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", before + MAIN, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        timeout=600,
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def without_reader(*arguments: str, cwd: Path, before: str = "") -> tuple[int, str]:
    """Return exit code and standard error of a command whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = clusterbench(*arguments, cwd=cwd, before=before, stdout=write)
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and with suites to be played back from it and not."""
    folder = tmp_path_factory.mktemp("outcomes")
    (folder / "mine.toml").write_text(SUITE, encoding="utf-8")
    (folder / "other.toml").write_text(OTHER, encoding="utf-8")
    done = clusterbench("run", "mine.toml", "--launcher", "local", "--no-report", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stored").symlink_to(done.stdout.splitlines()[-1])
    return folder


PLAYED = ["--launcher", "replay", "--replay", "stored", "--no-report", "-o", "played"]
LATEST = "played/latest"
COMMANDS = [
    (["run", "mine.toml", *PLAYED], "", 0, "PASS: 2 rows measured"),
    (["run", "other.toml", *PLAYED, "--json"], "", 4, '"outcome": "FAILED ROWS"'),
    (["resume", "stored", "--no-report"], "", 0, "PASS: 2 rows measured"),
    (["score", "stored"], "", 3, "CANNOT TELL: no prediction could be scored"),
    (["doctor"], STOPPED, 3, "NOT MEASURED: `clusterbench run quick` would fail (x)"),
    (["plan", "network", "--launcher", "local", "--json"], "", 0, ""),
    (["report", "stored", "-o", "page"], "", 0, ""),
    (["predict", "matmul", "--m", "8", "--k", "8", "--n", "8", "--gpu", "gtx-titan"], "", 0, ""),
    (["--help"], "", 0, ""),
    (["--version"], "", 0, ""),
    ([], "", 0, ""),
    (["run", "no-suite"], "", 2, ""),
]


@pytest.mark.parametrize(("arguments", "before", "code", "verdict"), COMMANDS)
def test_the_exit_code_is_that_of_the_outcome_though_nobody_reads(
    arguments, before, code, verdict, folder
):
    read = clusterbench(*arguments, cwd=folder, before=before)
    assert read.returncode == code, read.stderr
    if "--json" in arguments:
        assert verdict in read.stdout
    elif verdict:
        # At the end, where only the folder's line may follow.
        assert any(line.startswith(verdict) for line in read.stdout.splitlines()[-2:])
    gone, complaint = without_reader(*arguments, cwd=folder, before=before)
    assert gone == code, complaint
    assert "Traceback" not in complaint
    assert "Broken pipe" not in complaint


def test_an_exit_from_below_keeps_its_code(folder):
    assert clusterbench("doctor", cwd=folder, before=EXITING).returncode == 3
    assert without_reader("doctor", cwd=folder, before=EXITING)[0] == 3


def test_output_that_fits_nowhere_is_an_error(folder):
    with Path("/dev/full").open("wb") as full:
        done = clusterbench("list", "--json", cwd=folder, stdout=full.fileno())
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith("clusterbench: No space left on device")
    assert line.endswith("; what was written before is kept")


def test_nobody_reads_complaints_either(folder):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench", "run", "no-suite"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=write,
        timeout=600,
        check=False,
    )
    os.close(write)
    assert done.returncode == 2


# A page, or a headline, that fails.


def fail(*_: object, **__: object) -> None:
    raise ValueError("All arrays must be of\nthe same length")


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


RUNS = (
    ("run", ["mine.toml", "--launcher", "replay", "--replay", "stored", "-o", "again"], 0),
    ("run", ["other.toml", "--launcher", "replay", "--replay", "stored", "-o", "again"], 4),
    ("resume", ["stored"], 0),
)


@pytest.mark.parametrize(("verb", "arguments", "code"), RUNS)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_outlives_its_report(verb, arguments, code, as_json, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("bench.report.build", fail)
    assert run_command([verb, *arguments, *(["--json"] if as_json else [])]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("clusterbench:"))
    assert "report" in line
    assert "ValueError: All arrays must be of" in line
    if as_json:
        assert '"outcome": "complete"' in out
    else:
        assert Path(out.splitlines()[-1]).is_dir()


@pytest.mark.parametrize(("verb", "arguments", "code"), RUNS)
def test_a_run_outlives_its_headline(verb, arguments, code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("bench.judge.headline.headlines", fail)
    assert run_command([verb, *arguments, "--no-report"]) == code
    out, err = capsys.readouterr()
    (line,) = (line for line in err.splitlines() if line.startswith("clusterbench:"))
    assert "ValueError: All arrays must be of" in line
    assert Path(out.splitlines()[-1]).is_dir()


def test_a_report_that_is_interrupted_leaves_the_run_named(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("bench.report.build", interrupt)
    verb, arguments, _ = RUNS[0]
    assert run_command([verb, *arguments]) == 130
    out, err = capsys.readouterr()
    assert "clusterbench: the report was interrupted" in err
    assert Path(out.splitlines()[-1]).is_dir()
