"""Real runs over hosts of the lab: what reaches each of them, and by which names they go."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_lab import STATE, lab, lab_possible, lab_up, on

from bench.core.records import Status, parse_params
from bench.judge.fleet import fleet_findings
from bench.store.files import JOURNAL_FILE, RESULTS_FILE
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


@contextmanager
def ipv6(hosts: Sequence[str]) -> Iterator[list[str]]:
    """Give hosts an address of version 6, and an sshd that listens at it."""
    known = STATE / "home" / ".ssh" / "known_hosts"
    known.write_text(known.read_text().replace("10.78.*", "10.78.*,fd00:78:*"))
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "sshd"
    addresses = []
    for number, host in enumerate(hosts, 1):
        addresses.append(f"fd00:78::{number}")
        on(host, "ip", "addr", "add", f"{addresses[-1]}/64", "dev", "eth1", "nodad")
        own = STATE / "namespaces" / host / "sshd_config"
        other = own.with_name("sshd6_config")
        text = re.sub(r"(?m)^ListenAddress .*", f"ListenAddress {addresses[-1]}", own.read_text())
        other.write_text(text.replace("sshd.pid", "sshd6.pid"))
        on(host, sshd, "-f", other)
    yield addresses


def test_hosts_are_reached_at_addresses_of_version_6(tmp_path):
    with lab_up("--hosts", "2", "--rate", "400mbit"), ipv6(("h1", "h2")) as addresses:
        measured = run(tmp_path, "--hosts", ",".join(f"[{one}]" for one in addresses))
    (row,) = measured.rows()
    assert (row.status, row.nodes) == (Status.OK, 2)
    assert (row.src, row.dst) == ("[fd00:78::1]:rank0", "[fd00:78::2]:rank1")
    assert measured.meta.measured.hosts == {"fd00:78::1": "h1", "fd00:78::2": "h2"}


@pytest.mark.parametrize("family", ["openmpi", pytest.param("mpich", marks=pytest.mark.slow)])
def test_counts_of_a_host_file_decide_where_ranks_are(family, tmp_path, request):
    python = sys.executable if family == "openmpi" else request.getfixturevalue("mpich")
    (tmp_path / "hosts").write_text("h1:1\nh2:2 binding=rr\nh2:1\nh3:2 # new\n")
    with lab_up("--hosts", "3", "--rate", "400mbit"):
        flags = ("-n", "6", "--hostfile", tmp_path / "hosts")
        measured = run(tmp_path, *flags, python=python)
    (row,) = measured.rows()
    assert (row.status, row.nodes, row.src, row.dst) == (Status.OK, 3, "h1:rank0", "h3:rank5")
    (facts,) = (
        entry["event"]["ranks"]
        for entry in map(json.loads, (measured.path / JOURNAL_FILE).read_text().splitlines())
        if entry.get("event", {}).get("type") == "facts"
    )
    assert [rank["host"] for rank in facts] == ["h1", "h2", "h2", "h2", "h3", "h3"]
    assert measured.meta.measured.slots == {"h1": 1, "h2": 3, "h3": 2}


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
