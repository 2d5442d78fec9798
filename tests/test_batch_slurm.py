"""Runs through a real Slurm in the lab: srun and sbatch measure what mpirun over SSH measures."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_lab import LAB, STATE, lab, lab_possible, lab_up, on, payload, stream
from test_lab_slurm import eventually, start_slurm

from bench.core.records import Row, Status
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder, open_run

__all__ = ["lab_possible"]  # fixture

pytestmark = [pytest.mark.lab, pytest.mark.slurm, pytest.mark.mpi]

SUITE = """
[suite]
name = "small"
cap_s = 0.1
[[benchmark]]
name = "latency"
bytes = ["8 B", "64 KiB", "1 MiB"]
[[benchmark]]
name = "bandwidth"
bytes = ["64 KiB", "1 MiB"]
window = 8
"""
CASES = 5
LONG = SUITE.replace("cap_s = 0.1", "cap_s = 3.0")
TWICE = SUITE.replace("cap_s = 0.1", "cap_s = 0.1\nlaunches = 2")
RUN_S = 600
"""A guard against what hangs, and no claim: others may use the machine."""


@pytest.fixture(scope="module", autouse=True)
def slurm(lab_possible: None) -> Iterator[None]:
    """One lab of two hosts with Slurm."""
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        told = start_slurm()
        if "apt install libpmix-dev" in told:
            reason = "Slurm's PMIx needs its library: apt install libpmix-dev"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        yield


def suite(folder: Path, text: str = SUITE) -> Path:
    file = folder / "small.toml"
    file.write_text(text)
    return file


def command(python: Path | str, *arguments: object) -> list[str]:
    """Return clusterbench on the first host, whose hosts share their cores."""
    start = [sys.executable, LAB, "exec", "h1"]
    return [*start, *map(str, (python, "-m", "bench", *arguments))]


def run(
    folder: Path,
    *flags: object,
    python: Path | str = sys.executable,
    within_salloc: bool = False,
) -> RunFolder:
    """Return a run of the small suite that ended well."""
    tokens = command(python, "run", suite(folder), "--bind", "none", "--no-report", "-o", folder)
    within = ["salloc", "--quiet", "--nodes=2"] if within_salloc or "srun" in flags else []
    return carry_out([*tokens[:4], *within, *tokens[4:], *map(str, flags)], folder)


def carry_out(tokens: list[str], folder: Path) -> RunFolder:
    """Return the run that a command left, which ended well."""
    answer = subprocess.run(
        tokens,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
        env={**os.environ, "OMPI_MCA_btl": "self,tcp"},
    )
    assert answer.returncode == 0, answer.stderr
    return open_run(folder / "latest")


def test_mpirun_within_salloc_runs_on_its_nodes(tmp_path: Path) -> None:
    # More ranks than tasks, which Open MPI would refuse.
    measured = run(tmp_path, "-n", 4, within_salloc=True)
    assert {(row.status, row.ranks_per_node, row.src, row.dst) for row in measured.rows()} == {
        (Status.OK, 2, "h1:rank0", "h2:rank3")
    }
    assert measured.meta.measured.hosts_from == "SLURM_JOB_NODELIST"
    assert measured.meta.measured.slots == {"h1": 1, "h2": 1}


def outline(rows: list[Row]) -> set[tuple[str, Status, int | None, str, str]]:
    """Return what must be the same however ranks are started."""
    return {
        (row.case, row.status, row.nodes, (row.src or "")[:2], (row.dst or "")[:2]) for row in rows
    }


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openmpi", "mpich"])
def test_all_launchers_measure_the_same_cases(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    python = sys.executable if family == "openmpi" else request.getfixturevalue("mpich")
    ways = {
        "mpirun": ("--hostfile", STATE / "hostfile"),
        "srun": ("--launcher", "srun"),
        "sbatch": ("--launcher", "sbatch", "--nodes", 2),
    }
    runs = {}
    for way, flags in ways.items():
        (tmp_path / way).mkdir()
        runs[way] = run(tmp_path / way, *flags, python=python)
    outlines = {way: outline(made.rows()) for way, made in runs.items()}
    assert outlines["mpirun"] == outlines["srun"] == outlines["sbatch"]
    assert len(outlines["sbatch"]) == CASES
    assert {row[1] for row in outlines["sbatch"]} == {Status.OK}
    assert {row[2:] for row in outlines["sbatch"]} == {(2, "h1", "h2")}
    rates = {way: [bandwidth(made)] for way, made in runs.items()}
    carried: list[float] = []
    # A link cannot be busy while others have the cores: what was slow is measured again.
    for _ in range(4):
        slow = [way for way in ways if max(rates[way]) < 0.97 * max(map(max, rates.values()))]
        print(family, rates, carried)
        if not slow:
            return
        carried.append(stream("h1", "h2", 0.5, payload()))
        for way in slow:
            rates[way].append(bandwidth(run(tmp_path / way, *ways[way], python=python)))
    if min(carried) < 0.97:
        pytest.skip(f"this machine carries no steady rate now: {rates}, a bare socket {carried}")
    pytest.fail(f"launchers differ: {rates}, while a bare socket had {carried} of the link")


@pytest.mark.slow
def test_a_step_that_holds_all_cores_does_not_hold_up_the_ranks(tmp_path: Path) -> None:
    """Without `--overlap` srun says that steps are temporarily disabled, and waits for ever."""
    hold = 'srun --ntasks=2 --nodes=2 sleep 600 & sleep 3; "$@"; told=$?; kill $!; '
    within = ("salloc", "--quiet", "--nodes=2", "sh", "-c")
    tokens = command(
        sys.executable,
        *("run", suite(tmp_path), "--launcher", "srun", "--nodes", 2),
        *("--bind", "none", "--no-report", "-o", tmp_path),
    )
    run = carry_out([*tokens[:4], *within, f"{hold}exit $told", "sh", *tokens[4:]], tmp_path)
    assert {row.status for row in run.rows()} == {Status.OK}


def bandwidth(made: RunFolder) -> float:
    """Return the rate of windows of 1 MiB, in GB/s."""
    (rate,) = (
        row.gbytes_per_s
        for row in made.rows()
        if (row.benchmark, row.bytes) == ("bandwidth", 2**20)
    )
    assert rate is not None
    return rate


class Submitted:
    """A run by sbatch on its way, in a folder of its own."""

    def __init__(self, folder: Path, text: str, *flags: object) -> None:
        self._parent = folder
        self.process = subprocess.Popen(
            command(
                sys.executable,
                *("run", suite(folder, text), "--launcher", "sbatch", "--nodes", 2),
                *("--bind", "none", "--no-report", "-o", folder, *flags),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMPI_MCA_btl": "self,tcp"},
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind in the journal."""
        found = list(self._parent.glob(f"*-small-*/{JOURNAL_FILE}"))
        text = found[0].read_text() if found else ""
        entries = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        events = [entry["event"] for entry in entries if "event" in entry]
        return [event for event in events if event["type"] == kind]

    def wait_for(self, kind: str) -> dict[str, Any]:
        """Return the first event of a kind, once it is there."""
        deadline = time.monotonic() + RUN_S
        while not self.events(kind):
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return self.events(kind)[0]


@contextlib.contextmanager
def submitted(folder: Path, *flags: object, text: str = LONG) -> Iterator[Submitted]:
    running = Submitted(folder, text, *flags)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


def in_queue() -> str:
    return on("h1", "squeue", "--noheader", "--states=PD,R", "--format=%i %T")


def harness(folder: Path) -> int:
    """Return the process of clusterbench itself, which `scripts/lab exec` has started."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[1:4] == [b"-m", b"bench", b"run"] and str(folder).encode() in words:
                return int(path.parent.name)
    raise AssertionError("clusterbench is not running")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_batch_job_outlives_its_runner(tmp_path: Path, number: signal.Signals) -> None:
    with submitted(tmp_path) as running:
        facts = running.wait_for("facts")
        pids = [rank["pid"] for rank in facts["ranks"]]
        assert all(map(is_alive, pids))
        os.kill(harness(tmp_path), number)
        assert eventually(lambda: in_queue() == "")
        assert eventually(lambda: not any(map(is_alive, pids)))
    found = open_run(next(tmp_path.glob("*-small-*")))
    assert all(row.status is Status.OK for row in found.rows())
    assert found.missing()


def test_a_job_in_the_queue_waits_and_is_cancelled_with_its_runner(tmp_path: Path) -> None:
    with submitted(tmp_path, "--site", held(tmp_path)) as running:
        assert "JobHeldUser" in running.wait_for("queued")["state"]
        assert "PENDING" in in_queue()
        os.kill(harness(tmp_path), signal.SIGKILL)
        assert eventually(lambda: in_queue() == "")


def held(folder: Path) -> Path:
    """Return a site file whose jobs wait until somebody releases them."""
    site = folder / "site.toml"
    site.write_text('flags = ["--hold"]\ntime = "00:05:00"\npartition = "lab"\n')
    return site


@pytest.mark.slow
def test_a_job_that_somebody_cancels_is_told_with_slurms_word(tmp_path: Path) -> None:
    with submitted(tmp_path, "--site", held(tmp_path)) as running:
        job = running.wait_for("queued")["batch_job"].rpartition(" ")[2]
        assert on("h1", "scontrol", "release", job) == ""
        running.wait_for("case")
        assert on("h1", "scancel", job) == ""
        # What is left is submitted again, and held again.
        assert eventually(lambda: running.events("queued")[-1]["batch_job"] != f"Slurm job {job}")
        os.kill(harness(tmp_path), signal.SIGINT)
        running.process.wait(RUN_S)
    (row,) = open_run(next(tmp_path.glob("*-small-*"))).rows()
    assert row.status is Status.FAILED
    assert f"Slurm job {job} ended early: CANCELLED" in (row.reason or "")


def test_a_refused_job_is_told_in_slurms_words(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('partition = "no such; partition"\n')
    tokens = command(sys.executable, "run", suite(tmp_path), "--launcher", "sbatch")
    answer = subprocess.run(
        [*tokens, "--site", site, "--no-report", "-o", tmp_path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )
    assert answer.returncode == 4
    assert "invalid partition specified: no such; partition" in answer.stderr
    assert in_queue() == ""


@pytest.mark.slow
def test_a_run_by_sbatch_is_resumed_by_sbatch(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    with submitted(tmp_path, "--work", tmp_path / "shared", text=TWICE) as running:
        running.wait_for("done")
        os.kill(harness(tmp_path), signal.SIGKILL)
        assert eventually(lambda: in_queue() == "")
    folder = next(tmp_path.glob("*-small-*"))
    kept = open_run(folder).rows()
    answer = subprocess.run(
        command(sys.executable, "resume", folder, "--no-report"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
        env={**os.environ, "OMPI_MCA_btl": "self,tcp"},
    )
    assert answer.returncode == 0, answer.stderr
    resumed = open_run(folder)
    rows = resumed.rows()
    assert rows[: len(kept)] == kept
    assert CASES <= len(kept) < 2 * CASES
    assert len({(row.case, row.launch) for row in rows}) == len(rows) == 2 * CASES
    assert all(row.status is Status.OK for row in rows)
    works = {Path(told.tokens[-2]) for told in resumed.commands}
    assert works == {tmp_path / "shared" / folder.name}
    assert not (folder / "batch").exists()


def test_srun_is_refused_outside_of_an_allocation(tmp_path: Path) -> None:
    tokens = command(sys.executable, "run", suite(tmp_path), "--launcher", "srun")
    answer = lab(*tokens[2:])
    assert answer.returncode == 2
    assert "salloc" in answer.stderr


NASTY = ["a b", "it's", '"', "\\", "a\\b", "#x", "$HOME", "`id`", "; id", "é"]


@pytest.mark.parametrize("text", NASTY)
def test_sbatch_reads_a_directive_as_it_was_meant(text: str, tmp_path: Path) -> None:
    """Its rules for quotes are its own: it is asked for a comment, which it keeps as it is."""
    from bench.launch.batch.script import directive

    script = tmp_path / "script.sh"
    words = [f"--comment={text}", "--hold", "--output=/dev/null"]
    script.write_text(f"#!/bin/bash\n{directive('#SBATCH', words)}\ntrue\n")
    number = on("h1", "sbatch", "--parsable", script).strip()
    try:
        told = on("h1", "squeue", "--noheader", f"--jobs={number}", "--format=%k").strip()
    finally:
        on("h1", "scancel", number)
    assert told == text
