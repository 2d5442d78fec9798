"""Opens the GPU of a rank before MPI starts, by the driver alone: no CuPy, no NumPy.

UCX sorts network cards by their distance to the GPU whose context is current when it starts, and
takes all of them for equally far where none is (1.17 to 1.20, `uct/cuda/base/cuda_iface.c`); PSM2
fails where a device is set after MPI_Init. BLAS threads are not set yet, so that NumPy must wait;
the runtime that CuPy carries takes the same context up later, since a GPU has one for each process.
AMD's libraries do not ask which GPU is current: of such a GPU it is enough to know where it sits.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

LOCAL_RANKS = (
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "PMI_LOCAL_RANK",
    "PALS_LOCAL_RANKID",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "PMIX_LOCAL_RANK",
    # The last one: within a script of sbatch it is 0 for whatever mpirun starts there.
    "SLURM_LOCALID",
)
"""By which launchers number the ranks of a node: Open MPI, Hydra and Intel MPI, PMI, PALS, MVAPICH,
PMIx, Slurm."""
_HIP_LIBRARIES = ("libamdhip64.so", *(f"libamdhip64.so.{major}" for major in (7, 6, 5)))
"""Without a number only where ROCm's files for developers are."""
_ADDRESS_BYTES = 32
_MOST_DIGITS = 9


class EarlyGpu(NamedTuple):
    """A GPU that is open before MPI is; one of AMD's is known only."""

    number: int
    """Among those that this process sees."""
    seen: int
    """How many those are."""
    pci_address: str
    numbered_by: str
    """What gave the number of this rank on its node."""


def find_local_rank(environ: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the number of this rank on its node and the variable that says so, or None."""
    for name in LOCAL_RANKS:
        text = environ.get(name, "")
        if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
            return int(text), name
    return None


def open_before_mpi(
    local_rank: tuple[int, str] | None, load: Callable[[str], Any] = ctypes.CDLL
) -> EarlyGpu | None:
    """Make the context of this rank's GPU the current one; of AMD's find where it is.

    Args:
        local_rank: number of the rank on its node, and who says so.
        load: opens a library of the driver's.

    Returns:
        None where there is no GPU, or nobody numbers the ranks: the first case that asks
        for the GPU opens it then, or has the reason why it cannot.
    """
    if local_rank is None:
        return None
    return _open_nvidia(local_rank, load) or _find_amd(local_rank, load)


def _open_nvidia(local_rank: tuple[int, str], load: Callable[[str], Any]) -> EarlyGpu | None:
    try:
        driver = load("libcuda.so.1")
    except OSError:
        return None
    count, device, context = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_void_p()
    address = ctypes.create_string_buffer(_ADDRESS_BYTES)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return None
    number = local_rank[0] % count.value
    failed = (
        driver.cuDeviceGet(ctypes.byref(device), number)
        or driver.cuDeviceGetPCIBusId(address, _ADDRESS_BYTES, device)
        or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
        or driver.cuCtxSetCurrent(context)
    )
    if failed:
        return None
    return EarlyGpu(number, count.value, _text(address.value), local_rank[1])


def _find_amd(local_rank: tuple[int, str], load: Callable[[str], Any]) -> EarlyGpu | None:
    runtime = None
    for name in _HIP_LIBRARIES:
        try:
            runtime = load(name)
            break
        except OSError:
            continue
    if runtime is None:
        return None
    count, address = ctypes.c_int(0), ctypes.create_string_buffer(_ADDRESS_BYTES)
    if runtime.hipGetDeviceCount(ctypes.byref(count)) or count.value < 1:
        return None
    number = local_rank[0] % count.value
    if runtime.hipDeviceGetPCIBusId(address, _ADDRESS_BYTES, ctypes.c_int(number)):
        return None
    return EarlyGpu(number, count.value, _text(address.value), local_rank[1])


def _text(address: bytes) -> str:
    return address.decode("ascii", "replace").lower()


def check_number(opened: EarlyGpu, local_rank: int) -> None:
    """Compare the GPU that was opened with the one that the rank has by MPI's own numbers.

    Raises:
        RuntimeError: where it is another one: UCX has chosen cards near the wrong GPU.
    """
    meant = local_rank % opened.seen
    if meant != opened.number:
        raise RuntimeError(
            f"GPU {opened.number} was taken before MPI, as {opened.numbered_by} numbers this rank "
            f"on its node, and by MPI it has GPU {meant}: the launcher's variables are not this "
            "MPI's; unset that variable, or start ranks with the MPI's own launcher"
        )
