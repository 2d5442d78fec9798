"""Checks of the folder that MPI keeps its session in: it is there, can be written, and is short."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.core.errors import printable
from bench.core.records import Finding

_VARIABLES = ("TMPDIR", "TEMP", "TMP")
"""In the order in which Open MPI, PRRTE and PMIx look."""
_LONG = 80
"""Bytes of a path that leave room for a socket below it: the kernel takes 107 for one."""


class Scratch(msgspec.Struct, frozen=True, kw_only=True):
    """The folder for what nobody keeps."""

    path: str
    variable: str | None = None
    """That names it; None where it is the usual one."""
    error: str | None = None
    """Why nothing can be made in it; None where something was."""
    made: bool = False
    """Whether it was not there, and was made for a try."""

    @property
    def named(self) -> str:
        """The folder, with the variable that names it."""
        return f"{self.variable}={printable(self.path, 100)}" if self.variable else self.path


def try_scratch(environ: Mapping[str, str]) -> Scratch:
    """Make something in the folder that MPI would take, and remove it."""
    variable = next((name for name in _VARIABLES if environ.get(name)), None)
    path = environ[variable] if variable else "/tmp"  # noqa: S108 - what they take
    missing = []
    error = None
    try:
        folder = Path(path)
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        # MPI makes what is missing, from the top.
        for each in reversed(missing):
            each.mkdir()
        Path(tempfile.mkdtemp(prefix="clusterbench-", dir=path)).rmdir()
    except OSError as failed:
        error = failed.strerror
    except ValueError:
        error = "no path"
    for each in missing:
        try:
            each.rmdir()
        except OSError:
            break  # it was not made, or others use it meanwhile
    return Scratch(path=path, variable=variable, error=error, made=bool(missing))


def check_scratch(scratch: Scratch, family: str | None) -> list[Finding]:
    """Check that MPI can keep its session there; `family` is that of the launcher."""
    if scratch.error is not None:
        return [
            Finding(
                name="tmpdir",
                # Hydra keeps nothing there.
                level="stop" if family == "openmpi" else "warning",
                text=f"nothing can be made in {scratch.named}: {printable(scratch.error)}; MPI "
                "keeps the session of a job there",
                advice="name a folder that can be written: `export TMPDIR=/tmp`",
            )
        ]
    if scratch.made:
        return [
            Finding(
                name="tmpdir",
                level="note",
                text=f"{scratch.named} is not there; MPI makes it, and other programs take another "
                "one",
                advice=f"make it, or `unset {scratch.variable}`" if scratch.variable else None,
            )
        ]
    length = len(os.fsencode(scratch.path))
    if length > _LONG:
        return [
            Finding(
                name="tmpdir-length",
                level="note",
                text=f"{scratch.named} has {length} bytes: a socket below it may have a longer "
                "path than the kernel takes (107 bytes), which some MPIs fail on",
                advice="name a short folder: `export TMPDIR=/tmp`",
                value=length,
                limit=_LONG,
                unit="bytes",
            )
        ]
    return []
