"""Slurm's own words, by the fault itself in the lab: they become the reason of a row."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_causes import MEANS, fault
from test_lab import LAB, lab_possible, lab_up
from test_lab_slurm import start_slurm

from bench.core.records import Status
from bench.run.cause import Said, find_cause
from bench.run.settings import Settings
from bench.store.folder import open_run

__all__ = ["lab_possible"]  # fixture
pytestmark = [pytest.mark.lab, pytest.mark.slurm]
SUITE = '[suite]\nname = "small"\ncap_s = 0.02\n[[benchmark]]\nname = "latency"\nbytes = 8\n'


@pytest.fixture(scope="module", autouse=True)
def slurm(lab_possible: None) -> Iterator[None]:
    """One lab of two hosts with Slurm."""
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        start_slurm()
        yield


def say(folder: Path, *command: str, spoke: bool = False) -> str:
    """Return the reason that the words of a command on the first host give."""
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [sys.executable, LAB, "exec", "h1", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            timeout=600,
            check=False,
        )
    return find_cause(folder / "log", Said(), spoke, Settings({}, None, None)).text


@pytest.mark.parametrize("signal", ["SIGBUS", "SIGSEGV", "SIGKILL"])
def test_a_task_that_a_signal_ended_is_explained(signal, tmp_path):
    program = fault(signal, tmp_path)
    reason = say(tmp_path, "srun", "-N1", sys.executable, "-c", program, spoke=True)
    assert reason.startswith("task 0 on h")
    assert f"({signal}): " in reason
    assert MEANS[signal] in reason


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("srun", "-N2", "--mpi=nonsense", "true"), "Slurm knows no MPI nonsense; name one that"),
        (
            ("srun", "-N1", "--partition=no", "true"),
            "invalid partition specified: no; name one that `sinfo`",
        ),
        (("srun", "-N1", "--mem=999T", "true"), "grants no nodes: Requested node configuration is"),
        (("sbatch", "--mem=999T", "--wrap=true"), "Slurm takes no such batch job: "),
        (("salloc", "-N1", "srun", "-N2", "true"), "the allocation has 1 nodes and 2 were asked"),
        (("srun", "-N1", "/nowhere/python"), "a node cannot run /nowhere/python: "),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_what_slurm_refuses_is_told_with_the_next_step(command, words, tmp_path):
    assert words in say(tmp_path, *command)


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "site", "words"),
    [
        ("OMPI_MCA_pml=nonsense", "", "component nonsense of framework pml on h"),
        ("", 'mpi = "nonsense"', "Slurm knows no MPI nonsense"),
    ],
)
def test_a_row_under_srun_says_why(env, site, words, tmp_path):
    (tmp_path / "small.toml").write_text(SUITE)
    (tmp_path / "site.toml").write_text(site)
    command = [sys.executable, "-m", "bench", "run", str(tmp_path / "small.toml"), "-n", "2"]
    command += ["--launcher", "srun", "--site", str(tmp_path / "site.toml"), "--no-report"]
    variables = dict(setting.split("=", 1) for setting in env.split())
    answer = subprocess.run(
        [sys.executable, LAB, "exec", "h1", "salloc", "-N2", *command, "-o", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **variables},
    )
    (row,) = open_run(tmp_path / "latest").rows()
    assert row.status is Status.FAILED, answer.stderr
    assert words in (row.reason or "")
