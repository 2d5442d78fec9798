"""Slurm: `srun` inside an allocation, and `sbatch` for a batch job of each job.

Ranks are spread over nodes in even blocks. Slurm's own block distribution fills the first node
and leaves one rank for the last: four ranks on two nodes of eight cores would be three and one.
"""

import os
import re
from pathlib import Path

from bench.contracts import LaunchCommand
from bench.core.errors import RequestError
from bench.core.placement import Placement, place_ranks
from bench.core.program import module_command
from bench.core.records import Job
from bench.launch.batch.queue import (
    Phase,
    Standing,
    batch_files,
    time_limit,
)
from bench.launch.batch.script import (
    container_mounts,
    script_text,
    with_environment,
    worker_tokens,
)
from bench.launch.binding import choose_binding
from bench.launch.kind import LauncherKind
from bench.launch.site import Site
from bench.machine.mpi import MpiInstall

FLAVOURS = {"openmpi": "pmix", "mpich": "pmi2"}
"""The value of `srun --mpi` for a family: with another one each rank is alone in its world."""

NO_ALLOCATION = (
    "--launcher srun works inside an allocation: start it within `salloc` or `sbatch`, "
    "or use --launcher sbatch"
)

_QUEUED = re.compile("PENDING|CONFIGURING|REQUEUE.*|RESV_DEL_HOLD|SPECIAL_EXIT|SUSPENDED|STOPPED")
_CUT = re.compile("BOOT_FAIL|CANCELLED|DEADLINE|NODE_FAIL|OUT_OF_MEMORY|PREEMPTED|REVOKED|TIMEOUT")
_ENDED = re.compile("COMPLETED|FAILED")
_GONE = "Invalid job id"
_CPUS = re.compile(r"(\d{1,9})(?:\(x\d{1,9}\))?", re.ASCII)


class Allocation:
    """The nodes that Slurm has granted to this process.

    Raises:
        RequestError: where it has granted none.
    """

    def __init__(self) -> None:
        if not os.environ.get("SLURM_JOB_ID"):
            raise RequestError(NO_ALLOCATION)
        count = os.environ.get("SLURM_JOB_NUM_NODES") or os.environ.get("SLURM_NNODES") or ""
        self.nodes = int(count) if count.isdecimal() else 1
        cpus = _CPUS.findall(os.environ.get("SLURM_JOB_CPUS_PER_NODE", ""))
        self.cpus = min(map(int, cpus), default=None)
        """Of the node that has the fewest; None where Slurm gives no number."""


class SrunLauncher:
    """Starts ranks as a step of an allocation.

    Args:
        mpi: whose library the ranks load.
        hosts: of the allocation, where only some of them are to be used.
        nodes: how many of them; all if neither is given.
        bind: `core`, `none`, or `auto` for a core each where that can be.
        site: flags, environment, container and flavour.

    Raises:
        RequestError: outside of an allocation.
    """

    name = "srun"
    most_ranks: int | None = None
    reaches_hosts = False

    def __init__(
        self, mpi: MpiInstall, hosts: tuple[str, ...], nodes: int | None, bind: str, site: Site
    ) -> None:
        self._allocation = Allocation()
        self._mpi = mpi
        self._hosts = hosts
        self.nodes: int | None = len(hosts) or nodes or self._allocation.nodes
        self._bind = bind
        self._site = site

    def place(self, ranks: int) -> Placement:
        """Return the ranks on each node; Slurm decides which node is which."""
        return place_ranks(ranks, self.nodes or 1)

    def command(self, job: Job) -> LaunchCommand:
        """Return the srun command of a job."""
        site = with_environment(self._site, job)
        placement = self.place(job.ranks)
        cpus = self._allocation.cpus
        crowded = cpus is not None and placement.most_per_node > cpus
        tokens = (
            *_srun(self._mpi, job, placement, choose_binding(job, self._bind, crowded), site),
            # Beside a step that runs already, such as the shell of salloc.
            "--overlap",
            # The job line is for rank 0, which reads it to the end as its lease.
            "--input=0",
            *(("--overcommit",) if crowded else ()),
            *_node_list(self._hosts, placement),
            *_pyxis(site, None),
            *site.flags,
            *worker_tokens(site, job),
        )
        return LaunchCommand(tokens, dict(site.environment))


class SbatchLauncher:
    """Submits each job as a batch job and waits for it.

    Args:
        mpi: whose library the ranks load.
        hosts: the nodes to ask for by name.
        nodes: how many to ask for; one if neither is given.
        bind: as for srun.
        site: settings for the scheduler.
        folder: shared with the nodes, absolute.
    """

    name = "sbatch"
    most_ranks: int | None = None
    reaches_hosts = False

    def __init__(
        self,
        mpi: MpiInstall,
        hosts: tuple[str, ...],
        nodes: int | None,
        bind: str,
        site: Site,
        folder: Path,
    ) -> None:
        self._mpi = mpi
        self._hosts = hosts
        self.nodes: int | None = len(hosts) or nodes or 1
        self._bind = bind
        self._site = site
        self._folder = folder

    def place(self, ranks: int) -> Placement:
        """Return the ranks on each node; Slurm decides which node is which."""
        return place_ranks(ranks, self.nodes or 1)

    def command(self, job: Job) -> LaunchCommand:
        """Return the command that submits a job; its last token is the script."""
        program = (*module_command("bench.launch.batch.submit"), "slurm")
        return LaunchCommand((*program, str(self._folder), self.script(job)), {})

    def script(self, job: Job) -> str:
        """Return the script of a job.

        Raises:
            RequestError: where a value of it holds a line break or another control character.
        """
        site, files = with_environment(self._site, job), batch_files(job)
        placement = self.place(job.ranks)
        job_file = f"{self._folder}/{files.job}"
        directives: list[tuple[str, ...]] = [
            (f"--job-name=clusterbench-{job.id}",),
            (f"--nodes={placement.nodes}",),
            (f"--ntasks={job.ranks}",),
            (f"--ntasks-per-node={placement.most_per_node}",),
            *((f"--cpus-per-task={job.threads}",) for _ in range(job.threads > 1)),
            *((option,) for option in _node_list(self._hosts, placement)),
            # What others run on a node spoils a measurement; and a job that is started again
            # would write over the events of the first start.
            ("--exclusive",),
            ("--no-requeue",),
            (f"--time={site.time or time_limit(job)}",),
            (f"--output={files.out}",),
            (f"--error={files.err}",),
        ]
        if site.account:
            directives.append((f"--account={site.account}",))
        if site.partition:
            directives.append((f"--partition={site.partition}",))
        if site.flags:
            directives.append(site.flags)
        command = (
            *_srun(self._mpi, job, placement, choose_binding(job, self._bind), site),
            "--input=none",
            *_pyxis(site, job_file),
            *worker_tokens(site, job, job_file),
        )
        return script_text("#SBATCH", directives, site, command)


class Slurm:
    """Slurm's commands and the states of its queue."""

    name = "Slurm"

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the command that submits a script of the current folder."""
        return ("sbatch", "--parsable", script)

    def number(self, answer: str) -> str | None:
        """Return the number of the batch job; sbatch prints it alone, or with its cluster."""
        number = answer.strip().rpartition("\n")[2].partition(";")[0]
        return number if number.isdecimal() else None

    def ask_command(self, number: str) -> tuple[str, ...]:
        """Return the command that asks for state and reason, of jobs that have ended too."""
        return ("squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T|%r")

    def standing(self, status: int | None, answer: str, error: str) -> Standing:
        """Return what squeue's answer means; some minutes after its end a job is forgotten."""
        if status != 0 and _GONE not in error:
            return Standing(Phase.UNKNOWN, "no answer from squeue")
        state, _, reason = answer.strip().partition("|")
        if not state:
            return Standing(Phase.OVER, "gone from the queue")
        words = state if reason in ("", "None") else f"{state} ({reason})"
        if _CUT.fullmatch(state):
            return Standing(Phase.OVER, words, cut=True)
        if _ENDED.fullmatch(state):
            return Standing(Phase.OVER, words)
        return Standing(Phase.QUEUED if _QUEUED.fullmatch(state) else Phase.RUNNING, words)

    def cancel_command(self, number: str) -> tuple[str, ...]:
        """Return the command that ends a batch job."""
        return ("scancel", number)

    def is_cancelled(self, status: int | None, error: str) -> bool:
        """Return whether the job is ended, or has ended before."""
        return status == 0 or _GONE in error


def _srun(
    mpi: MpiInstall, job: Job, placement: Placement, bind: str, site: Site
) -> tuple[str, ...]:
    """Return srun with the options that it has in an allocation and in a script alike."""
    return (
        "srun",
        f"--mpi={site.mpi or FLAVOURS[mpi.family]}",
        f"--nodes={placement.nodes}",
        f"--ntasks={job.ranks}",
        f"--ntasks-per-node={placement.most_per_node}",
        # A script's count of CPUs does not reach srun since Slurm 22.05.
        *((f"--cpus-per-task={job.threads}",) if job.threads > 1 else ()),
        "--distribution=block",
        f"--cpu-bind={'cores' if bind == 'core' else 'none'}",
        "--kill-on-bad-exit=1",
        # What the script has exported reaches the ranks, whatever --export sbatch was given.
        "--export=ALL",
        "--unbuffered",
    )


def _node_list(hosts: tuple[str, ...], placement: Placement) -> tuple[str, ...]:
    return (f"--nodelist={','.join(hosts[: placement.nodes])}",) if hosts else ()


def _pyxis(site: Site, job_file: str | None) -> tuple[str, ...]:
    """Return the options of srun that start ranks in a container."""
    container = site.container
    if container is None or container.runtime != "pyxis":
        return ()
    mounts = [mount if ":" in mount else f"{mount}:{mount}" for mount in
              container_mounts(site, job_file)]  # fmt: skip
    return (
        f"--container-image={container.image}",
        *((f"--container-mounts={','.join(mounts)}",) if mounts else ()),
        # The image's own environment wins otherwise.
        *((f"--container-env={','.join(site.environment)}",) if site.environment else ()),
    )


_FLAGS = frozenset({"hosts", "hostfile", "nodes", "site", "container"})

SRUN = LauncherKind(
    text="Slurm's srun, inside an allocation made by salloc or sbatch",
    open=lambda o: SrunLauncher(o.need_mpi(), o.hosts, o.nodes, o.bind, o.site),
    flags=_FLAGS,
    mpi="library",
    program="srun",
)
SBATCH = LauncherKind(
    text="a Slurm batch job for each job; the run's folder must be shared with the nodes",
    open=lambda o: SbatchLauncher(o.need_mpi(), o.hosts, o.nodes, o.bind, o.site, o.folder),
    flags=_FLAGS | {"work"},
    mpi="library",
    program="sbatch",
    shares_folder=True,
)
