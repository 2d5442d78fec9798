"""What commands that judge stored runs share: files that are not as they were left, verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.ending import EXIT_OK, complain
from bench.core.errors import BenchError

if TYPE_CHECKING:
    from bench.core.verdict import Verdict
    from bench.store.folder import RunFolder


def tell_changed_files(run: "RunFolder", name: str) -> None:
    """Say which files of a run are not what it left, if any.

    Args:
        run: whose files are looked at.
        name: what it is called, printable.
    """
    if changed := run.changed():
        names = ", ".join(changed[:3])
        complain(f"{len(changed)} files of {name} are not what it left ({names})", EXIT_OK)


def keep(folder: Path, verb: str, verdict: "Verdict", what: str, code: int) -> None:
    """Keep a verdict with what it is on, where that can be written.

    Args:
        folder: of what it is on.
        verb: the command.
        verdict: of it.
        what: it is called where it cannot be kept.
        code: the exit code of the command, which stays.
    """
    from bench.store.verdicts import keep_verdict

    try:
        keep_verdict(folder, verb, verdict)
    except BenchError as error:
        complain(f"the {what} is not kept: {error}", code)
