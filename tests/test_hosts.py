"""Host names reach ssh and mpirun as arguments: what is no name never gets there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import run_command
from bench.core.errors import RequestError
from bench.core.hostnames import fold_hosts, parse_hosts, read_hostfile
from bench.core.records import Job, Stage
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
        assert name[0].isalnum()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_a_hostfile_of_an_mpi_is_understood(tmp_path: Path):
    file = tmp_path / "hosts"
    file.write_text("# rack 1\nh1 slots=2\n\nh2:4\nh3 slots = 2 max_slots=4  # new\n10.0.0.4\n")
    assert read_hostfile(file) == ("h1", "h2", "h3", "10.0.0.4")


@pytest.mark.parametrize("text", ["", "# none\n", "h1\nh1\n", "h1 slots=x\n", "-oX\n", "h1 h2\n"])
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
