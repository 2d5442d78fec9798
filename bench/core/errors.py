"""The one error tree; every message says what is wrong and what to do next.

BenchError
├── RequestError            a suite, flag, file or topology that cannot be used as given
│   └── SuiteError          the same, in a suite file: the message starts with the key's path
├── LaunchError             a job could not start
└── StorageError            the folder of a run took no more: the disk is full, or gone
"""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base of every error that is reported as one line and an exit code."""


class RequestError(BenchError):
    """The request cannot be carried out as given."""


class SuiteError(RequestError):
    """A suite file is not valid."""


class LaunchError(BenchError):
    """A job could not be started."""


class StorageError(BenchError):
    """The files of a run could not be written; what was written before stays readable."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return advice naming the valid word nearest to `name`, or all of them where none is near."""
    words = sorted(valid)
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(words)}" if words else "none is valid here"


def printable(text: object, limit: int = 60) -> str:
    """Return `text` safe to print: control characters escaped, long text shortened."""
    try:
        plain = str(text)
    except ValueError:
        plain = "a number of thousands of digits"  # Python writes out at most 4300
    if plain.isprintable():
        shown = plain
    else:
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in plain)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
