"""MPI's own words: each message by the fault itself, under the MPI of either wheel."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from begun import begun
from test_causes import FAULTS, MEANS, Quiet, fault

from bench.contracts import LaunchCommand
from bench.core.program import module_command
from bench.core.records import Case, Job, Stage, Status
from bench.run.alone import ask_alone
from bench.run.attempt import Attempt
from bench.run.cause import Said, find_cause
from bench.run.deadline import START_DEADLINE_S
from bench.run.settings import Settings
from bench.store.files import LOGS_FOLDER
from bench.store.folder import RunFolder, open_run
from bench.store.recorder import Recorder

pytestmark = pytest.mark.mpi
ROOT = Path(__file__).parent.parent
SUITE = """
[suite]
name = "small"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = ["8 B", "1 KiB"]
"""
LONG_SUITE = """
[suite]
name = "small"
[[benchmark]]
name = "matmul"
batch = [5000, 5001]
k = 5000
n = 5000
dtype = "fp64"
"""
"""Two cases of 250 GFLOP a product: none ends within a second."""


class Fault(NamedTuple):
    """What is wrong, and what the reason has to say."""

    name: str
    says: Sequence[str]
    env: str = ""
    before: str = ""
    """What a shell does before the command."""
    apart: tuple[str, ...] = ()
    """Which namespaces are its own."""
    suite: str = SUITE


UNSET = "is set in the environment: unset it"
OPEN_MPI = (
    Fault(
        "pml",
        ("Open MPI found no component nonsense of framework pml on ", f"pml=nonsense {UNSET}"),
        env="OMPI_MCA_pml=nonsense",
    ),
    Fault(
        "btl",
        ("at least one pair of MPI processes are unable to reach each other", f"btl=self {UNSET}"),
        env="OMPI_MCA_btl=self",
    ),
    Fault(
        "no-interface",
        ("MPI needs a network interface that is up", "ip link set lo up"),
        apart=("--net",),
    ),
    Fault(
        "tmpdir-proc",
        ("MPI cannot make its folder /proc/", "TMPDIR=/proc is set", "such as /tmp"),
        env="TMPDIR=/proc",
    ),
    Fault(
        "tmpdir-read-only",
        ("MPI cannot make its folder ", "Read-only file system", "TMPDIR=", "such as /tmp"),
        before="mkdir here; mount --bind here here; mount -o remount,bind,ro here;"
        'export TMPDIR="$PWD/here"',
        apart=("--mount",),
    ),
    Fault(
        "file-size",
        ("signal 25 (SIGXFSZ): a file grew over the limit of this shell", "ulimit -f is 8 KiB"),
        before="ulimit -f 8",
    ),
)
MORE_OPEN_MPI = (
    Fault("none-opened", ("framework pml", f"pml=ucx {UNSET}"), env="OMPI_MCA_pml=ucx"),
    Fault("coll", ("nonsense of framework coll",), env="OMPI_MCA_coll=nonsense"),
    Fault("negation", ("^", f"btl=^self,^sm {UNSET}"), env="OMPI_MCA_btl=^self,^sm"),
    Fault("pmix", ("nonsense of framework gds", UNSET), env="PMIX_MCA_gds=nonsense"),
    Fault(
        "oob",
        ("network interface", f"oob_tcp_if_include=no0 {UNSET}"),
        env="PRTE_MCA_oob_tcp_if_include=no0",
    ),
    Fault(
        "tcp",
        ("knows no network no0: Unknown interface name", f"btl_tcp_if_include=no0 {UNSET}"),
        env="OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=no0",
    ),
    Fault(
        "time-limit",
        ("its own time limit", f"MPIEXEC_TIMEOUT=1 {UNSET}"),
        env="MPIEXEC_TIMEOUT=1",
        suite=LONG_SUITE,
    ),
    # Who asks for memory in vain says so, or uses what it did not get.
    Fault("memory", ("ulimit -v is 500000 KiB here",), before="ulimit -v 500000"),
    Fault(
        "params-file",
        ("nonsense of framework pml", "pml=nonsense is set in ~/.openmpi/mca-params.conf"),
        before='mkdir .openmpi; echo pml=nonsense > .openmpi/mca-params.conf; export HOME="$PWD"',
    ),
)
LITTLE = (
    Fault(
        "files", ("the limit of open files was reached (ulimit -n is 32",), before="ulimit -n 32"
    ),
    Fault(
        "read-only",
        ("UCX could not make its shared memory: Read-only file system", "shm holds "),
        before="mount -o bind,ro /dev/shm /dev/shm",
        apart=("--mount",),
    ),
)
"""Open MPI makes do with it."""
MPICH = (
    *LITTLE,
    Fault(
        "shared-memory",
        ("signal 7 (SIGBUS): shared memory ran out", "--shm-size"),
        before="mount -t tmpfs -o size=1m tmpfs /dev/shm",
        apart=("--mount",),
    ),
    Fault(
        "variable",
        ("MPICH cannot read MPIR_CVAR_CH4_OFI_CAPABILITY_SETS_DEBUG", f"=abc {UNSET}"),
        env="MPIR_CVAR_CH4_OFI_CAPABILITY_SETS_DEBUG=abc",
    ),
    Fault(
        "init",
        ("MPICH gave up in internal_Init_thread", "NOLOCAL=abc is set in the environment: try"),
        env="MPIR_CVAR_NOLOCAL=abc",
    ),
    Fault("crash", ("signal 11 (SIGSEGV)", "NETMOD=no"), env="MPIR_CVAR_CH4_NETMOD=no"),
    Fault(
        "interface",
        ("Hydra found no network interface no0", f"HYDRA_IFACE=no0 {UNSET}"),
        env="HYDRA_IFACE=no0",
    ),
    Fault(
        "launcher",
        ("Hydra knows no launcher no", f"HYDRA_LAUNCHER=no {UNSET}"),
        env="HYDRA_LAUNCHER=no",
    ),
    Fault(
        "time-limit",
        ("its own time limit", f"MPIEXEC_TIMEOUT=1 {UNSET}"),
        env="MPIEXEC_TIMEOUT=1",
        suite=LONG_SUITE,
    ),
)


def start(python: Path | str, folder: Path, wrong: Fault) -> "subprocess.CompletedProcess[str]":
    """Run the suite where something is wrong."""
    (folder / "small.toml").write_text(wrong.suite)
    command = [str(python), "-m", "bench", "run", str(folder / "small.toml"), "-n", "2"]
    command += ["-o", str(folder / "out"), "--no-report"]
    if wrong.before:
        command = ["bash", "-c", f'set -e; {wrong.before}; exec "$@"', "bash", *command]
    if wrong.apart:
        if os.geteuid() != 0:
            pytest.skip("namespaces need root")
        if subprocess.run(["unshare", *wrong.apart, "true"], capture_output=True).returncode != 0:
            pytest.skip("this root may make no namespaces")
        command = ["unshare", *wrong.apart, *command]
    variables = dict(setting.split("=", 1) for setting in wrong.env.split())
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )


def check(python: Path | str, folder: Path, wrong: Fault) -> None:
    begin_s = time.monotonic()
    answer = start(python, folder, wrong)
    assert answer.returncode == 4, answer.stderr
    assert time.monotonic() - begin_s < START_DEADLINE_S / 2
    assert "Traceback" not in answer.stderr
    for reason in reasons(open_run(folder / "out" / "latest")):
        assert all(words in reason for words in wrong.says), reason


def reasons(run: RunFolder) -> list[str]:
    rows = run.rows()
    assert len(rows) == 2
    assert {row.status for row in rows} == {Status.FAILED}
    return [row.reason or "" for row in rows]


def name(wrong: Fault) -> str:
    return wrong.name


@pytest.mark.parametrize("wrong", OPEN_MPI, ids=name)
def test_open_mpi_s_words_become_a_reason(wrong, tmp_path):
    check(sys.executable, tmp_path, wrong)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", MORE_OPEN_MPI, ids=name)
def test_more_of_open_mpi_s_words_become_a_reason(wrong, tmp_path):
    check(sys.executable, tmp_path, wrong)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", MPICH, ids=name)
def test_mpich_s_words_become_a_reason(wrong, mpich, tmp_path):
    check(mpich, tmp_path, wrong)


@pytest.mark.parametrize(
    "harmless",
    [
        Fault("component", ("nonsense",), env="OMPI_MCA_mtl=nonsense"),
        Fault(
            "shared-memory",
            ("not enough space",),
            before="mount -t tmpfs -o size=8m tmpfs /dev/shm",
            apart=("--mount",),
        ),
    ],
    ids=name,
)
def test_a_warning_of_mpi_ends_no_job(harmless, tmp_path):
    answer = start(sys.executable, tmp_path, harmless)
    assert answer.returncode == 0, answer.stderr
    run = open_run(tmp_path / "out" / "latest")
    logs = "".join(file.read_text() for file in (run.path / LOGS_FOLDER).iterdir())
    assert all(words in logs for words in harmless.says)
    assert {row.status for row in run.rows()} == {Status.OK}
    assert {row.attempt for row in run.rows()} == {0}


LONG = "/".join(letter * 120 for letter in "xy")


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd",
    [
        Fault("missing", (), env="TMPDIR=/nonexistent"),
        Fault("long", (), before=f'mkdir -p {LONG}; export TMPDIR="$PWD/{LONG}"'),
        Fault("blanks", (), before='mkdir "a b ü"; export TMPDIR="$PWD/a b ü"'),
        Fault("stack", (), before="ulimit -s 256"),
        Fault("no-name", (), before="hostname box; ip link set lo up", apart=("--net", "--uts")),
    ],
    ids=name,
)
@pytest.mark.parametrize("mpi", ["openmpi", "mpich"])
def test_odd_places_are_no_matter(odd, mpi, request, tmp_path):
    python = sys.executable if mpi == "openmpi" else request.getfixturevalue("mpich")
    check_survived(python, tmp_path, odd)


@pytest.mark.slow
@pytest.mark.parametrize("little", LITTLE, ids=name)
def test_open_mpi_makes_do_with_little(little, tmp_path):
    check_survived(sys.executable, tmp_path, little)


def check_survived(python: Path | str, folder: Path, odd: Fault) -> None:
    answer = start(python, folder, odd)
    assert answer.returncode == 0, answer.stderr
    assert {row.status for row in open_run(folder / "out" / "latest").rows()} == {Status.OK}


def test_too_few_files_for_the_program_itself_name_the_limit(tmp_path):
    answer = start(sys.executable, tmp_path, Fault("files", (), before="ulimit -n 16"))
    assert answer.returncode != 0
    assert "ulimit -n is 16 here" in answer.stderr.splitlines()[-1]


# Launcher and library of different MPIs.


@pytest.mark.slow
def test_the_launcher_of_another_mpi_is_refused_before_any_row(mpich, tmp_path):
    (tmp_path / "small.toml").write_text(SUITE)
    hydra = mpich.parent / "mpiexec"
    command = [sys.executable, "-m", "bench", "run", str(tmp_path / "small.toml")]
    answer = subprocess.run(
        [*command, "--mpirun", str(hydra), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 4
    (line,) = answer.stderr.splitlines()
    assert f"{hydra} is MPICH" in line
    assert "mpi4py loads Open MPI" in line
    assert "every rank would think that it is alone" in line
    assert not list((tmp_path / "out").glob("*/results.csv"))


def test_ranks_that_are_alone_in_their_worlds_measure_nothing(tmp_path):
    case = Case("latency/bytes=8", "latency", {"bytes": 8})
    job = Job("000-target-0", Stage.TARGET, 0, 2, 1, (case,))
    attempt = Attempt(job, Recorder(begun(tmp_path, [job])), Quiet(), {})
    # As with an mpirun whose ranks have lost its variables: each starts MPI for itself.
    reason = attempt.execute(LaunchCommand(module_command("bench.rank"), {}))
    assert "2 ranks were asked for, but MPI sees 1" in (reason or "")
    assert not attempt.any_started


# Words that got lost on their way.


def test_one_process_alone_says_what_ranks_had_said(monkeypatch):
    monkeypatch.setenv("OMPI_MCA_pml", "nonsense")
    said = ask_alone(str(Path(sys.executable).parent / "mpirun"))
    assert b"Component: nonsense" in said


# Launchers alone: what they say of a rank that a signal ended, and of root.


def say(python: Path | str, folder: Path, program: str, **env: str) -> str:
    """Return the reason that a launcher's words give, where a program is started as two ranks."""
    mpirun = Path(python).parent / "mpirun"
    options = ["--allow-run-as-root"] if Path(python) == Path(sys.executable) else []
    with (folder / "log").open("wb") as log:
        done = subprocess.run(
            [str(mpirun), "-n", "2", *options, str(python), "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            check=False,
            timeout=600,
            env={**os.environ, **env},
        )
    said = Said()
    for line in done.stdout.splitlines():
        said.add(line)
    return find_cause(folder / "log", said, True, Settings({}, None, None)).text


@pytest.mark.parametrize("signal", ["SIGBUS", "SIGXFSZ", "SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_rank_that_a_signal_ended_is_explained_by_open_mpi_s_words(signal, tmp_path):
    reason = say(sys.executable, tmp_path, fault(signal, tmp_path))
    assert reason.startswith("rank ")
    assert f"({signal}): " in reason
    assert MEANS[signal] in reason


@pytest.mark.slow
@pytest.mark.parametrize("signal", FAULTS)
def test_a_rank_that_a_signal_ended_is_explained_by_hydra_s_words(signal, mpich, tmp_path):
    # Of ranks that end in different ways Hydra adds the signals up: several may be meant.
    reason = say(mpich, tmp_path, fault(signal, tmp_path))
    assert f"({signal})" in reason
    assert MEANS[signal] in reason


GIVES_UP = """
from mpi4py import MPI
MPI.COMM_WORLD.Set_errhandler(MPI.ERRORS_ARE_FATAL)
if MPI.COMM_WORLD.rank:
    MPI.COMM_WORLD.Recv(bytearray(1))
else:
    MPI.COMM_WORLD.Send(bytearray(2), 1)
MPI.COMM_WORLD.Barrier()
"""
ABORTS = "from mpi4py import MPI; MPI.COMM_WORLD.Barrier(); MPI.COMM_WORLD.Abort(5)"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (GIVES_UP, "MPI_ERR_TRUNCATE: message truncated"),
        (ABORTS, "MPI_Abort"),
        ("exit(5)", "code 5"),
    ],
)
def test_open_mpi_tells_how_a_job_gave_up(program, words, tmp_path):
    assert words in say(sys.executable, tmp_path, program)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "words"),
    [(GIVES_UP, "MPICH gave up in internal_"), (ABORTS, "called MPI_Abort")],
)
def test_mpich_tells_how_a_job_gave_up(program, words, mpich, tmp_path):
    assert words in say(mpich, tmp_path, program)


@pytest.mark.skipif(os.geteuid() != 0, reason="as root")
def test_open_mpi_s_refusal_of_root_names_the_way_out(tmp_path):
    mpirun = Path(sys.executable).parent / "mpirun"
    environ = {k: v for k, v in os.environ.items() if "ALLOW_RUN_AS_ROOT" not in k}
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run([str(mpirun), "-n", "1", "true"], stderr=log, env=environ)
    assert done.returncode != 0
    reason = find_cause(tmp_path / "log", Said(), False, Settings({}, None, None)).text
    assert reason.startswith("Open MPI refuses to run as root; run as another user, or set OMPI_A")
