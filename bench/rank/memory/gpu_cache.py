"""What a GPU holds outside its memory, in the last cache before it."""

_INFINITY_BYTES = 256 * 2**20
_WITH_INFINITY = ("gfx94", "gfx95")
"""MI300 and MI350 have a cache of 256 MB behind the L2, the only one that HIP tells of (data sheets
of the MI300X, 2023, and the MI350X, 2025)."""
_WITHOUT = ("gfx900", "gfx906", "gfx908", "gfx90a")


def last_cache_bytes(l2_bytes: int, is_hip: bool, architecture: str) -> int | None:
    """Return the bytes of the last cache, None where it is not known.

    Args:
        l2_bytes: of the L2 cache, as the runtime says.
        is_hip: whether the GPU is AMD's.
        architecture: as HIP names it, such as `gfx90a:sramecc+:xnack-`; empty if it does not.
    """
    if not is_hip or architecture.partition(":")[0] in _WITHOUT:
        return l2_bytes
    return max(l2_bytes, _INFINITY_BYTES) if architecture.startswith(_WITH_INFINITY) else None
