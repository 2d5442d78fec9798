"""Why a job ended, by what it printed: words of a rank, of MPI, a launcher, or the system."""

import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bench.core.errors import printable
from bench.run.alone import ask_alone
from bench.run.causes import (
    AFTER_BYTES,
    BEFORE_BYTES,
    Cause,
    Values,
    find_signals,
    find_words,
    flatten,
    load_causes,
    name_signal,
    signal_cause,
)
from bench.run.settings import Settings, name_value, tell_settings, undo_settings

MOST_SEARCHED = 16 << 20
"""Bytes of a log, from its beginning, in which a cause is looked for; as many ranks as a cluster
has may each write a traceback after the first one's."""
MOST_FOLLOWED = 1 << 18
"""Bytes at a look at a log that grows: its ranks may measure meanwhile."""
_CHUNK_BYTES = 1 << 20
_TAIL_BYTES = 16_384
_RANK = re.compile(rb"^(rank \d{1,9} on \S{1,255}: [^\n]{1,1000})", re.M)


_MOST_LINES, _MOST_LINE_BYTES = 200, 1000


class Why(NamedTuple):
    """Why a job ended."""

    text: str
    """One printable line; empty where nothing was printed."""
    known: bool = False
    """Whether it is more than the last line that was printed."""
    lasting: bool = False
    """Whether the same start would end so again."""


class Said:
    """The end of what a job printed beside its events; Hydra tells there how ranks ended."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=_MOST_LINES)

    def add(self, line: bytes) -> None:
        """Add a line, or as much of it as is kept."""
        self._lines.append(line[:_MOST_LINE_BYTES])

    def text(self) -> bytes:
        """Return the last lines."""
        return b"".join(line + b"\n" for line in self._lines)


def find_cause(log: Path, said: Said, spoke: bool, settings: Settings) -> Why:
    """Return the best explanation of what a job printed, else the last line of its log.

    Args:
        log: of standard error.
        said: what else it printed.
        spoke: whether a rank was heard of; until then MPI may not have started.
        settings: of this machine, which may have brought it about.
    """
    found = _Found()
    try:
        with log.open("rb") as file:
            _search_beginning(file, found)
            words = said.text()
            found.search(words, len(words))
            tail = _read_tail(file)
            if not found:
                found.search(tail, len(tail))
    except OSError:
        return Why("")
    if not spoke and settings.mpi == "Open MPI" and found.is_vague():
        words = ask_alone(settings.mpirun)
        found.search(words, len(words))
    return found.best(spoke, settings) or Why(_add_settings(_last_line(tail), spoke, settings))


def explain_line(line: str) -> str:
    """Return a message of a rank, with what the words of the system in it mean."""
    text = line.encode(errors="replace")
    for cause in load_causes().cause:
        if cause.anywhere:
            values = find_words(cause, text, flatten(text), len(text))
            if values is not None:
                return f"{line.rstrip(': ')}: {_tell(cause, values, True, None)}"
    return line


def describe_signal(number: int) -> str:
    """Return what a signal that ended a process mostly means, and the next step; else nothing."""
    known = signal_cause(number)
    return f"{_beside(known.means, known.beside)}; {known.next}" if known else ""


class Follower:
    """Follows a log, for words after which no job goes on.

    Args:
        log: that grows; what it holds already is of an earlier start.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = _size(log)
        self._kept = b""
        self.ended = False
        """Whether there were such words."""

    def look(self, spoke: bool) -> None:
        """Read what is new, but for what exceeds a bound.

        Args:
            spoke: whether a rank was heard of: MPI has started.
        """
        if self.ended or _size(self._log) <= self._read:
            return
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                new = file.read(MOST_FOLLOWED)
        except OSError:
            return
        self._read += len(new)
        text = self._kept + new
        self._kept = text[-(BEFORE_BYTES + AFTER_BYTES) :]
        flat = flatten(text)
        self.ended = any(
            find_words(cause, text, flat, len(text)) is not None
            for cause in load_causes().cause
            if cause.ends and not (spoke and cause.start)
        )

    def forgive(self) -> None:
        """Take no words so far as the end: the job went on after them."""
        self.ended = False
        self._kept = b""


class _Found:
    """What a text has shown: the first message of a rank, and the first place of each cause."""

    def __init__(self) -> None:
        self.rank: str | None = None
        self._causes: dict[int, Values] = {}

    def __bool__(self) -> bool:
        return self.rank is not None or bool(self._causes)

    def is_vague(self) -> bool:
        """Return whether MPI only said that it did not start."""
        causes = load_causes().cause
        return bool(self._causes) and causes[min(self._causes)].vague and self.rank is None

    def search(self, text: bytes, before: int) -> None:
        """Add what begins before a place of a text and was not found in an earlier one."""
        flat = flatten(text)
        for number, cause in enumerate(load_causes().cause):
            if number not in self._causes:
                values = find_words(cause, text, flat, before)
                if values is not None:
                    self._causes[number] = values
        if self.rank is None and (match := _RANK.search(text)) and match.start() < before:
            self.rank = printable(match[1].decode(errors="replace"), 300)

    def best(self, spoke: bool, settings: Settings) -> Why | None:
        """Return the best of it in words."""
        if self.rank is not None:
            return Why(explain_line(self.rank), known=True)
        causes = load_causes().cause
        for number in sorted(self._causes):
            if not (spoke and causes[number].start):
                told = _tell(causes[number], self._causes[number], spoke, settings)
                return Why(told, known=True, lasting=causes[number].lasting)
        return None


def _search_beginning(log: BinaryIO, found: _Found) -> None:
    kept = b""
    # The first message of a rank is as good as it gets.
    while log.tell() < MOST_SEARCHED and found.rank is None:
        new = log.read(_CHUNK_BYTES)
        text = kept + new
        if len(new) < _CHUNK_BYTES:
            found.search(text, len(text))
            return
        # What begins near the end is found whole in the next piece.
        found.search(text, len(text) - AFTER_BYTES)
        kept = text[-(BEFORE_BYTES + AFTER_BYTES) :]


def _tell(cause: Cause, values: Values, spoke: bool, settings: Settings | None) -> str:
    """Return what happened and the next step, in one sentence."""
    step, beside, meant = cause.next, cause.beside, ""
    if numbers := find_signals(values.get("signal", ""), values.get("code")):
        values = Values(values, signal=" or ".join(map(name_signal, numbers)))
        known = [found for found in map(signal_cause, numbers) if found is not None]
        meant = ", or ".join(_beside(found.means, found.beside) for found in known)
        step = known[0].next if len(known) == 1 else step
    told = _beside(cause.means.format_map(values), beside) + (f": {meant}" if meant else "")
    names = [name.format_map(values) for name in cause.setting]
    to_blame = settings.find(names) if settings else []
    if to_blame:
        instead = cause.instead or undo_settings(to_blame)
        return f"{told}; {tell_settings(to_blame)}: {instead}"
    return _add_settings(f"{told}; {step.format_map(values)}", spoke, settings)


def _beside(means: str, names: Sequence[str]) -> str:
    values = ", ".join(filter(None, map(name_value, names)))
    return f"{means} ({values})" if values else means


def _add_settings(told: str, spoke: bool, settings: Settings | None) -> str:
    """Add the settings that may be why MPI did not start."""
    named = "" if spoke or settings is None else tell_settings(settings.all)
    return "; ".join(filter(None, (told, f"{named}: try without that" if named else "")))


def _last_line(tail: bytes) -> str:
    lines = tail.decode(errors="replace").splitlines()
    words = [line.strip() for line in lines if re.search(r"\w", line)]
    return printable(words[-1], 300) if words else ""


def _read_tail(log: BinaryIO) -> bytes:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return log.read(_TAIL_BYTES)


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
