"""`verdicts.json`: what a run was found to be, the current verdict of each verb."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import RequestError
from bench.core.verdict import Verdict
from bench.store.files import VERDICTS_FILE, replace_file, storage_error
from bench.store.jsons import decode_file, pretty
from bench.store.lock import lock_run


def read_verdicts(folder: Path) -> dict[str, Verdict]:
    """Return the verdicts on a run by verb, none where nobody judged it.

    Raises:
        RequestError: where the file is damaged.
    """
    path = folder / VERDICTS_FILE
    if not path.exists():
        return {}
    try:
        return decode_file(path, dict[str, Verdict])
    except RequestError as error:
        raise RequestError(f"{error}: remove it, and judge the run again") from error


def write_verdicts(folder: Path, verdicts: Mapping[str, Verdict]) -> None:
    """Replace all verdicts on a run, as its end does: on other rows the earlier ones say nothing.

    Raises:
        StorageError: where the disk is full or gone.
    """
    try:
        replace_file(folder / VERDICTS_FILE, pretty(verdicts))
    except OSError as error:
        raise storage_error(folder, error) from error


def keep_verdict(folder: Path, verb: str, verdict: Verdict) -> bool:
    """Put a verdict in place of the verb's earlier one; return whether it was written.

    A folder that is read-only, or that another clusterbench writes, is left alone.

    Raises:
        RequestError: where the file is damaged, which stays as it is.
        StorageError: where the disk is full or gone.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock_run(folder))
        except RequestError:
            return False
        write_verdicts(folder, read_verdicts(folder) | {verb: verdict})
    return True
