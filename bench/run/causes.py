"""The known causes of failed jobs: `causes.toml`, and how their words are found in a text.

A text may be hostile and long. The longest stretch of a cause's plain words is looked for first,
which costs little more than reading; only the few lines around it are matched, by a pattern whose
every repetition is bounded.
"""

import functools
import re
import signal
import tomllib
from pathlib import Path

import msgspec

from bench.core.errors import printable

FILE = Path(__file__).with_name("causes.toml")
SYSTEM = "Linux"
"""By whom words are that any program may pass on."""
BEFORE_BYTES = 512
AFTER_BYTES = 4096
"""Around the words of a cause: what it names stands there, or too far away to be its own."""
_MOST_TRIED = 32
"""Places in a text that look like the words of a cause and are not."""
_MOST_VALUE = 200
_FIELD = re.compile(r"\{(\w+)(\.\.\.)?\}")
_RULE = re.compile(r"^[^\n]{0,80}-{40}", re.M)
"""The line after a help text of Open MPI; the next text may name other things."""
_NUMBER = re.compile(r"(?:^|\bsignal )(\d{1,3})\b", re.ASCII)
_LINE_ENDS = bytes.maketrans(b"\r\n\t", b"   ")


class Cause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a program says and what that means; `causes.toml` tells what each field holds."""

    by: str
    says: str
    means: str
    next: str
    reads: tuple[str, ...] = ()
    setting: tuple[str, ...] = ()
    instead: str | None = None
    beside: tuple[str, ...] = ()
    start: bool = False
    ends: bool = False
    lasting: bool = False
    vague: bool = False

    @property
    def anchor(self) -> bytes:
        """The longest stretch of plain words."""
        return _anchor(self.says)

    @property
    def anywhere(self) -> bool:
        """Whether it is the system's answer to a call, which any program may pass on."""
        return self.by == SYSTEM


class SignalCause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it mostly means that a signal ended a process."""

    number: int
    means: str
    next: str
    beside: tuple[str, ...] = ()


class Causes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that are known, the best explanation first."""

    cause: tuple[Cause, ...]
    signal: tuple[SignalCause, ...]


class Values(dict[str, str]):
    """What the words of a cause name; what they do not name is said to be unnamed."""

    def __missing__(self, name: str) -> str:
        return "(not named)"


@functools.cache
def load_causes() -> Causes:
    """Return what the file holds."""
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), Causes)


def flatten(text: bytes) -> bytes:
    """Return a text of the same length in which words are not parted by ends of lines."""
    return text.translate(_LINE_ENDS)


def find_words(cause: Cause, text: bytes, flat: bytes, before: int) -> Values | None:
    """Return what the words of a cause name where they stand in a text; None where they do not.

    Args:
        cause: whose words are looked for.
        text: that may hold them.
        flat: the same text, flattened once for all causes.
        before: words that begin here or later do not count; their rest may still be missing.
    """
    at = -1
    for _ in range(_MOST_TRIED):
        at = flat.find(cause.anchor, at + 1, before + len(cause.anchor))
        if at < 0:
            return None
        around = text[max(0, at - BEFORE_BYTES) : at + AFTER_BYTES].decode(errors="replace")
        if match := _pattern(cause.says).search(around):
            named = match.groupdict() | _read_labels(cause.reads, around[match.end() :])
            return Values({k: printable(v.strip(), _MOST_VALUE) for k, v in named.items()})
    return None


def _read_labels(labels: tuple[str, ...], text: str) -> dict[str, str]:
    """Return what stands behind labels in the lines of a help text."""
    if rule := _RULE.search(text):
        text = text[: rule.start()]
    found: dict[str, str] = {}
    for line in text.splitlines():
        for label in labels:
            before, told, value = line.partition(f"{label}:")
            # A launcher may put the number of the rank before each line.
            if told and value.strip() and not before[-1:].isalnum():
                found.setdefault(label, value)
    return found


@functools.cache
def _anchor(says: str) -> bytes:
    return max(_FIELD.sub("\0", says).split("\0"), key=len).encode()


@functools.cache
def _pattern(says: str) -> re.Pattern[str]:
    parts, at = [], 0
    for field in _FIELD.finditer(says):
        one = r"[^\n]{1,300}" if field[2] else r"\S{1,300}"
        parts += [_literal(says[at : field.start()]), f"(?P<{field[1]}>{one})"]
        at = field.end()
    return re.compile("".join(parts) + _literal(says[at:]))


def _literal(words: str) -> str:
    return r"\s{1,80}".join(re.escape(word) for word in words.split(" "))


def find_signal(words: str) -> int | None:
    """Return the number of the signal that is named by number or in words, as `Bus error` is."""
    if match := _NUMBER.search(words):
        return int(match[1])
    return _BY_WORDS.get(words.partition("(")[0].strip().lower())


def find_signals(words: str, first: str | None) -> list[int]:
    """Return the numbers of the signals that may be meant, none where none is named.

    Hydra adds up, bit by bit, the signals of all ranks, those too that it ended itself by SIGKILL.

    Args:
        words: that name a signal.
        first: exit code of the first rank that failed, where a launcher tells that too.
    """
    number = find_signal(words)
    if number is None or first in (None, str(number)):
        return [] if number is None else [number]
    candidates = [known.number for known in load_causes().signal]
    candidates = [one for one in candidates if one | signal.SIGKILL == number]
    named = find_signal(first or "")
    return [named] if named in candidates else candidates or [number]


def signal_cause(number: int) -> SignalCause | None:
    """Return what is known of a signal."""
    return next((known for known in load_causes().signal if known.number == number), None)


def name_signal(number: int) -> str:
    """Return a signal as people call it, such as `signal 7 (SIGBUS)`."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


_BY_WORDS = {
    (signal.strsignal(number) or "").lower(): int(number) for number in signal.valid_signals()
}
