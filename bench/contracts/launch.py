"""What turns a job into the command that starts it."""

from typing import Protocol

import msgspec

from bench.core.placement import Placement
from bench.core.records import Job


class LaunchCommand(msgspec.Struct, frozen=True):
    """What starts a job: tokens, never a shell string, and additions to the environment."""

    tokens: tuple[str, ...]
    env: dict[str, str]
    files: dict[str, str] = {}
    """Texts of the files that the command reads, by path, to be written before it starts."""


class Launcher(Protocol):
    """Turns a job into the command that starts it; touches nothing."""

    name: str
    most_ranks: int | None
    """Largest world size that it can start; None where there is no limit."""
    reaches_hosts: bool
    """Whether the hosts of its jobs can be asked over SSH how their ranks are."""

    @property
    def nodes(self) -> int | None:
        """Nodes that ranks are spread over; None where that is not known before a job has run."""

    def place(self, ranks: int) -> Placement | None:
        """Return where so many ranks will be; None where that is not known before."""

    def command(self, job: Job) -> LaunchCommand:
        """Return the command whose standard input is the job and whose output is its events."""
