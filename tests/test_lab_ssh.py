"""Hosts of the lab whose shells print, or that do not let anybody in: each is told in a line."""

import json
import os
import sys
from pathlib import Path

import pytest
from test_lab import STATE, lab, lab_possible, lab_up, on
from test_lab_hosts import SUITE, run

import bench
from bench.core.records import Status

__all__ = ["lab_possible"]  # fixture

pytestmark = [pytest.mark.lab, pytest.mark.mpi, pytest.mark.timeout(600)]

HOME = STATE / "home"
PROFILE = r"""
echo Welcome to the cluster
printf '\033[31mred\033[0m and no end of line'
echo 'clusterbench-host 9.9 7' | tr 'c' 'C'
export LC_ALL=xx_YY.UTF-8 PATH=/usr/bin:/bin
stty erase ^H
echo 'Read -1, expected 64, errno = 1' >&2
"""
"""What people have in a .bashrc, before it asks whether anybody is there."""


@pytest.mark.parametrize("mpi", ["Open MPI", pytest.param("MPICH", marks=pytest.mark.slow)])
def test_what_a_remote_shell_prints_is_no_answer_and_no_row(
    tmp_path: Path, mpi: str, request: pytest.FixtureRequest
) -> None:
    python = request.getfixturevalue("mpich") if mpi == "MPICH" else sys.executable
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        (HOME / ".bashrc").write_text(PROFILE)
        assert "Welcome" in on("h1", "ssh", "h2", "true")  # it does print
        measured = run(tmp_path, "--hosts", "h[1-2]", python=python)
    (row,) = measured.rows()
    assert (row.status, row.nodes, row.src, row.dst) == (Status.OK, 2, "h1:rank0", "h2:rank1")
    assert measured.meta.measured.hosts == {"h1": "h1", "h2": "h2"}


def spoil_hosts(folder: Path) -> None:
    """Take from h2 its Python, from h3 its known key; shut h4, and give h5 an older version."""
    on("h2", "mount", "-t", "tmpfs", "none", sys.prefix)
    known = HOME / ".ssh" / "known_hosts"
    _, key = known.read_text().split(maxsplit=1)
    known.write_text(f"h1,h2,h4,h5,10.78.* {key}")
    on("h4", "mount", "--bind", "/dev/null", HOME / ".ssh" / "id_ed25519.pub")
    older = folder / "older.py"
    older.write_text('__version__ = "0.0.9"\n')
    on("h5", "mount", "--bind", older, bench.__file__)
    on("h1", "ip", "route", "add", "blackhole", "10.9.9.9")
    # Packets to this one are lost on their way: ssh waits for an answer.
    on("h1", "ip", "route", "add", "10.9.9.8", "dev", "eth1")
    on("h1", "ip", "neighbour", "add", "10.9.9.8", "lladdr", "02:00:00:00:00:01", "dev", "eth1")


WHY = {
    "h2": f"no clusterbench for {sys.executable} there",
    "h3": "ssh failed: Host key verification failed",
    "h4": "ssh failed: root@h4: Permission denied (publickey)",
    "h5": f"has clusterbench 0.0.9, here it is {bench.__version__}",
    "10.9.9.9": "ssh failed: ssh: connect to host 10.9.9.9 port 22",
    "10.9.9.8": "ssh failed: ssh: connect to host 10.9.9.8 port 22: Connection timed out",
}


def test_each_host_that_cannot_take_part_has_a_line_and_no_run_begins(tmp_path: Path) -> None:
    hosts = ",".join(("h1", *WHY))
    suite = tmp_path / "two.toml"
    suite.write_text(SUITE)
    program = (sys.executable, "-m", "bench")
    # Nobody asks for a password or a yes: there would be nobody to answer.
    env = {**os.environ, "SSH_ASKPASS": "/bin/false", "DISPLAY": ":0"}
    with lab_up("--hosts", "5", "--rate", "400mbit"):
        spoil_hosts(tmp_path)
        asked = lab("exec", "h1", *program, "doctor", "--json", "--hosts", hosts, env=env)
        answer = lab(
            "exec", "h1", *program, "run", suite, "-o", tmp_path / "out", "--hosts", hosts, env=env
        )
    found = [f for f in json.loads(asked.stdout)["findings"] if f["name"] == "unfit-host"]
    assert {f["about"]["hosts"][0]: f["level"] for f in found} == dict.fromkeys(WHY, "stop")
    assert all(WHY[f["about"]["hosts"][0]] in f["text"] for f in found)
    assert (asked.returncode, answer.returncode) == (3, 4)
    lines = answer.stderr.splitlines()
    assert len(lines) == len(WHY) + 1
    assert all(line.isprintable() for line in lines)
    assert [why for host, why in WHY.items() if f"{host}: {why}" not in answer.stderr] == []
    assert "6 of 7 hosts cannot take part" in lines[-1]
    assert not (tmp_path / "out").exists()
