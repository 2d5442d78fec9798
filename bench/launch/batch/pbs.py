"""PBS Professional and OpenPBS: `qsub` for a batch job of each job, ranks started by mpirun."""

import os
import re
from itertools import groupby
from pathlib import Path

import msgspec

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
from bench.launch.batch.script import quote, script_text, with_environment, worker_tokens
from bench.launch.binding import choose_binding
from bench.launch.kind import LauncherKind
from bench.launch.site import Site
from bench.machine.mpi import MpiInstall
from bench.machine.software import steering_variables

_NUMBER = re.compile(r"\d{1,18}(\[\])?(\.[A-Za-z0-9._-]{1,255})?", re.ASCII)
_OF_LOADER = ("LD_", "PYTHON")
"""Beginnings of variables that hold folders of this host; those of a job are its modules'."""
_MOST_NAME = 15
"""Characters in the name of a job, in the oldest versions."""
_GONE = re.compile(r"has finished|unknown job", re.I)
_STATES = {
    "Q": "queued",
    "H": "held",
    "W": "waiting",
    "T": "being moved",
    "S": "suspended",
    "U": "suspended",
    "R": "running",
    "E": "ending",
    "B": "begun",
    "F": "finished",
    "C": "completed",
    "X": "finished",
}
_QUEUED = frozenset("QHWTSU")
_OVER = frozenset("FCX")


class PbsLauncher:
    """Submits each job as a batch job and waits for it.

    Args:
        mpi: whose mpirun starts the ranks, at the same path on every node.
        hosts: the nodes to ask for by name.
        nodes: how many to ask for; one if neither is given.
        bind: `core`, `none`, or `auto` for a core each where that can be.
        site: settings for the scheduler.
        folder: shared with the nodes, absolute.
        counts: the most ranks of each host; evenly many where there are none.

    Raises:
        RequestError: where a setting is none that a PBS script can hold.
    """

    name = "pbs"
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
        counts: tuple[int | None, ...] = (),
    ) -> None:
        _refuse_unwritable(site)
        self._mpi = mpi
        self._hosts = hosts
        self.nodes: int | None = len(hosts) or nodes or 1
        self._bind = bind
        self._site = site
        self._folder = folder
        self._counts = counts

    def place(self, ranks: int) -> Placement:
        """Return the ranks on each node; PBS decides which node is which where none is named."""
        return place_ranks(ranks, self._hosts or self.nodes or 1, self._counts)

    def command(self, job: Job) -> LaunchCommand:
        """Return the command that submits a job; its last token is the script."""
        program = (*module_command("bench.launch.batch.submit"), "pbs")
        return LaunchCommand((*program, str(self._folder), self.script(job)), {})

    def script(self, job: Job) -> str:
        """Return the script of a job.

        Raises:
            RequestError: where a value of it holds a line break or another control character.
        """
        site, files, folder = self._environment(job), batch_files(job), str(self._folder)
        directives: list[tuple[str, ...]] = [
            ("-N", f"cb-{job.id}"[:_MOST_NAME]),
            ("-l", f"select={_select(job, self.place(job.ranks))}"),
            # What others run on a node spoils a measurement; and a job that is started again
            # would write over the events of the first start.
            ("-l", "place=scatter:excl"),
            ("-r", "n"),
            ("-l", f"walltime={site.time or time_limit(job)}"),
            ("-j", "oe"),
            ("-o", files.log),
        ]
        if site.account:
            directives.append(("-A", site.account))
        if site.partition:
            directives.append(("-q", site.partition))
        if site.flags:
            directives.append(site.flags)
        before = (
            f"cd {quote(folder)} || exit",
            # PBS keeps the output of a job on its first node until the job ends.
            f"exec > {quote(files.out)} 2> {quote(files.err)}",
            f'cat "$PBS_NODEFILE" > {quote(files.nodes)}',
        )
        command = (
            *_mpirun(self._mpi, job, choose_binding(job, self._bind), files.nodes, site),
            *worker_tokens(site, job, f"{folder}/{files.job}"),
        )
        return script_text("#PBS", directives, site, command, before)

    def _environment(self, job: Job) -> Site:
        """Return the site with what steers ranks here too: PBS gives a job none of it (no -V)."""
        steering = steering_variables(os.environ)
        steering = {name: steering[name] for name in steering if not name.startswith(_OF_LOADER)}
        site = msgspec.structs.replace(self._site, environment=steering | self._site.environment)
        return with_environment(site, job)


class Pbs:
    """PBS's commands and the states of its queue."""

    name = "PBS"

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the command that submits a script of the current folder."""
        return ("qsub", script)

    def number(self, answer: str) -> str | None:
        """Return the number of the batch job, such as `12.server`."""
        number = answer.strip().rpartition("\n")[2]
        return number if _NUMBER.fullmatch(number) else None

    def ask_command(self, number: str) -> tuple[str, ...]:
        """Return the command that asks for the state."""
        return ("qstat", number)

    def standing(self, status: int | None, answer: str, error: str) -> Standing:
        """Return what qstat's answer means: its table has the state in the last column but one."""
        if status != 0:
            if _GONE.search(error):
                return Standing(Phase.OVER, "gone from the queue")
            return Standing(Phase.UNKNOWN, "no answer from qstat")
        columns = answer.strip().rpartition("\n")[2].split()
        letter = columns[-2] if len(columns) >= 2 else ""
        if letter not in _STATES:
            return Standing(Phase.UNKNOWN, "an answer from qstat that is not understood")
        words = f"{letter} ({_STATES[letter]})"
        if letter in _OVER:
            return Standing(Phase.OVER, words)
        return Standing(Phase.QUEUED if letter in _QUEUED else Phase.RUNNING, words)

    def cancel_command(self, number: str) -> tuple[str, ...]:
        """Return the command that ends a batch job."""
        return ("qdel", number)

    def is_cancelled(self, status: int | None, error: str) -> bool:
        """Return whether the job is ended, or has ended before."""
        return status == 0 or _GONE.search(error) is not None


def _refuse_unwritable(site: Site) -> None:
    """Refuse what a `#PBS` line cannot hold, or what PBS does not have."""
    named = [("account", site.account), ("partition", site.partition)]
    named += [(f"flags[{i}]", flag) for i, flag in enumerate(site.flags)]
    for path, value in named:
        # PBS knows quotes in a directive, but its versions differ in what escapes one.
        if value and set(value) & {'"', "\\"}:
            raise RequestError(f"{path}: a #PBS line can hold no double quote and no backslash")
    if site.container is not None and site.container.runtime == "pyxis":
        raise RequestError(
            'container.runtime: "pyxis" is a part of Slurm; take "apptainer" with --launcher pbs'
        )


def _select(job: Job, placement: Placement) -> str:
    """Return PBS's chunks, a node each: blocks of ranks, the first ones the larger."""
    chunks = [f"ncpus={n * max(1, job.threads)}:mpiprocs={n}" for n in placement.counts]
    if placement.hosts:
        named = zip(placement.hosts, chunks, strict=True)
        return "+".join(f"1:host={host}:{chunk}" for host, chunk in named)
    return "+".join(f"{len(list(same))}:{chunk}" for chunk, same in groupby(chunks))


def _mpirun(mpi: MpiInstall, job: Job, bind: str, node_file: str, site: Site) -> tuple[str, ...]:
    """Return mpirun on the nodes of a file with one line for each rank."""
    start = (mpi.mpirun, "-n", str(job.ranks))
    if mpi.family == "openmpi":
        # Hydra hands on every variable by itself.
        variables = (token for name in site.environment for token in ("-x", name))
        return (*start, "--bind-to", bind, "--hostfile", node_file, *variables)
    return (*start, "-bind-to", bind, "-launcher", "ssh", "-f", node_file)


KIND = LauncherKind(
    text="the same with PBS",
    open=lambda o: PbsLauncher(o.need_mpi(), o.hosts, o.nodes, o.bind, o.site, o.folder, o.counts),
    flags=frozenset({"mpirun", "hosts", "hostfile", "nodes", "site", "container", "work"}),
    mpi="launcher",
    program="qsub",
    keeps_counts=True,
    shares_folder=True,
)
