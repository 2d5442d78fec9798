"""The launchers by name; a new one is a file here and a line below."""

from bench.core.errors import RequestError, nearest, printable
from bench.launch import local, mpirun, replay
from bench.launch.batch import pbs, slurm
from bench.launch.kind import LauncherKind, Opening

__all__ = ["LAUNCHERS", "LauncherKind", "Opening", "find_launcher"]

LAUNCHERS: dict[str, LauncherKind] = {
    "mpirun": mpirun.KIND,
    "srun": slurm.SRUN,
    "sbatch": slurm.SBATCH,
    "pbs": pbs.KIND,
    "local": local.KIND,
    "replay": replay.KIND,
}


def find_launcher(name: str) -> LauncherKind:
    """Return the kind of a launcher.

    Raises:
        RequestError: where there is none of that name.
    """
    if name not in LAUNCHERS:
        raise RequestError(f"no launcher {printable(name)!r}; {nearest(name, LAUNCHERS)}")
    return LAUNCHERS[name]
