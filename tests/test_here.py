"""This machine under each of its names, and jobs of batch systems that it is or is not part of."""

import json
import socket
from pathlib import Path

import pytest
from trees import write_tree

from bench.cli import run_command
from bench.core.hostlists.hosts import HostList
from bench.core.hostlists.typed import parse_hosts
from bench.core.hostnames import part
from bench.core.records import Job, Stage, Status
from bench.launch.batch.granted import find_granted
from bench.launch.here import is_here
from bench.launch.mpirun import MpirunLauncher
from bench.machine.mpi import MpiInstall
from bench.store.folder import open_run

HOSTNAME = "Node_01"
FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.1.0.0/24 2 0 2
        |-- 10.1.0.0
           /24 link UNICAST
        |-- 10.1.0.6
           /31 link UNICAST
           /32 host LOCAL
        |-- 10.1.0.7
           /32 host LOCAL
        |-- 10.1.0.255
           /32 link BROADCAST
        |-- 10.1.0.1
           /32 universe UNICAST
"""
TREE = {
    "proc/net/fib_trie": FIB_TRIE,
    "proc/net/if_inet6": "fd000000000000000000000000000012 04 40 00 80     eth0\n",
    "etc/hosts": "127.0.0.1 localhost\n10.1.0.7 node01-ib Node01-Fast # own\n10.1.0.8 node02\n",
}


SUITE = """
[suite]
name = "pair"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = [8]
"""


def own_address() -> str:
    """Return the address that this machine has towards others; loopback where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    for name in ("SLURM_JOB_ID", "SLURM_JOBID", "PBS_JOBID", "LSB_JOBID", "PE_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: HOSTNAME)
    return write_tree(tmp_path, TREE)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        (HOSTNAME, True),
        ("node_01", True),
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.0.1.1", True),
        ("::1", True),
        ("10.1.0.7", True),
        ("10.1.0.6", True),
        ("fd00::12", True),
        ("node01-ib", True),
        ("node01-fast", True),
        # The network, its broadcast address and a route are no addresses of it.
        ("10.1.0.0", False),
        ("10.1.0.255", False),
        ("10.1.0.1", False),
        ("10.1.0.8", False),
        ("fd00::13", False),
        ("node02", False),
        ("node_011", False),
        ("node", False),
    ],
)
def test_this_machine_is_known_by_its_names_and_addresses(root: Path, host: str, here: bool):
    assert is_here(host, root) == here


def test_its_name_with_a_domain_is_its_own_where_that_leads_here(root: Path, monkeypatch):
    found = {"node_01.cluster.example": "10.1.0.7", "node_01.other.example": "10.9.0.7"}

    def look_up(name: str, *_: object, **__: object):
        if name not in found:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (found[name], 0))]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    assert is_here("Node_01.cluster.example", root)
    assert not is_here("node_01.other.example", root)
    assert not is_here("node_01.unknown.example", root)


def test_a_name_of_another_machine_is_never_looked_up(root: Path, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("asked a name service"))
    assert not is_here("node99.cluster.example", root)


def test_addresses_that_the_kernel_sends_from_are_own(tmp_path: Path):
    hides_its_tables = tmp_path
    for root in (Path("/"), hides_its_tables):
        assert is_here(own_address(), root)
        assert is_here("::1", root)
        assert not is_here("192.0.2.200", root)
        assert not is_here("2001:db8::200", root)


def test_a_list_of_this_machine_alone_needs_no_ssh(root: Path):
    mpi = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
    for host, remote in {"127.0.0.1": False, HOSTNAME: False, "node02": True}.items():
        command = MpirunLauncher(mpi, 2, (host,)).command(Job("j", Stage.TARGET, 0, 2, 1, ()))
        assert ("--host" in command.tokens) == remote


@pytest.mark.parametrize(
    ("version", "flags"),
    [((5, 0, 11), ("--map-by", ":OVERSUBSCRIBE")), ((4, 1, 4), ("--oversubscribe",))],
)
def test_within_a_batch_job_its_other_nodes_stay_out(root: Path, monkeypatch, version, flags):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    mpi = MpiInstall(family="openmpi", name="Open MPI", version=version, mpirun="/o5/mpirun")
    tokens = MpirunLauncher(mpi, 2, (HOSTNAME,)).command(Job("j", Stage.TARGET, 0, 2, 1, ())).tokens
    assert tokens[tokens.index("--host") + 1] == f"{HOSTNAME}:2"
    assert set(flags) <= set(tokens)


def test_more_ranks_than_this_machine_has_cores_are_allowed_under_any_of_its_names(root: Path):
    mpi = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
    job = Job("j", Stage.TARGET, 0, 3, 1, ())
    plain = MpirunLauncher(mpi, 2).command(job)
    assert ":OVERSUBSCRIBE" in plain.tokens
    assert MpirunLauncher(mpi, 2, ("127.0.0.1",)).command(job) == plain


@pytest.mark.mpi
@pytest.mark.parametrize("hosts", [own_address(), "localhost,127.0.0.1", "[::1]:2"])
def test_a_run_at_own_addresses_measures(hosts: str, tmp_path: Path):
    (tmp_path / "pair.toml").write_text(SUITE)
    flags = ["--hosts", hosts, "--bind", "none", "--no-report", "-o", str(tmp_path)]
    assert run_command(["run", str(tmp_path / "pair.toml"), *flags]) == 0
    (row,) = open_run(tmp_path / "latest").rows()
    first = parse_hosts(hosts)[0]
    assert (row.nodes, row.src, row.dst) == (1, part(first, "rank0"), part(first, "rank1"))


@pytest.mark.mpi
def test_slurm_of_nowhere_breaks_no_run(tmp_path: Path, monkeypatch, capsys):
    for name, value in {
        "SLURM_JOB_ID": "1",
        "SLURM_NTASKS": "1",
        "SLURM_NODELIST": "nosuch",
        "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pair.toml").write_text(SUITE)
    flags = ["--bind", "none", "--no-report", "-o", str(tmp_path)]
    assert run_command(["run", str(tmp_path / "pair.toml"), *flags]) == 0
    assert "SLURM_NODELIST is of another place" in capsys.readouterr().err
    (row,) = open_run(tmp_path / "latest").rows()
    assert (row.status, row.nodes) == (Status.OK, 1)


# Batch systems.


def granted(**environment: str) -> tuple[HostList | None, list[str]]:
    said: list[str] = []
    return find_granted(environment, said.append), said


def test_nodes_of_a_job_are_found_where_this_machine_is_one_of_them(tmp_path: Path):
    here = socket.gethostname()
    (tmp_path / "nodes").write_text(f"{here}\n{here}\nn2\n")
    for environment in (
        {"SLURM_JOB_NODELIST": f"{here},n2", "SLURM_TASKS_PER_NODE": "2,1"},
        {"PBS_NODEFILE": str(tmp_path / "nodes")},
        {"LSB_HOSTS": f"{here} {here} n2"},
        {"LSB_MCPU_HOSTS": f"{here} 2 n2 1", "LSB_HOSTS": "nosuch"},
        {"LSB_DJOB_HOSTFILE": str(tmp_path / "nodes")},
    ):
        found, said = granted(**environment)
        assert found is not None
        assert (found.slots(), found.granted) == ({here: 2, "n2": 1}, True)
        assert found.source.startswith(next(iter(environment)))
        assert said == []


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_NODELIST": "nosuch"},
        {"SLURM_JOB_NODELIST": "nosuch[1-4]", "SLURM_SUBMIT_HOST": "elsewhere"},
        {"SLURM_JOB_NODELIST": "(null)"},
        {"PBS_NODEFILE": "/nowhere/nodes"},
        {"LSB_HOSTS": "nosuch nosuch"},
        {"LSB_MCPU_HOSTS": "nosuch"},
        {"PE_HOSTFILE": "/dev/null"},
    ],
)
def test_variables_of_nowhere_are_not_believed_and_that_is_said(environment: dict[str, str]):
    found, said = granted(**environment)
    assert found is None
    assert len(said) == 1
    assert "ranks run here" in said[0]
    assert said[0].isprintable()


def test_without_a_batch_system_nothing_is_said():
    assert granted(HOME="/root", SLURM_CPU_BIND="none", LSB_HOSTS=" ") == (None, [])


def test_a_shell_of_salloc_is_for_its_nodes(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/srun")
    found, _ = granted(SLURM_JOB_NODELIST="nosuch[1-2]", SLURM_SUBMIT_HOST=socket.gethostname())
    assert found is not None
    assert found.names == ("nosuch1", "nosuch2")


# What the commands show.


@pytest.fixture
def mpirun(tmp_path: Path, monkeypatch) -> None:
    """Have an Open MPI that nobody starts."""
    mpi = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
    monkeypatch.setattr("bench.run.resolve.find_mpi", lambda _: mpi)


def test_a_plan_shows_where_ranks_go(tmp_path: Path, mpirun: None, capsys):
    (tmp_path / "hosts").write_text("n1:4\nn2:4\nn3:1 user=me\nn7\n")
    flags = ["-n", "10", "--hostfile", str(tmp_path / "hosts")]
    assert run_command(["plan", "cluster", *flags]) == 0
    out = capsys.readouterr().out
    assert "taken for a machine file of Hydra" in out
    assert "10 ranks by its counts" in out
    assert "passed over: user names" in out
    shown = out.partition("placement of 10 ranks\n")[2].splitlines()[:2]
    assert shown == ["  n[1-2]: 4 ranks each (0-7)", "  n[3,7]: 1 rank each (8-9)"]


def test_a_plan_has_hosts_and_placement_as_json(mpirun: None, capsys):
    flags = ["-n", "4", "--hosts", "n[1-2]:2,n7:4", "--json"]
    assert run_command(["plan", "cluster", *flags]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["hosts"]["names"] == ["n1", "n2", "n7"]
    assert plan["hosts"]["counts"] == [2, 2, 4]
    assert {str(job["placement"]) for job in plan["jobs"]} == {
        str({"counts": [2, 1, 1], "hosts": ["n1", "n2", "n7"]})
    }


def test_more_ranks_than_somebody_has_counted_are_refused(mpirun: None, capsys):
    assert run_command(["plan", "cluster", "-n", "5", "--hosts", "n1:2,n2:2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "allow 4 ranks, and a job has 5" in line


def test_more_ranks_than_a_batch_system_counts_are_said_to_be(mpirun: None, capsys, monkeypatch):
    monkeypatch.setenv("LSB_HOSTS", f"{socket.gethostname()} n2")
    assert run_command(["plan", "cluster", "-n", "4"]) == 0
    out = capsys.readouterr().out
    assert "2 hosts from LSB_HOSTS" in out
    assert "in jobs of over 2 ranks" in out


def test_of_hosts_that_nobody_named_the_way_out_is_told(
    mpirun: None, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setenv("LSB_HOSTS", f"{socket.gethostname()} nosuch-host.invalid")
    assert run_command(["run", "cluster", "-n", "2", "-o", str(tmp_path)]) == 4
    source, unfit, error = capsys.readouterr().err.splitlines()
    assert source.startswith("2 hosts from LSB_HOSTS")
    assert unfit.startswith("nosuch-host.invalid: ")
    assert "nobody has named them" in error
    assert "--hosts localhost" in error


def test_names_of_one_machine_are_one_host(mpirun: None, capsys):
    assert run_command(["plan", "cluster", "-n", "4", "--hosts", "127.0.0.1,localhost,n2"]) == 0
    out = capsys.readouterr().out
    assert "localhost: this machine by another name than 127.0.0.1" in out
    assert "  127.0.0.1,n2: 2 ranks each (0-3)" in out


def test_slurm_of_nowhere_leaves_a_plan_as_it_is(mpirun: None, capsys, monkeypatch):
    assert run_command(["plan", "quick"]) == 0
    plain = capsys.readouterr().out
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NODELIST", "nosuch")
    assert run_command(["plan", "quick"]) == 0
    out = capsys.readouterr().out
    (more,) = [line for line in out.splitlines() if line not in plain.splitlines()]
    assert more.startswith("SLURM_NODELIST is of another place: nosuch")
