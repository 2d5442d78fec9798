"""How a command ends: what it prints, and the only exit codes."""

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bench.core.errors import BenchError, RequestError, printable

if TYPE_CHECKING:
    from bench.core.verdict import Verdict

EXIT_OK = 0
EXIT_BAD = 1
"""The verdict is bad."""
EXIT_REFUSED = 2
"""The request cannot be carried out as given."""
EXIT_UNDECIDED = 3
"""Nothing false, but no answer either."""
EXIT_FAILED = 4
"""A job or a case failed, or files could not be written."""
EXIT_INTERRUPTED = 130
"""By Ctrl-C or SIGTERM; as a shell has it."""


def print_nothing() -> None:
    """Print nothing: help and version print themselves."""


class Ending(NamedTuple):
    """What a command has to print, and its exit code, which is known before anything is printed."""

    show: Callable[[], None] = print_nothing
    exit_code: int = EXIT_OK


def verdict_code(verdict: "Verdict") -> int:
    """Return the exit code of a verdict."""
    # Lazily: `--help` needs no records.
    from bench.core.verdict import Gravity

    return {
        Gravity.GOOD: EXIT_OK,
        Gravity.UNDECIDED: EXIT_UNDECIDED,
        Gravity.INCOMPLETE: EXIT_FAILED,
        Gravity.BAD: EXIT_BAD,
    }[verdict.outcome.gravity]


def error_code(error: BenchError) -> int:
    """Return the exit code of an error."""
    return EXIT_REFUSED if isinstance(error, RequestError) else EXIT_FAILED


def show_ending(ending: Ending) -> int:
    """Print what a command has to print and return its exit code, whether anybody reads or not."""
    try:
        ending.show()
        flush_output()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        return complain(describe(error), ending.exit_code or EXIT_FAILED)
    return ending.exit_code


def show_what_can_be_shown() -> None:
    r"""Print `\xfc` where a terminal or a locale has no letter for it: no reason to end a run."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write what was printed; without a standard output there is nothing to write."""
    if sys.stdout is not None:
        sys.stdout.flush()


def discard_output() -> None:
    """Throw away all that is printed from here on, and what is printed and not yet written."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def complain(message: str, code: int) -> int:
    """Print a line on standard error, where it takes one, and return the exit code."""
    with suppress(OSError):
        print(f"clusterbench: {printable(message, 1000)}", file=sys.stderr, flush=True)
    return code


def describe(error: Exception) -> str:
    """Return one line about an error of any kind."""
    if isinstance(error, BenchError):
        return str(error)
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        why = f"{what}{error.strerror or error}"
        if error.errno in (errno.EMFILE, errno.EFBIG):  # limits of the shell
            with suppress(OSError, ImportError):  # which may have been reached for these too
                from bench.run.cause import explain_line

                why = explain_line(why)
        return f"{why}; what was written before is kept"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def print_json(value: object) -> None:
    """Print a record, or a mapping of records, as JSON."""
    import msgspec

    text = msgspec.json.encode(value, enc_hook=str)
    print(json.dumps(json.loads(text), indent=1))


def print_judged(result: object, verdict: "Verdict") -> None:
    """Print a record, or a mapping, as JSON, with the verdict on it as `verdict`."""
    import msgspec

    print_json(msgspec.to_builtins(result, enc_hook=str) | {"verdict": verdict})
