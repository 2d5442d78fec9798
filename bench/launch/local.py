"""One process, no MPI."""

import socket

from bench.contracts import LaunchCommand
from bench.core.placement import Placement
from bench.core.program import module_command
from bench.core.records import Job
from bench.launch.binding import rank_options
from bench.launch.kind import LauncherKind


class LocalLauncher:
    """Starts the worker as a process of this machine."""

    name = "local"
    most_ranks: int | None = 1
    reaches_hosts = True
    nodes = 1

    def place(self, ranks: int) -> Placement | None:
        """Return this machine for all ranks."""
        return Placement((ranks,), (socket.gethostname(),))

    def command(self, job: Job) -> LaunchCommand:
        """Return the command of one worker without MPI."""
        return LaunchCommand(
            (*module_command("bench.rank"), "--solo", *rank_options(job)), dict(job.env)
        )


KIND = LauncherKind(
    text="one process without MPI; what needs two ranks is skipped",
    open=lambda _opening: LocalLauncher(),
)
