"""What somebody has set that steers how MPI starts: variables, files of MPI, limits of a shell."""

import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.core.errors import printable
from bench.core.units import format_bytes
from bench.machine.describe import format_memory
from bench.machine.settings import read_settings, split_key
from bench.machine.software import MCA_PREFIXES, steering_variables

_MCA = tuple(MCA_PREFIXES.values())
_OF_ALL = ("UCX_", "FI_", "LD_PRELOAD")
_OF_OTHERS = ("MPICH_", "MPIR_CVAR_", "I_MPI_", "MV2_", "MVP_")
_SHM = "/dev/shm"  # noqa: S108
_MOST_NAMED = 6


class Setting(NamedTuple):
    """A parameter of MPI, as it is called where it is set."""

    name: str
    value: str
    file: str | None = None
    """Where it is set; None in the environment."""

    def __str__(self) -> str:
        return f"{printable(self.name)}={printable(self.value)}"


class Settings:
    """What is set on this machine for one family of MPIs.

    Args:
        environ: of the launcher.
        mpi: name of the MPI; all families count where it is not known.
        mpirun: its launcher.
    """

    def __init__(self, environ: Mapping[str, str], mpi: str | None, mpirun: str | None) -> None:
        self._environ = environ
        self.mpi = mpi
        self.mpirun = mpirun
        mca = mpi in (None, "Open MPI")
        prefixes = (*_OF_ALL, *(_MCA if mca else ()), *(_OF_OTHERS if mpi != "Open MPI" else ()))
        steering = steering_variables(environ)
        self.all = [Setting(k, v) for k, v in steering.items() if k.startswith(prefixes)]
        self.all += _read_files(environ, prefixes)

    def find(self, names: Sequence[str]) -> list[Setting]:
        """Return those of these variables and parameters that are set."""
        found = []
        for name in names:
            called = {name, *(prefix + name for prefix in _MCA)}
            those = [setting for setting in self.all if setting.name in called]
            if not those and name in self._environ:
                those = [Setting(name, self._environ[name])]
            found += those
        return found


def undo_settings(settings: Sequence[Setting]) -> str:
    """Return how to do without these settings, in words."""
    it = "it" if len(settings) == 1 else "them"
    return f"unset {it}" if all(s.file is None for s in settings) else f"take {it} out there"


def tell_settings(settings: Sequence[Setting]) -> str:
    """Return what is set where, in words; nothing where nothing is."""
    by_place: dict[str, list[str]] = {}
    for setting in settings[:_MOST_NAMED]:
        place = "the environment" if setting.file is None else printable(setting.file, 200)
        by_place.setdefault(place, []).append(str(setting))
    told = [
        f"{', '.join(those)} {'is' if len(those) == 1 else 'are'} set in {place}"
        for place, those in by_place.items()
    ]
    more = len(settings) - _MOST_NAMED
    return " and ".join(told) + (f", and {more} more are set" if more > 0 else "")


def _read_files(environ: Mapping[str, str], prefixes: tuple[str, ...]) -> Iterator[Setting]:
    for key, value in read_settings(Path("/"), environ).items():
        variable, file = split_key(key)
        if variable.startswith(prefixes):
            # A file of MPI calls a parameter by its bare name.
            prefix = next((prefix for prefix in _MCA if variable.startswith(prefix)), "")
            yield Setting(variable.removeprefix(prefix), value, file)


def name_value(what: str) -> str:
    """Return a value of this machine in words, such as `ulimit -n is 32`; empty where unknown."""
    read = _VALUES.get(what)
    value = read() if read else None
    return f"{what} {value}" if value else ""


def _limit(kind: int, size: bool) -> Callable[[], str | None]:
    def read() -> str | None:
        soft, _ = resource.getrlimit(kind)
        if soft == resource.RLIM_INFINITY:
            return None
        return f"is {format_bytes(soft) if size else soft} here"

    return read


def _read_shm() -> str | None:
    try:
        state = os.statvfs(_SHM)
    except OSError:
        return "is not there"
    return f"holds {format_memory(state.f_blocks * state.f_frsize)} here"


_VALUES: dict[str, Callable[[], str | None]] = {
    _SHM: _read_shm,
    "ulimit -f": _limit(resource.RLIMIT_FSIZE, size=True),
    "ulimit -l": _limit(resource.RLIMIT_MEMLOCK, size=True),
    "ulimit -n": _limit(resource.RLIMIT_NOFILE, size=False),
    "ulimit -s": _limit(resource.RLIMIT_STACK, size=True),
    "ulimit -t": _limit(resource.RLIMIT_CPU, size=False),
    "ulimit -u": _limit(resource.RLIMIT_NPROC, size=False),
    "ulimit -v": _limit(resource.RLIMIT_AS, size=True),
}
