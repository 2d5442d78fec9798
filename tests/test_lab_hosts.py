"""Real runs over hosts of the lab: what reaches each of them, and by which names they go."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_lab import STATE, lab, lab_possible, lab_up

from bench.core.records import Status, parse_params
from bench.judge.fleet import fleet_findings
from bench.store.files import RESULTS_FILE
from bench.store.folder import RunFolder, open_run

__all__ = ["lab_possible"]  # fixture

pytestmark = [pytest.mark.lab, pytest.mark.mpi, pytest.mark.timeout(600)]

SUITE = """
[suite]
name = "two"
cap_s = 0.05
[[benchmark]]
name = "latency"
bytes = [8]
"""
UNLIKE = """
[suite]
name = "unlike"
cap_s = 0.05
launches = 4
[[benchmark]]
name = "barrier"
ranks = [2, 3]
"""
LONGEST_S = 300.0


def run(folder: Path, *flags: object, python: object = sys.executable, code: int = 0) -> RunFolder:
    """Run a suite from the first host; return its folder."""
    (folder / "two.toml").write_text(SUITE)
    command = (python, "-m", "bench", "run", folder / "two.toml", "-o", folder, "--no-report")
    env = {**os.environ, "OMPI_MCA_btl": "self,tcp", "UCX_NET_DEVICES": "eth1"}
    answer = lab("exec", "h1", *command, "--bind", "none", *flags, env=env, timeout_s=LONGEST_S)
    assert answer.returncode == code, answer.stderr
    return open_run(Path(answer.stdout.splitlines()[-1]))


def test_a_variable_that_steers_ucx_arrives_on_every_host(tmp_path):
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        measured = run(tmp_path, "--hosts", "h[1-2]")
    (row,) = measured.rows()
    assert (row.status, row.nodes, row.src, row.dst) == (Status.OK, 2, "h1:rank0", "h2:rank1")
    assert list(measured.nodes.hosts) == ["h1", "h2"]
    for key in measured.nodes.hosts.values():
        assert measured.nodes.facts[key]["environment"]["UCX_NET_DEVICES"] == "eth1"


def test_hosts_given_by_address_are_called_by_it_and_asked_at_it(tmp_path):
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        measured = run(tmp_path, "--hostfile", STATE / "addresses")
    (row,) = measured.rows()
    assert (row.status, row.nodes) == (Status.OK, 2)
    assert (row.src, row.dst) == ("10.78.1.1:rank0", "10.78.1.2:rank1")
    assert measured.meta.measured.hosts == {"10.78.1.1": "h1", "10.78.1.2": "h2"}


def test_hosts_of_one_name_are_refused_where_open_mpi_would_take_them_for_one(tmp_path):
    (tmp_path / "two.toml").write_text(SUITE)
    command = (sys.executable, "-P", "-m", "bench", "run", tmp_path / "two.toml", "-o", tmp_path)
    with lab_up("--hosts", "2", "--rate", "400mbit", "--hostname", "same"):
        answer = lab("exec", "h1", *command, "--hosts", "h1,h2", timeout_s=LONGEST_S)
    assert answer.returncode == 4
    (line,) = answer.stderr.splitlines()
    assert "h[1-2] as 'same'" in line
    assert "hostnamectl" in line
    assert not (tmp_path / "latest").exists()


@pytest.mark.slow
def test_hosts_of_one_name_stay_two(tmp_path, mpich):
    with lab_up("--hosts", "2", "--rate", "400mbit", "--hostname", "same"):
        measured = run(tmp_path, "--hosts", "h1,h2", python=mpich)
    (row,) = measured.rows()
    assert (row.status, row.nodes, row.src, row.dst) == (Status.OK, 2, "h1:rank0", "h2:rank1")
    assert measured.meta.measured.hosts == {"h1": "same", "h2": "same"}
    assert list(measured.nodes.hosts) == ["h1", "h2"]


@pytest.mark.slow
def test_one_host_taken_away_costs_only_the_jobs_that_need_it(tmp_path):
    (tmp_path / "unlike.toml").write_text(UNLIKE)
    command = (sys.executable, "-P", "-m", "bench", "run", tmp_path / "unlike.toml", "-o", tmp_path)
    env = {**os.environ, "OMPI_MCA_btl": "self,tcp"}
    flags = ("--hosts", "h[1-3]", "--bind", "none", "--no-report")
    with lab_up("--hosts", "3", "--rate", "400mbit"), ThreadPoolExecutor(1) as pool:
        running = pool.submit(lab, "exec", "h1", *command, *flags, env=env, timeout_s=LONGEST_S)
        while not (tmp_path / "latest" / RESULTS_FILE).exists() or not any(
            row.ranks == 3 for row in open_run(tmp_path / "latest").rows()
        ):
            assert not running.done(), running.result().stderr
            time.sleep(0.1)
        lab("set", "h3", "down")
        answer = running.result()
    assert answer.returncode == 4, answer.stderr
    rows = open_run(Path(answer.stdout.splitlines()[-1])).rows()
    assert len(rows) == 8
    assert {row.status for row in rows if row.ranks == 2} == {Status.OK}
    lost = [row for row in rows if row.status is not Status.OK]
    assert lost
    assert all(row.ranks == 3 and "h3" in (row.reason or "") for row in lost)


MOST_APART = 1.05
"""Of three like hosts, beyond which the limit for a fourth is over twice the middle."""
PRODUCTS = """
[suite]
name = "products"
cap_s = 0.5
[[benchmark]]
name = "matmul"
batch = [64, 128]
threads = 1
"""


def test_a_host_with_half_a_cpu_is_slower_by_the_mean_of_its_products(tmp_path):
    """A quota stops it for half of each period, so that the median of short samples is as it was.

    Who stands out is asked only where nothing else runs on the cores that all hosts share.
    """
    suite = tmp_path / "products.toml"
    suite.write_text(PRODUCTS)
    command = (sys.executable, "-P", "-m", "bench", "run", suite, "-o", tmp_path, "--no-report")
    with lab_up("--hosts", "4", "--rate", "400mbit", "--cpu", "h3=0.5"):
        flags = ("--hosts", "h[1-4]", "--bind", "none")
        answer = lab("exec", "h1", *command, *flags, timeout_s=LONGEST_S)
    assert answer.returncode == 0, answer.stderr
    measured = open_run(Path(answer.stdout.splitlines()[-1]))
    rows = measured.rows()
    by_case: dict[str, list[str]] = {}
    for row in rows:
        assert row.status is Status.OK
        assert parse_params(row.params)["turns"] == "4"
        by_case.setdefault(row.case, []).append(row.src or "")
    assert [sorted(hosts) for hosts in by_case.values()] == [["h1", "h2", "h3", "h4"]] * 2
    # The control: three hosts with whole CPUs, in the same minutes.
    like = {
        case: [row.t_mean_s or 0.0 for row in rows if row.case == case and row.src != "h3"]
        for case in by_case
    }
    apart = max(max(times) / min(times) for times in like.values())
    if apart > MOST_APART:
        pytest.skip(f"hosts with whole CPUs were {apart:.2f} times apart: others had the cores")
    (slower,) = fleet_findings(rows)
    assert slower.text.startswith("h3 is slower than the other 3")
    assert "on average" in slower.text
