"""A disk that can be copied as a power cut would leave it: an ext4 image on a loop device."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

IMAGE_BYTES = 128 * 2**20
_BLOCK = 2**20
_ZEROS = bytes(_BLOCK)
_UNMOUNT_S = 20.0
_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def why_no_disk(folder: Path) -> str | None:
    """Return why no image can be mounted here, None where it can."""
    if os.geteuid() != 0:
        return "a loop device needs root"
    for program, package in (("mkfs.ext4", "e2fsprogs"), ("mount", "mount")):
        if shutil.which(program, path=_PATH) is None:
            return f"no {program}; on Debian: apt install {package}"
    image = folder / "try.img"
    try:
        make_disk(image)
        with mounted(image, folder / "try"):
            return None
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]}: {error.stderr.decode(errors='replace').strip()[:200]}"
    finally:
        image.unlink(missing_ok=True)


def make_disk(image: Path) -> None:
    """Make an empty file system; all of it is written now, nothing later in the background."""
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    _run("mkfs.ext4", "-q", "-F", "-E", lazy, str(image))


@contextlib.contextmanager
def mounted(image: Path, where: Path) -> Iterator[Path]:
    """Have an image mounted for a while, as its own kernel would after a start: journal replayed.

    Raises:
        subprocess.CalledProcessError: where it cannot be mounted.
    """
    where.mkdir(exist_ok=True)
    # Reading is to write nothing.
    _run("mount", "-t", "ext4", "-o", "loop,noatime", str(image), str(where))
    try:
        yield where
    finally:
        _unmount(where)


def _unmount(where: Path) -> None:
    """Unmount, as soon as what has just ended has let go of its files."""
    deadline_s = time.monotonic() + _UNMOUNT_S
    while True:
        try:
            _run("umount", str(where))
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.2)
        else:
            return


def copy_still(image: Path, copy: Path) -> int:
    """Copy an image until two copies that follow each other are equal; return how many were made.

    What the loop device wrote between them would show: the copy is the image at the moment between
    the two.
    """
    before, count = "", 0
    while True:
        count += 1
        after = _copy(image, copy)
        if after == before:
            return count
        before = after


def _copy(image: Path, copy: Path) -> str:
    """Copy every byte, holes where there are only zeros, and return the hash of what was read."""
    found = hashlib.sha256()
    with image.open("rb") as source, copy.open("wb") as target:
        while block := source.read(_BLOCK):
            found.update(block)
            if block == _ZEROS:
                target.seek(len(block), os.SEEK_CUR)
            else:
                target.write(block)
        target.truncate(source.tell())
    return found.hexdigest()


def _run(program: str, *arguments: str) -> None:
    environment = {**os.environ, "PATH": _PATH, "LC_ALL": "C"}
    subprocess.run((program, *arguments), env=environment, check=True, capture_output=True)
