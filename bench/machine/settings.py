"""Settings of MPI and of what carries its messages that stand in files, as no variable shows them.

Open MPI, PRRTE and PMIx read `NAME = VALUE` lines for which a variable would be `OMPI_MCA_NAME`;
UCX and NCCL read files of whole variables, UCX one in the current folder too (its parser.c).
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.machine.describe import Rows, show
from bench.machine.software import MCA_PREFIXES, looks_secret
from bench.machine.sysfs import read_text

_LINE = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,199})[ \t]*=[ \t]*(\S.{0,999})", re.ASCII)
_MOST = 100
"""Settings that are kept."""


class _File(NamedTuple):
    path: Path
    shown: str
    """Without the user's name."""
    prefix: str
    """Of the variables that its names stand for."""


def read_settings(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings in files, by the variable that each stands for and its file.

    A key is such as `OMPI_MCA_btl in ~/.openmpi/mca-params.conf`; the file that is read last, which
    beats those before, comes last.
    """
    found: dict[str, str] = {}
    for file in _files(root, environ):
        # Sections hold for some machines.
        text = f"\n{read_text(file.path) or ''}".partition("\n[")[0]
        for line in text.splitlines()[: 10 * _MOST]:
            match = _LINE.fullmatch(line.strip())
            if match and not looks_secret(match[1]) and len(found) < _MOST and line.isprintable():
                found[f"{file.prefix}{match[1]} in {file.shown}"] = match[2]
    return found


def set_in_files(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the variables that files of this machine and of this user stand for."""
    return frozenset(split_key(key)[0] for key in read_settings(Path("/"), environ))


def split_key(key: str) -> tuple[str, str]:
    """Return the variable and the file of a key."""
    variable, _, file = key.partition(" in ")
    return variable, file


def settings_rows(settings: Mapping[str, str]) -> Rows:
    """Return the settings of files for a person."""
    return [(show(key), show(value)) for key, value in settings.items()]


def _files(root: Path, environ: Mapping[str, str]) -> list[_File]:
    """Return the files that may be there, each before those that beat it."""
    home = environ.get("HOME")
    own = root == Path("/")
    # Of a wheel the environment's folder; Debian's, Fedora's; else who knows.
    folders = [Path(sys.prefix) / "etc"] if own else []
    folders += [root / "etc", root / "etc/openmpi", root / "etc/openmpi-x86_64"]
    files = [
        _File(
            folder / f"{name}-mca-params.conf", f"{_shown(folder, root)}/{name}-mca-params.conf", p
        )
        for folder in folders
        for name, p in MCA_PREFIXES.items()
    ]
    files += [
        _File(root / "etc/ucx/ucx.conf", "/etc/ucx/ucx.conf", ""),
        _File(root / "etc/nccl.conf", "/etc/nccl.conf", ""),
    ]
    if home and own:
        files += [
            _File(Path(home) / f".{name}/mca-params.conf", f"~/.{name}/mca-params.conf", prefix)
            for name, prefix in MCA_PREFIXES.items()
        ]
        files += [_File(Path(home) / name, f"~/{name}", "") for name in ("ucx.conf", ".nccl.conf")]
    if own and (folder := environ.get("UCX_CONFIG_DIR")):
        files.append(_File(Path(folder) / "ucx.conf", "$UCX_CONFIG_DIR/ucx.conf", ""))
    if own and not _is_current(home):
        files.append(_File(Path("ucx.conf"), "./ucx.conf", ""))
    return files


def _is_current(folder: str | None) -> bool:
    try:
        return folder is not None and Path(folder).samefile(".")
    except OSError:  # one of them is not there
        return False


def _shown(folder: Path, root: Path) -> str:
    return "ENV/etc" if folder == Path(sys.prefix) / "etc" else f"/{folder.relative_to(root)}"
