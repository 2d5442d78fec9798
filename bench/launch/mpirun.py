"""`mpirun` of Open MPI (4 and 5) and of MPICH's Hydra, on this machine."""

import os
import sys

from bench.contracts import LaunchCommand
from bench.machine.mpi import MpiInstall
from bench.record import Job


class MpirunLauncher:
    """Starts ranks with the MPI that was found.

    Args:
        mpi: the MPI.
        cores: cores of this machine that ranks may use; more ranks than that share cores.
    """

    name = "mpirun"
    most_ranks: int | None = None

    def __init__(self, mpi: MpiInstall, cores: int) -> None:
        self._mpi = mpi
        self._cores = cores

    def command(self, job: Job) -> LaunchCommand:
        """Return the mpirun command of a job."""
        bind = binding(job, self._cores)
        if self._mpi.family == "openmpi":
            options = _open_mpi_options(self._mpi, bind, job.ranks > self._cores)
        else:
            options = _hydra_options(bind)
        tokens = (self._mpi.mpirun, "-n", str(job.ranks), *options)
        return LaunchCommand((*tokens, sys.executable, "-m", "bench.worker"), _home())


def binding(job: Job, cores: int) -> str:
    """Return `core` where every rank gets a core of its own and needs no more, else `none`."""
    return "core" if job.ranks <= cores and job.threads == 1 else "none"


def _open_mpi_options(mpi: MpiInstall, bind: str, oversubscribed: bool) -> list[str]:
    options = ["--bind-to", bind]
    if "OMPI_MCA_btl" not in os.environ:
        # Between ranks of one node neither is used, and opening them costs a second at the start
        # of a job and another at its end (5.0.11).
        options += ["--mca", "btl", "^ofi,uct"]
    if oversubscribed:
        # Open MPI counts cores as slots and refuses more ranks; 5 has moved the flag into map-by.
        options += ["--oversubscribe"] if mpi.version[0] < 5 else ["--map-by", ":OVERSUBSCRIBE"]
    if os.geteuid() == 0:
        options.append("--allow-run-as-root")
    return options


def _hydra_options(bind: str) -> list[str]:
    return ["-bind-to", bind]


def _home() -> dict[str, str]:
    """Open MPI dies without HOME: give it the folder where it would put its session anyway."""
    return {} if os.environ.get("HOME") else {"HOME": "/tmp"}  # noqa: S108
