"""`ab.json`: a comparison of two arms, what each sets, in which order their launches are measured.

The folder of a comparison holds it, the suite, and a run folder for each side, named as the side.
"""

from pathlib import Path
from typing import Literal

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.records import Finding
from bench.core.verdict import Outcome
from bench.store.files import SUITE_FILE, replace_file, storage_error
from bench.store.jsons import decode_file, pretty, unreadable
from bench.store.schema import refuse_newer

AB_FILE = "ab.json"
AB_SCHEMA = 1
SIDES = ("a", "b")


class Side(msgspec.Struct, kw_only=True):
    """What one side is."""

    sets: dict[str, str] = {}
    """What it was given on the command line, by key: `env.X`, `mca.X`, `hostfile` and so on."""


class Slot(msgspec.Struct, kw_only=True):
    """One launch of one side, at its place in the order."""

    side: str
    launch: int
    block: int | None = None
    """Launches of both sides with one number were measured next to each other, or at once; None
    where nothing is shared, as between sides with a change by hand in between."""
    period: int | None = None
    """Of a crossover; or how often something was changed by hand before it."""
    hosts: tuple[str, ...] = ()
    """That it runs on; all of the side where there are none."""
    state: Literal["planned", "begun", "done"] = "planned"
    begun_utc: str | None = None
    seconds: float | None = None
    """That it took; None where it is not done."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One time that somebody asked what the launches so far say."""

    utc: str
    launches: dict[str, int]
    """Measured by then, by side."""
    outcome: Outcome


class AbRecord(msgspec.Struct, kw_only=True):
    """All that is known of a comparison beside its runs."""

    schema: int = AB_SCHEMA
    name: str
    """Of its folder when it was begun; runs of its sides are called by it, `-` and their side."""
    version: str
    """Of clusterbench."""
    suite_name: str
    started_utc: str
    finished_utc: str | None = None
    """When all planned launches were done; absent before."""
    flags: dict[str, str | int | bool | None] = {}
    """Command-line flags of both sides that differ from their defaults."""
    seed: int
    """Of the order of slots."""
    suite_seed: int
    """Of the order of cases, the same on both sides."""
    launches: int
    """Planned of each side; where it goes on until it is decided, the most."""
    until_decided: bool = False
    margin: float
    """Two sides are the same where their times differ by less than this share."""
    manual: str | None = None
    """What is changed by hand between A and B; None where the arms set it themselves."""
    sides: dict[str, Side]
    pairs: tuple[tuple[str, str], ...] = ()
    """Of hosts, of a crossover: while one runs A another one runs B. Empty where launches follow
    each other."""
    slots: list[Slot] = []
    """In the order in which they are measured; those of one period and block may be at once."""
    looks: list[Look] = []
    findings: list[Finding] = []


def is_ab(folder: Path) -> bool:
    """Return whether a folder is that of a comparison."""
    return (folder / AB_FILE).is_file()


def read_ab(folder: Path) -> AbRecord:
    """Return the record of a comparison.

    Raises:
        RequestError: where it is none, is damaged, or was written by a newer version.
    """
    path = folder / AB_FILE
    if not path.is_file():
        raise RequestError(
            f"{printable(folder, 400)} is no folder of a comparison (no {AB_FILE} in it); name one "
            "that `clusterbench ab` printed"
        )
    schema = decode_file(path, _Schema).schema
    refuse_newer(path, schema, AB_SCHEMA)
    record = decode_file(path, AbRecord)
    if set(record.sides) != set(SIDES) or any(slot.side not in SIDES for slot in record.slots):
        raise unreadable(path, ValueError("its sides are not a and b"))
    return record


class _Schema(msgspec.Struct):
    schema: int


def write_ab(folder: Path, record: AbRecord) -> None:
    """Replace the record of a comparison in one step.

    Raises:
        StorageError: where the disk is full or gone.
    """
    try:
        replace_file(folder / AB_FILE, pretty(record))
    except OSError as error:
        raise storage_error(folder, error) from error


def write_suite(folder: Path, text: str) -> None:
    """Keep the suite of a comparison as it was given.

    Raises:
        StorageError: where the disk is full or gone.
    """
    try:
        replace_file(folder / SUITE_FILE, text.encode())
    except OSError as error:
        raise storage_error(folder, error) from error


def read_suite(folder: Path) -> str:
    """Return the suite of a comparison.

    Raises:
        RequestError: where it cannot be read.
    """
    path = folder / SUITE_FILE
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
