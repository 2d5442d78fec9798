"""`journal.jsonl`: every event and attempt of a run, in order; this is its one reader.

A line is an object of `time`, `kind` (`start`, `end`, `event`, `log`, `corrupt`), `job`, `attempt`
and what belongs to the kind.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.core.clock import utc_seconds
from bench.store.files import end_of_lines, mapped, whole_lines

Kind = TypeVar("Kind")


class Entry(msgspec.Struct):
    """One line of the journal."""

    time: str
    kind: str
    job: str
    attempt: int
    event: msgspec.Raw = msgspec.Raw()
    """Of an `event` entry, as it was received."""

    def read(self, kind: type[Kind]) -> Kind:
        """Return the event as one of this kind.

        Raises:
            msgspec.MsgspecError: where it is none.
        """
        return msgspec.json.decode(self.event, type=kind)


_entry = msgspec.json.Decoder(Entry)


def read_journal(path: Path, having: bytes = b"") -> Iterator[Entry]:
    """Yield the entries of a journal, in order; an absent one has none.

    What was not written whole is left out, be it the last line or one that somebody damaged.

    Args:
        path: of the file.
        having: what the line of a wanted entry holds; other lines are not decoded. No text in an
            entry can hold a quote that is not escaped, so `"kind":"start"` is the entry's own.
    """
    if not path.exists():
        return
    for line in whole_lines(path):
        if having in line:
            with contextlib.suppress(msgspec.MsgspecError, RecursionError):
                yield _entry.decode(line)


def next_attempts(path: Path) -> dict[str, int]:
    """Return the number of the next attempt of every job that was started before."""
    attempts: dict[str, int] = {}
    for entry in read_journal(path, b'"kind":"start"'):
        attempts[entry.job] = max(attempts.get(entry.job, 0), entry.attempt + 1)
    return attempts


def last_moment_s(path: Path) -> float:
    """Return the time of the last entry in seconds since 1970, 0 where there is none."""
    try:
        with mapped(path) as content:
            end = end_of_lines(content)
            line = content[content.rfind(b"\n", 0, max(end - 1, 0)) + 1 : end]
        return utc_seconds(_entry.decode(line).time)
    except (FileNotFoundError, ValueError, msgspec.MsgspecError, RecursionError):
        return 0.0
