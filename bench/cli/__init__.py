"""The command line: parse, carry out, print; a file for each command.

Results go to standard output, progress and advice to standard error. What a command needs beyond
its arguments is imported inside it, so that `--help` is instant.
"""

import sys
from collections.abc import Callable

import rich_click as click

from bench.cli.commands import commands
from bench.cli.ending import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    Ending,
    complain,
    describe,
    discard_output,
    error_code,
    show_ending,
    show_what_can_be_shown,
)
from bench.core.errors import BenchError, printable
from bench.core.program import shun_current_folder


def main() -> None:
    """Run the command line and exit with the code of how it ended."""
    shun_current_folder()
    show_what_can_be_shown()
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Carry out a command line; errors become one line on standard error and an exit code."""
    for argument in arguments:
        # Bytes that are no UTF-8 come as lone surrogates, which no file of a run can hold.
        if any("\ud800" <= character <= "\udfff" for character in argument):
            return complain(f"{printable(argument)} is not UTF-8 text", EXIT_REFUSED)
    try:
        carry_out = _parse(arguments)
        return show_ending(carry_out())
    except click.ClickException as error:
        return complain(" ".join(error.format_message().split()), EXIT_REFUSED)
    except BenchError as error:
        return complain(str(error), error_code(error))
    except (click.Abort, KeyboardInterrupt):
        return complain("interrupted", EXIT_INTERRUPTED)
    except OSError as error:
        return complain(describe(error), EXIT_FAILED)


def _parse(arguments: list[str]) -> Callable[[], Ending]:
    """Return what carries a command line out; help and the version are printed here."""
    try:
        carry_out = commands.main(arguments, prog_name="clusterbench", standalone_mode=False)
    except (BrokenPipeError, SystemExit) as error:
        # Click and rich turn a reader that has gone, as `| head` does, into an exit of their own.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        discard_output()
        return Ending
    return carry_out if callable(carry_out) else Ending
