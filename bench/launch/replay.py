"""Plays back the events of a stored run: the pipeline without MPI or hardware.

As a program (`python -m bench.launch.replay JOURNAL JOB`) it prints the events that the last
attempt of a job had printed when it was measured.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from bench.contracts import LaunchCommand
from bench.events import Event, encode
from bench.record import Job
from bench.results import JOURNAL_FILE


class ReplayLauncher:
    """Starts a process that prints stored events.

    Args:
        run: folder of the stored run.
    """

    name = "replay"
    most_ranks: int | None = None

    def __init__(self, run: Path) -> None:
        self._journal = run.absolute() / JOURNAL_FILE

    def command(self, job: Job) -> LaunchCommand:
        """Return the command that plays a job back."""
        tokens = (sys.executable, "-m", "bench.launch.replay", str(self._journal), job.id)
        return LaunchCommand(tokens, {})


def stored_events(journal: Path, job: str) -> list[Event]:
    """Return the events of a job in a journal, those of its last attempt.

    Raises:
        OSError: where the journal cannot be read.
        msgspec.MsgspecError: where a line of it is damaged.
    """
    text = journal.read_bytes()
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    entries = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
    events = [e for e in entries if e.get("kind") == "event" and e.get("job") == job]
    last = max((int(entry["attempt"]) for entry in events), default=0)
    return [msgspec.convert(entry["event"], Event) for entry in events if entry["attempt"] == last]


def main(journal: str, job: str) -> None:
    """Print the stored events of a job, framed as rank 0 had framed them."""
    try:
        events = stored_events(Path(journal), job)
    except (OSError, msgspec.MsgspecError) as error:
        sys.exit(f"the stored run cannot be played back: {error}")
    if not events:
        sys.exit(f"the stored run has no job {job}: it was made from another suite or seed")
    for event in events:
        sys.stdout.buffer.write(encode(event))


if __name__ == "__main__":
    main(*sys.argv[1:])
