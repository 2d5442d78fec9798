"""The folder of a new run: made, and filled with what is known before its first job."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.core.errors import RequestError, printable
from bench.store.files import LOGS_FOLDER, storage_error, sync_folder
from bench.store.folder import RunFolder, open_run
from bench.store.meta import RunMeta, write_meta
from bench.store.parts import Parts, write_parts

LATEST = "latest"


def create_folder(parent: Path, suite: str) -> Path:
    """Create the folder of a new run, `<utc>-<suite>-<id>`, and point `latest` at it.

    Raises:
        RequestError: where the parent cannot be written.
    """
    folder = parent / _name(suite)
    with _refusing(parent):
        folder.mkdir(parents=True)
        (folder / LOGS_FOLDER).mkdir()
        _point_latest(parent, folder.name)
        sync_folder(parent)
    return folder


def create_ab_folder(parent: Path, suite: str) -> Path:
    """Create the folder of a new comparison, `<utc>-<suite>-ab-<id>`; `latest` is for runs.

    Raises:
        RequestError: where the parent cannot be written.
    """
    folder = parent / _name(f"{suite}-ab")
    with _refusing(parent):
        folder.mkdir(parents=True)
        sync_folder(parent)
    return folder


def create_side_folder(folder: Path) -> None:
    """Create the folder of a run within that of a comparison.

    Raises:
        RequestError: where that cannot be written.
    """
    with _refusing(folder.parent):
        # One that was made, and whose run had not begun.
        folder.mkdir(exist_ok=True)
        (folder / LOGS_FOLDER).mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _name(what: str) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{what}-{secrets.token_hex(3)}"


@contextlib.contextmanager
def _refusing(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RequestError(
            f"cannot write results to {printable(parent, 200)}: {_describe(parent, error)}; "
            "choose another folder with -o"
        ) from error


def _describe(parent: Path, error: OSError) -> str:
    # Of a link that leads nowhere the system says only that something is there already.
    broken = next((p for p in (parent, *parent.parents) if p.is_symlink() and not p.exists()), None)
    if broken is None:
        return str(error.strerror)
    where = "" if broken == parent else f"{printable(broken, 200)} is "
    return f"{where}a link to {printable(broken.readlink(), 200)}, which is not there"


def _point_latest(parent: Path, name: str) -> None:
    link = parent / LATEST
    if link.exists() and not link.is_symlink():
        return
    temporary = parent / f".{LATEST}.{os.getpid()}"
    temporary.symlink_to(name)
    temporary.replace(link)


def begin_run(folder: Path, meta: RunMeta, parts: Parts) -> RunFolder:
    """Write what is known of a run before its first job, and return it opened.

    Raises:
        StorageError: where the disk is full or gone.
    """
    try:
        write_parts(folder, parts)
        # Last: a folder that has it is a run, which can be resumed.
        write_meta(folder, meta)
    except OSError as error:
        raise storage_error(folder, error) from error
    return open_run(folder)
