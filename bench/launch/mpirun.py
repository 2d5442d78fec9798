"""`mpirun` of Open MPI (4 and 5) and of MPICH's Hydra, on this machine or on hosts over SSH."""

import os
import sys

from bench.contracts import LaunchCommand
from bench.core.records import Job
from bench.machine.mpi import MpiInstall


class MpirunLauncher:
    """Starts ranks with the MPI that was found.

    Args:
        mpi: the MPI.
        cores: cores of this machine that ranks may use; more ranks than that share cores.
        hosts: where ranks run, spread evenly in blocks; this machine where there are none.
        bind: `core`, `none`, or `auto` for a core each where that can be.
    """

    name = "mpirun"
    most_ranks: int | None = None

    def __init__(
        self, mpi: MpiInstall, cores: int, hosts: tuple[str, ...] = (), bind: str = "auto"
    ) -> None:
        self._mpi = mpi
        self._cores = cores
        self._hosts = hosts
        self._bind = bind

    def command(self, job: Job) -> LaunchCommand:
        """Return the mpirun command of a job."""
        crowded = not self._hosts and job.ranks > self._cores
        bind = self._bind
        if bind == "auto":
            bind = "core" if job.threads == 1 and not crowded else "none"
        if self._mpi.family == "openmpi":
            options = _open_mpi_options(self._mpi, bind, crowded, self._block(job), tuple(job.env))
        else:
            options = _hydra_options(bind, self._block(job))
        tokens = (self._mpi.mpirun, "-n", str(job.ranks), *options)
        return LaunchCommand((*tokens, sys.executable, "-m", "bench.rank"), _home() | job.env)

    def _block(self, job: Job) -> dict[str, int]:
        """Return the ranks on each host: the first ones together, the last one on the last host."""
        return spread(job.ranks, self._hosts)


def spread(ranks: int, hosts: tuple[str, ...]) -> dict[str, int]:
    """Return the ranks on each of the hosts, evenly in blocks; hosts without a rank are missing."""
    if not hosts:
        return {}
    each, more = divmod(ranks, len(hosts))
    counts = {host: each + (i < more) for i, host in enumerate(hosts)}
    return {host: count for host, count in counts.items() if count}


def _open_mpi_options(
    mpi: MpiInstall,
    bind: str,
    oversubscribed: bool,
    block: dict[str, int],
    variables: tuple[str, ...],
) -> list[str]:
    options = ["--bind-to", bind]
    if block:
        options += ["--host", ",".join(f"{host}:{count}" for host, count in block.items())]
        # Only ranks of this machine inherit its environment; Hydra hands it on by itself.
        options += [token for name in variables for token in ("-x", name)]
    elif "OMPI_MCA_btl" not in os.environ:
        # Between ranks of one node neither is used, and opening them costs a second at the start
        # of a job and another at its end (5.0.11).
        options += ["--mca", "btl", "^ofi,uct"]
    if oversubscribed:
        # Open MPI counts cores as slots and refuses more ranks; 5 has moved the flag into map-by.
        options += ["--oversubscribe"] if mpi.version[0] < 5 else ["--map-by", ":OVERSUBSCRIBE"]
    if os.geteuid() == 0:
        options.append("--allow-run-as-root")
    return options


def _hydra_options(bind: str, block: dict[str, int]) -> list[str]:
    if not block:
        return ["-bind-to", bind]
    hosts = ",".join(f"{host}:{count}" for host, count in block.items())
    return ["-bind-to", bind, "-launcher", "ssh", "-hosts", hosts]


def _home() -> dict[str, str]:
    """Open MPI dies without HOME: give it the folder where it would put its session anyway."""
    return {} if os.environ.get("HOME") else {"HOME": "/tmp"}  # noqa: S108
