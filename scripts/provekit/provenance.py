"""Where, when and with what a printed table was measured."""

import datetime
import os
import platform
import re
from pathlib import Path

from bench.machine.cpu import read_cpu
from bench.machine.mpi import find_mpi


def today() -> str:
    """Return the date."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def cpus() -> str:
    """Return the name of the processor, and how many CPUs there are."""
    return f"{read_cpu(Path('/')).model or 'unknown processor'}, {os.cpu_count()} CPUs"


def memory() -> str:
    """Return how much memory there is."""
    nbytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{nbytes / 2**30:.0f} GiB"


def kernel() -> str:
    """Return the version of Linux, without what a provider calls its own build of it."""
    return f"Linux {re.split('[-+]', platform.release())[0]}"


def mpi() -> str:
    """Return the MPI of this environment."""
    found = find_mpi()
    return "no MPI" if found is None else f"{found.name} {found.version_text}"
