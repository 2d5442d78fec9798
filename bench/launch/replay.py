"""Plays back the events of a stored run: the pipeline without MPI or hardware.

As a program (`python -m bench.launch.replay JOURNAL JOB ATTEMPT`) it prints the events that this
attempt of the job had printed when it was measured: what ended a job then ends it again.
"""

import sys
from pathlib import Path

import msgspec

from bench.contracts import LaunchCommand
from bench.core.errors import RequestError
from bench.core.events import Event, encode, parse_event
from bench.core.placement import Placement
from bench.core.program import module_command
from bench.core.records import Job, Origin
from bench.launch.kind import LauncherKind, Opening
from bench.store.files import JOURNAL_FILE
from bench.store.folder import open_run
from bench.store.journal import read_journal


class ReplayLauncher:
    """Starts a process that prints stored events.

    Args:
        run: folder of the stored run.
    """

    name = "replay"
    most_ranks: int | None = None
    reaches_hosts = False
    nodes: int | None = None

    def __init__(self, run: Path) -> None:
        self._journal = run.absolute() / JOURNAL_FILE

    def place(self, ranks: int) -> Placement | None:
        """Return None: where ranks were stands in the events."""
        return None

    def command(self, job: Job) -> LaunchCommand:
        """Return the command that plays a job back."""
        program = module_command("bench.launch.replay")
        return LaunchCommand((*program, str(self._journal), job.id, str(job.attempt)), {})


def _open(opening: Opening) -> ReplayLauncher:
    if opening.replay is None:
        raise RequestError("--launcher replay needs --replay RUN, the folder of a stored run")
    return ReplayLauncher(open_run(opening.replay).path)


KIND = LauncherKind(
    text="plays back the events of a stored run (with --replay RUN)",
    open=_open,
    flags=frozenset({"replay"}),
    origin=Origin.REPLAYED,
)


def stored_events(journal: Path, job: str, attempt: int) -> list[Event]:
    """Return the events of an attempt of a job in a journal.

    Raises:
        OSError: where the journal cannot be read.
        msgspec.MsgspecError: where a line of it is damaged.
    """
    its_own = b'"kind":"event","job":%s,"attempt":%d,' % (msgspec.json.encode(job), attempt)
    return [parse_event(entry.event) for entry in read_journal(journal, its_own)]


def main(journal: str, job: str, attempt: str) -> None:
    """Print the stored events of a job, framed as rank 0 had framed them."""
    try:
        events = stored_events(Path(journal), job, int(attempt))
    except (OSError, msgspec.MsgspecError) as error:
        sys.exit(f"the stored run cannot be played back: {error}")
    if not events:
        sys.exit(
            f"the stored run has no attempt {attempt} of job {job}: it was made from another suite "
            "or seed"
        )
    for event in events:
        sys.stdout.buffer.write(encode(event))


if __name__ == "__main__":
    main(*sys.argv[1:])
