"""Host names reach ssh and mpirun as arguments: what is no name never gets there."""

import ipaddress
import itertools
import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import run_command
from bench.core.errors import RequestError
from bench.core.hostlists.hostfile import read_hostfile
from bench.core.hostlists.typed import parse_hosts
from bench.core.hostnames import fold_hosts, fold_in_order, host_of, part
from bench.core.placement import place_ranks
from bench.core.records import Job, Stage
from bench.launch import LAUNCHERS, Opening
from bench.launch.mpirun import MpirunLauncher
from bench.machine.mpi import MpiInstall

OPEN_MPI = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
MPICH = MpiInstall(family="mpich", name="MPICH", version=(5, 0, 2), mpirun="/m5/mpiexec")

HOSTILE = [
    "-oProxyCommand=touch /tmp/owned",
    "--help",
    "h1;reboot",
    "$(reboot)",
    "`reboot`",
    "h1 h2",
    "h1\nh2",
    "h1\x00",
    "root@h1",
    "h1/..",
    "h1|x",
    "h1&",
    ".h1",
    "h1.",
    "h1-",
    "\u0068\u0456",
    "h" * 300,
    "",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_in_one_line(name, capsys):
    assert run_command(["plan", "quick", f"--hosts={name},h2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("clusterbench: ")
    assert err[:-1].isprintable()


@given(st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True), unique=True))
def test_plain_names_pass_in_their_order(names):
    if names:
        assert parse_hosts(",".join(names)) == tuple(names)


@given(st.text(max_size=40))
def test_whatever_passes_is_safe_as_an_argument(text):
    try:
        names = parse_hosts(text)
    except RequestError:
        return
    for name in names:
        if ":" in name:
            assert str(ipaddress.IPv6Address(name)) == name
        else:
            assert name[0].isalnum()
            assert set(name) <= set(string.ascii_letters + string.digits + "._-")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("node[001-003,7]", ("node001", "node002", "node003", "node7")),
        ("n[3,1],a", ("n3", "n1", "a")),
        ("n[1-2]-ib[0-1]", ("n1-ib0", "n1-ib1", "n2-ib0", "n2-ib1")),
        ("10.0.0.[9-11]", ("10.0.0.9", "10.0.0.10", "10.0.0.11")),
        ("[fd00::12],fd00:0::13", ("fd00::12", "fd00::13")),
    ],
)
def test_a_set_of_hosts_is_expanded_in_the_order_in_which_it_was_written(text, hosts):
    assert parse_hosts(text) == hosts


@pytest.mark.parametrize(
    "text",
    [
        "n[1,1]",
        "n[1-3],n2",
        "n[5-1]",
        "n[1-]",
        "n[]",
        "n[1-2",
        "n[[1-2]]",
        "n[01-40/4]",
        "n[1-3]!n2",
        "n[1-3]&n[2-4]",
        "@gpu",
        "(null)",
        "-o[1-2]",
        "n[1-2]-",
        "[fd00::12%eth0]",
        "[fd00::12",
    ],
)
def test_what_is_no_set_of_hosts_is_refused_in_one_line(text):
    with pytest.raises(RequestError, match="--hosts: ") as refused:
        parse_hosts(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["n[1-100000000]", "n[1-400]x[1-400]", f"n[{'1,' * 60000}1]x[1,2]"]
)
def test_a_set_is_counted_before_it_is_expanded(text, monkeypatch):
    monkeypatch.setattr("itertools.product", lambda *_: pytest.fail("expanded"))
    with pytest.raises(RequestError, match="over 100000 hosts"):
        parse_hosts(text)


def test_a_hostfile_without_an_end_is_refused():
    with pytest.raises(RequestError, match="over 16 MiB"):
        read_hostfile(Path("/dev/zero"))


@given(st.sets(st.integers(0, 300), min_size=1))
def test_folded_hosts_are_the_same_hosts(numbers):
    names = [f"node{number:03d}" for number in sorted(numbers)]
    assert parse_hosts(fold_hosts(names)) == tuple(names)


@pytest.mark.parametrize("host", ["n1", "n1.cluster", "10.0.0.1", "fd00::12"])
def test_a_part_names_its_host(host):
    assert host_of(part(host, "rank12")) == host
    assert host_of(host) == host
    assert part(host, "nic3").endswith(":nic3")
    assert part("fd00::12", "rank0") == "[fd00::12]:rank0"


@given(st.integers(1, 200), st.integers(1, 40))
def test_ranks_are_placed_in_even_blocks_with_the_ends_on_different_nodes(ranks, nodes):
    placement = place_ranks(ranks, nodes)
    assert sum(placement.counts) == ranks
    assert placement.nodes == min(ranks, nodes)
    assert max(placement.counts) - min(placement.counts) <= 1
    of_ranks = placement.node_of_ranks()
    assert list(of_ranks) == sorted(of_ranks)
    assert (of_ranks[0] == of_ranks[-1]) == (placement.nodes == 1)


def test_every_launcher_places_ranks_alike(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    hosts = ("h1", "h2", "h3", "h4")
    opening = Opening(mpi=OPEN_MPI, hosts=hosts)
    placed = {
        name: kind.open(opening).place(9)
        for name, kind in LAUNCHERS.items()
        if "hosts" in kind.flags
    }
    assert len(placed) == 4
    assert {placement.counts for placement in placed.values()} == {(3, 2, 2, 2)}
    assert placed["mpirun"].blocks() == {"h1": 3, "h2": 2, "h3": 2, "h4": 2}


def test_counts_are_kept_where_the_launcher_can_and_said_to_be_passed_over_elsewhere(
    monkeypatch, capsys
):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr("bench.run.resolve.find_mpi", lambda _: OPEN_MPI)
    monkeypatch.setattr("bench.run.resolve._library_under", lambda _: OPEN_MPI)
    for name, kind in LAUNCHERS.items():
        if "hosts" not in kind.flags:
            continue
        flags = ["--launcher", name, "--hosts", "h1:1,h2:3", "-n", "4", "--json"]
        assert run_command(["plan", "cluster", *flags]) == 0
        plan = json.loads(capsys.readouterr().out)
        placed = {tuple(job["placement"]["counts"]) for job in plan["jobs"]}
        said = any("spreads ranks evenly" in text for text in plan["hosts"]["passed_over"])
        assert (placed, said) == (({(1, 3)}, False) if kind.keeps_counts else ({(2, 2)}, True))
        if name == "pbs":
            script = plan["jobs"][0]["command"]["tokens"][-1]
            assert "1:host=h1:ncpus=1:mpiprocs=1+1:host=h2:ncpus=3:mpiprocs=3" in script


def test_mpich_is_given_no_ipv6_address():
    with pytest.raises(RequestError, match="takes no IPv6 address"):
        MpirunLauncher(MPICH, 2, ("fd00::12",))


def test_open_mpi_reads_ipv6_addresses_from_a_file_of_the_run(tmp_path: Path):
    launcher = MpirunLauncher(OPEN_MPI, 2, ("fd00::12", "h2"), run=tmp_path)
    command = launcher.command(Job("j", Stage.TARGET, 0, 3, 1, ()))
    assert "--host" not in command.tokens
    path = command.tokens[command.tokens.index("--hostfile") + 1]
    assert command.files == {path: "fd00::12 slots=2\nh2 slots=1\n"}
    assert Path(path).is_relative_to(tmp_path)
    assert (
        not MpirunLauncher(OPEN_MPI, 2, ("h1", "h2"))
        .command(Job("j", Stage.TARGET, 0, 3, 1, ()))
        .files
    )


def test_what_steers_the_ranks_is_handed_to_those_of_other_hosts(monkeypatch):
    monkeypatch.setenv("UCX_NET_DEVICES", "mlx5_0:1")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    monkeypatch.setenv("OMPI_MCA_pml", "ob1")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    job = Job("j", Stage.TARGET, 0, 2, 1, (), env={"OMP_PROC_BIND": "1"})
    tokens = MpirunLauncher(OPEN_MPI, 2, ("h1", "h2")).command(job).tokens
    handed = {name for flag, name in itertools.pairwise(tokens) if flag == "-x"}
    assert {"UCX_NET_DEVICES", "NCCL_SOCKET_IFNAME", "OMP_PROC_BIND"} <= handed
    # The first is handed on by Open MPI itself.
    assert handed.isdisjoint({"OMPI_MCA_pml", "SECRET_TOKEN"})
    assert "-x" not in MpirunLauncher(OPEN_MPI, 2).command(job).tokens


@pytest.mark.parametrize(
    ("cores", "bind"), [({}, "core"), ({"h1": 2}, "core"), ({"h2": 1}, "none")]
)
def test_ranks_of_a_host_that_has_too_few_cores_are_bound_to_none(cores, bind):
    job = Job("j", Stage.TARGET, 0, 4, 1, ())
    tokens = MpirunLauncher(OPEN_MPI, 64, ("h1", "h2"), "auto", cores).command(job).tokens
    assert tokens[tokens.index("--bind-to") + 1] == bind


@pytest.mark.parametrize("text", ["", "# none\n", "h1 slots=x\n", "-oX\n", "h1 h2\n"])
def test_a_wrong_hostfile_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "hosts"
    file.write_text(text)
    with pytest.raises(RequestError):
        read_hostfile(file)


@pytest.mark.parametrize(
    ("ranks", "open_mpi", "mpich"),
    [
        (1, "h1:1", "h1:1"),
        (2, "h1:1,h2:1", "h1:1,h2:1"),
        (3, "h1:1,h2:1,h3:1", "h1:1,h2:1,h3:1"),
        (7, "h1:3,h2:2,h3:2", "h1:3,h2:2,h3:2"),
    ],
)
def test_ranks_are_spread_evenly_in_blocks(ranks: int, open_mpi: str, mpich: str):
    job = Job("j", Stage.TARGET, 0, ranks, 1, ())
    hosts = ("h1", "h2", "h3")
    tokens = MpirunLauncher(OPEN_MPI, 2, hosts, "none").command(job).tokens
    assert tokens[tokens.index("--host") + 1] == open_mpi
    assert tokens[tokens.index("--bind-to") + 1] == "none"
    assert "btl" not in tokens
    tokens = MpirunLauncher(MPICH, 2, hosts, "core").command(job).tokens
    assert tokens[tokens.index("-hosts") + 1] == mpich
    assert tokens[tokens.index("-launcher") + 1] == "ssh"
    assert tokens[tokens.index("-bind-to") + 1] == "core"


@pytest.mark.parametrize(
    "flags",
    [
        ["--hosts", "h1", "--hostfile", "x"],
        ["--hosts", "h1", "--launcher", "local"],
        ["--hostfile", "/nowhere/hosts"],
        ["--bind", "socket"],
    ],
)
def test_flags_that_make_no_sense_together_are_refused(flags, capsys):
    assert run_command(["plan", "quick", *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["n7", "n1", "n3", "n2", "n2"], "n[1-3,7]"),
        (["n01", "n02", "n1"], "n[1,01-02]"),
        (["vm"], "vm"),
        ([], ""),
        (["r1n1.example.org", "r1n2.example.org"], "r1n[1-2].example.org"),
        (["n1", "n2", "@all", "n[5-9]", "a,b", "\x1b[2J"], r"n[1-2],\x1b[2J,@all,a,b,n[5-9]"),
    ],
)
def test_hosts_are_folded_for_people_and_hostile_names_stay_names(names, text):
    assert fold_hosts(names) == text


@given(
    st.lists(st.from_regex(r"[ab][0-9]{1,3}(-x)?", fullmatch=True), min_size=1, unique=True),
)
def test_what_is_folded_in_order_is_read_in_that_order(names):
    assert parse_hosts(fold_in_order(names)) == tuple(names)


@given(st.sets(st.from_regex(r"[a-z]{1,3}[0-9]{1,3}(\.[a-z][0-9])?", fullmatch=True), min_size=1))
def test_what_is_folded_is_read_as_the_same_hosts(names):
    assert set(parse_hosts(fold_hosts(names))) == names
