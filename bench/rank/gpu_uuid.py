"""The number that a GPU's driver gives to it, and to each slice of it."""

import ctypes
from typing import Any

from bench.rank.memory.gpu import MissingMemoryError, find_runtime

_UUID_BYTES = 16
_CUDA_CALLS = "cuDeviceGet", "cuDeviceGetUuid_v2"
_HIP_CALLS = "hipDeviceGet", "hipDeviceGetUuid"


def read_uuid(number: int, is_hip: bool) -> bytes | None:
    """Return the 16 bytes of a GPU that the runtime has opened, or None where nobody tells.

    Of a slice (MIG) they are the slice's own (`cuDeviceGetUuid_v2`, CUDA 11.4 and later; the call
    before it gives those of the whole GPU). CuPy (14.2) ends what it hands out at the first zero
    byte, and has none on HIP.

    Args:
        number: among those that this process sees.
        is_hip: whether the runtime is AMD's.
    """
    get, tell = _HIP_CALLS if is_hip else _CUDA_CALLS
    device, uuid = ctypes.c_int(0), (ctypes.c_ubyte * _UUID_BYTES)()
    try:
        driver = load_driver(is_hip)
        if getattr(driver, get)(ctypes.byref(device), ctypes.c_int(number)):
            return None
        failed = getattr(driver, tell)(ctypes.byref(uuid), device)
    except (OSError, AttributeError, MissingMemoryError):  # no such library, or without the call
        return None
    return bytes(uuid) if not failed and any(uuid) else None


def load_driver(is_hip: bool) -> Any:
    """Return the driver's library; HIP has it in that of the runtime.

    Raises:
        OSError, MissingMemoryError: where there is none.
    """
    return find_runtime("hip", 0) if is_hip else ctypes.CDLL("libcuda.so.1")
