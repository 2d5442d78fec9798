"""Unpacks wheels that were brought along, for a machine without a network."""

import importlib.metadata
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

_ROOTS = {"purelib": "", "platlib": "", "data": "", "scripts": "bin"}
"""Where the parts of a wheel's `.data` folder belong, in one folder for all."""


def unpack_missing(wheels: Path, site: Path) -> list[str]:
    """Unpack the wheels of what Python does not have; return their names."""
    unpacked = []
    for wheel in sorted(wheels.glob("*.whl")):
        name = wheel.name.partition("-")[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            unpack(wheel, site)
            unpacked.append(name)
    return unpacked


def unpack(wheel: Path, site: Path) -> None:
    """Unpack a wheel as pip would: `.data` folders to their places, and programs executable.

    Raises:
        ValueError: where a name in it would lie outside the folder.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            target = site / place_of(member.filename)
            if not target.resolve().is_relative_to(site.resolve()):
                raise ValueError(f"{wheel.name} holds {member.filename!r}, outside its folder")
            if member.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            if member.external_attr >> 16 & stat.S_IXUSR or target.parent.name == "bin":
                target.chmod(0o755)


def place_of(name: str) -> str:
    """Return where a file of a wheel belongs."""
    first, *rest = PurePosixPath(name).parts
    if first.endswith(".data") and rest:
        return str(PurePosixPath(_ROOTS.get(rest[0], "other"), *rest[1:]))
    return name
