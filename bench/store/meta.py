"""`run.json`: what a run is, when it began and how it ended."""

from pathlib import Path

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.records import SCHEMA, Origin
from bench.store.files import RUN_FILE, replace_file
from bench.store.jsons import pretty, unreadable
from bench.store.schema import refuse_newer


class Measured(msgspec.Struct, kw_only=True, tag_field="by", tag="plan"):
    """How a run came to be whose jobs were started here: what was asked, and with which MPI."""

    flags: dict[str, str | int | bool | None]
    """Command-line flags that differ from their defaults."""
    seed: int
    launches: int
    launcher: str
    mpi: dict[str, str | None]
    """Name, version, library and path of the MPI that started the jobs; empty without one."""
    hosts: dict[str, str | None] = {}
    """Hosts that ranks were asked to run on, in order, each with the name that it calls itself;
    none where they ran here, or a scheduler chose."""
    slots: dict[str, int | None] = {}
    """The most ranks of each host, None for one without a limit; empty where no host has one."""
    hosts_from: str = ""
    """Where the list of hosts is from, and what its form was taken for."""
    nodes: int = 1
    """Nodes that ranks were planned for."""


class Imported(msgspec.Struct, kw_only=True, tag_field="by", tag="import"):
    """How a run came to be that another tool measured."""

    tool: str
    tool_version: str | None = None
    sources: dict[str, str]
    """SHA-256 of each file that was read, by its name."""


class RunMeta(msgspec.Struct, kw_only=True):
    """What every run has, wherever its numbers are from."""

    schema: int = SCHEMA
    run: str
    origin: Origin
    version: str
    """Of clusterbench."""
    suite_name: str
    """Of the suite; of an imported run, what it is called by."""
    started_utc: str
    finished_utc: str | None = None
    """Absent while the run goes on, and for ever where it was killed."""
    outcome: str | None = None
    """`complete` or `interrupted`; absent where the run was killed."""
    made: Measured | Imported
    files: dict[str, str] = {}
    """SHA-256 of every file that the run left, but of the page and of verdicts."""

    @property
    def measured(self) -> Measured:
        """How its jobs were started.

        Raises:
            RequestError: where none was, since another tool measured.
        """
        if isinstance(self.made, Imported):
            raise RequestError(f"{printable(self.run)} was imported: no job of it was started here")
        return self.made


def read_run_file(folder: Path) -> tuple[int, bytes]:
    """Return the schema of `run.json` and its text.

    Raises:
        RequestError: where it cannot be read, or was written by a newer version.
    """
    path = folder / RUN_FILE
    try:
        text = path.read_bytes()
        schema = msgspec.json.decode(text, type=_Schema).schema
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise unreadable(path, error) from error
    refuse_newer(path, schema, SCHEMA)
    return schema, text


class _Schema(msgspec.Struct):
    schema: int = 1


def write_meta(folder: Path, meta: RunMeta) -> None:
    """Replace `run.json` in one step."""
    replace_file(folder / RUN_FILE, pretty(meta))
