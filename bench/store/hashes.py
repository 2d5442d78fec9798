"""SHA-256 of the files of a run: what was left is told from what somebody changed."""

import contextlib
import hashlib
from pathlib import Path

from bench.store.files import FIGURES_FOLDER, LOCK_FILE, PAGE_FILES, RUN_FILE, VERDICTS_FILE

_NEVER = {RUN_FILE, LOCK_FILE, VERDICTS_FILE, *PAGE_FILES}
"""`run.json` holds the hashes; a verdict and the page are made anew whenever somebody asks. The
lock's file must not be opened: closing it would drop the lock."""


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that a run leaves, by its name in the folder."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in _NEVER or name.startswith((".", f"{FIGURES_FOLDER}/")) or not path.is_file():
            continue
        with contextlib.suppress(OSError):
            found[name] = _digest(path)
    return found


def changed_files(folder: Path, files: dict[str, str]) -> list[str]:
    """Return which of the files are no longer what they were, or not there."""
    changed = []
    for name, digest in files.items():
        path = folder / name
        # A name in `run.json` is a stranger's word: none leads out of the folder.
        inside = not path.is_symlink() and path.resolve().is_relative_to(folder.resolve())
        try:
            same = inside and name not in _NEVER and _digest(path) == digest
        except OSError:
            same = False
        if not same:
            changed.append(name)
    return changed


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
