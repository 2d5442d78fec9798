"""What is true in the lab is measured there: a short form of scripts/prove-lab."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from controls import free_share
from test_lab import STATE, lab, lab_possible, lab_up, payload, stream

from bench.machine.mpi import find_mpi

ROOT = Path(__file__).parent.parent
PROVE = str(ROOT / "scripts" / "prove-lab")
MPI = find_mpi()
RATE = "100mbit"
"""Others may use the machine: the slower the link, the less its truth depends on the cores."""

pytestmark = [pytest.mark.lab, pytest.mark.mpi, pytest.mark.slow]
__all__ = ["lab_possible"]


def prove(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROVE, *options], capture_output=True, text=True, timeout=600
    )


@pytest.mark.skipif(MPI is None or MPI.family != "openmpi", reason="its settings are Open MPI's")
def test_streams_ping_pongs_and_sums_take_the_time_that_the_links_dictate() -> None:
    answer = prove("--rates", RATE, "--short", "--attempts", "5")
    print(answer.stdout)
    lines = [line.split("|")[1:-1] for line in answer.stdout.splitlines() if f" {RATE} " in line]
    assert [line[2].strip() for line in lines] == ["bandwidth", "latency", "allreduce"]
    assert all("not measured" not in cell for line in lines for cell in line), answer.stderr
    missed = [line for line in lines if line[9].strip() != "yes"]
    assert answer.returncode == (1 if missed else 0)
    assert not STATE.exists()
    if missed:
        skip_if_busy(f"missed: {missed}")
    assert missed == []


def skip_if_busy(seen: str) -> None:
    """Skip where, at this moment, a bare socket does not fill a link, or others have the CPUs.

    Six ranks on a few cores want all of them for a sum.
    """
    share = free_share()
    with lab_up("--hosts", "2", "--rate", RATE):
        carried = [stream("h1", "h2", 0.5, payload()) for _ in range(3)]
    if share < 0.9 or min(carried) < 0.97:
        pytest.skip(
            f"{seen}; of the CPUs {share:.2f} are free, a bare socket has {carried} of a link"
        )


def test_no_lab_is_left_where_its_rate_is_none() -> None:
    answer = prove("--rates", "fast")
    assert answer.returncode == 2
    assert "400mbit" in answer.stderr
    assert not STATE.exists()


SLOW_SUITE = """
[suite]
name = "slow"
cap_s = 0.1
[[benchmark]]
name = "pairs_bandwidth"
bytes = "256 KiB"
window = 4
ranks = 3
"""


def test_a_host_that_sends_slowly_is_named_by_the_run(tmp_path: Path) -> None:
    suite = tmp_path / "slow.toml"
    suite.write_text(SLOW_SUITE)
    command = (sys.executable, "-P", "-m", "bench", "run", suite, "--bind", "none", "-o", tmp_path)
    env = {**os.environ, "OMPI_MCA_btl": "self,sm,tcp"}
    printed = ""
    for _ in range(3):
        with lab_up("--hosts", "3", "--rate", "100mbit", "--slow", "h3:tx=40%"):
            answer = lab("exec", "h1", *command, "--hostfile", STATE / "hostfile", env=env)
        assert answer.returncode == 0, answer.stderr
        printed = " ".join(answer.stdout.split())
        wrong = [word for word in ("receives", "h1 sends") if word in printed]
        if "h3 sends at 4" in printed and not wrong:
            return
    skip_if_busy(printed)
    pytest.fail(printed)
