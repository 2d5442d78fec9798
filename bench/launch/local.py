"""One process, no MPI."""

import sys

from bench.contracts import LaunchCommand
from bench.core.records import Job


class LocalLauncher:
    """Starts the worker as a process of this machine."""

    name = "local"
    most_ranks: int | None = 1

    def command(self, job: Job) -> LaunchCommand:
        """Return the command of one worker without MPI."""
        return LaunchCommand((sys.executable, "-m", "bench.rank", "--solo"), dict(job.env))
