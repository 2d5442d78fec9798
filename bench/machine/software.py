"""Facts of software: versions of what decides a number, and the variables that steer it."""

import contextlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.core.errors import printable
from bench.machine.compared import COMPARED
from bench.machine.describe import UNKNOWN, Rows, show
from bench.machine.sysfs import read_text

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

MCA_PREFIXES = {"openmpi": "OMPI_MCA_", "prte": "PRTE_MCA_", "pmix": "PMIX_MCA_"}
"""Of the variables of Open MPI and of its runtime, by the names that their files have."""

_STEERING_PREFIXES = (
    # MPI: Open MPI with its runtime, MPICH, Cray MPICH, Intel MPI, MVAPICH 2 and 3.
    *(*MCA_PREFIXES.values(), "MPICH_", "MPIR_CVAR_", "I_MPI_", "MV2_", "MVP_"),
    # What carries its messages, and NCCL's.
    *("UCX_", "UCC_", "HCOLL_", "SHARP_", "FI_", "PSM2_", "PSM3_", "RDMAV_", "IBV_", "MLX5_"),
    *("NCCL_", "RCCL_", "GDRCOPY_", "HSA_"),
    # Threads and BLAS, and the compiler of the timing loops.
    *("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "NVPL_", "ARMPL_", "NUMBA_"),
    "MALLOC_",
)
_VISIBLE_DEVICES = (
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
)
_STEERING_NAMES = frozenset(
    {
        *_VISIBLE_DEVICES,
        # Not all of CUDA_*: images and modules set many, such as CUDA_VERSION, that steer nothing.
        *("CUDA_DEVICE_ORDER", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_LAUNCH_BLOCKING"),
        *("CUDA_MODULE_LOADING", "CUDA_SCALE_LAUNCH_QUEUES", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"),
        *("CUDA_PATH", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "CUPY_TF32"),
        *("HIP_LAUNCH_BLOCKING", "HIP_FORCE_DEV_KERNARG", "GPU_MAX_HW_QUEUES", "ROC_ACTIVE_WAIT"),
        # The loader's: which libmpi, UCX or BLAS is the one that runs, and whose Python packages.
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "PYTHONPATH"),
    }
)
_RECORDED_NAMES = frozenset({"SLURM_JOB_ID", "SLURM_NNODES", "SLURM_JOB_PARTITION"})
"""Kept with a run, though they steer no message."""

_SECRET_PARTS = ("TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH", "PRIVATE", "COOKIE")
_SECRET_WORDS = re.compile(r"PASS|PWD|(?!PKEY).*KEYS?")
"""UCX_IB_PKEY and NCCL_IB_PKEY name a partition of an InfiniBand fabric, which is no secret."""

_SET_BY_LAUNCHER = re.compile(
    r"OMPI_MCA_(PREFIXES|cpu_type|initial_wdir|num_procs|orte_.*|ess.*|shmem_RUNTIME_QUERY_hint)"
    r"|(PRTE|PMIX)_MCA_(ess|prte_(hnp|parent|local_daemon)|pmix_server)_?.*"
    r"|(MPICH|MPIR_CVAR_\w+)_INTERFACE_HOSTNAME\w*"  # Hydra: another one on every host
    r"|I_MPI_(INFO|HYDRA)_\w+|I_MPI_MPIRUN"
    r"|(MV2|MVP)_COMM_WORLD_\w+"
    r"|NCCL_(HOSTID|COMM_ID)"  # names one host, or one meeting of ranks
)
"""Addresses, counts and names that a launcher hands its ranks: nobody's choice, and another one
for each rank, node or job."""
_ONE_DEVICE = re.compile(r"\b(GPU|MIG)-", re.ASCII)
"""In a list of visible devices: the identity of a GPU that only one node has."""


class Blas(msgspec.Struct, frozen=True, kw_only=True):
    """The linear algebra library that NumPy calls."""

    name: Annotated[str, COMPARED]
    version: Annotated[str | None, COMPARED] = None
    threads: int | None = None
    """Chosen by each job for each of its nodes."""
    architecture: Annotated[str | None, COMPARED] = None
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

    A wheel comes before the system's copy. Which of them an MPI loads only the MPI knows.
    """
    return {
        library: next((packages[wheel] for wheel in wheels if wheel in packages), None)
        or _read_pkg_config(root, name)
        for library, (name, wheels) in _LIBRARIES.items()
    }


def steering_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that steer a measurement and mean the same on every node, sorted.

    They choose what MPI, UCX, libfabric, NCCL, the loader and a BLAS do. Every other stays unread,
    since any may hold a secret; so do names with a word such as TOKEN or KEY in them, what a
    launcher sets for each of its ranks, and lists of devices by identity, which one node has.
    """
    return {
        name: value
        for name, value in sorted(environ.items())
        if (name in _STEERING_NAMES or name.startswith(_STEERING_PREFIXES))
        and not looks_secret(name)
        and not _SET_BY_LAUNCHER.fullmatch(name)
        and not (name in _VISIBLE_DEVICES and _ONE_DEVICE.search(value))
        and name.isprintable()
    }


def alike_environment(environment: Mapping[str, str], node: Any) -> dict[str, str]:
    """Return those variables that are to be the same on every node of a job, as they compare.

    Left out are the devices that a scheduler shows each node, and numbers of threads, which each
    job chooses for each node. The node's own name is `HOST`, and a folder counts once in a path.
    """
    alike = {}
    for variable, value in steering_variables(environment).items():
        if variable in _VISIBLE_DEVICES or variable.endswith("_NUM_THREADS"):
            continue
        if variable in ("LD_LIBRARY_PATH", "PYTHONPATH"):
            # Launchers put their own before, again, and a colon after it where nothing follows.
            value = ":".join(dict.fromkeys(folder for folder in value.split(":") if folder))
        alike[variable] = _without_name(value, node.host or "")
    return alike


def _without_name(value: str, host: str) -> str:
    for name in (host, host.partition(".")[0]):
        if name and name in value:
            value = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "HOST", value)
    return value


def looks_secret(name: str) -> bool:
    """Return whether the name of a setting says that its value is nobody else's business."""
    upper = name.upper()
    return any(part in upper for part in _SECRET_PARTS) or any(
        _SECRET_WORDS.fullmatch(word) for word in upper.split("_")
    )


def select_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are kept with a run, sorted: those that steer, and the job's."""
    recorded = _RECORDED_NAMES.union(_VISIBLE_DEVICES)
    kept = steering_variables(environ) | {k: v for k, v in environ.items() if k in recorded}
    return {name: _storable(value) for name, value in sorted(kept.items())}


def software_rows(
    packages: Mapping[str, str],
    libraries: Mapping[str, str | None],
    environment: Mapping[str, str],
    blas: Blas | None,
) -> Rows:
    """Return the facts of software for a person."""
    known = [f"{name} {show(version)}" for name, version in libraries.items()]
    return [
        ("BLAS", _describe_blas(blas)),
        (
            "Packages",
            ", ".join(f"{name} {show(version)}" for name, version in packages.items()),
        ),
        ("Libraries", ", ".join(known) or UNKNOWN),
        *((f"${printable(name)}", show(value)) for name, value in environment.items()),
    ]


def _describe_blas(blas: Blas | None) -> str:
    if blas is None:
        return UNKNOWN
    kernels = f"kernels for {show(blas.architecture)}"
    return f"{show(blas.name)} {show(blas.version)}, {show(blas.threads)} threads, {kernels}"


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
