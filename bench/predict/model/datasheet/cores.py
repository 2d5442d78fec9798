"""The most that a core computes in a cycle, from the extensions that it has.

An upper bound of speed: as many multiply-add units as any core with these extensions has. Sources:
Intel 64 and IA-32 Architectures Optimization Reference Manual; AMD, Software Optimization Guides of
families 17h, 19h and 1Ah; Arm, Software Optimization Guides of the Neoverse cores.
"""

from collections.abc import Collection
from typing import NamedTuple


class Units(NamedTuple):
    """The vector units of a core, in words, and FLOP per cycle in fp64; fp32 is twice that."""

    name: str
    fp64: int


_X86 = (
    (("avx512f",), Units("2 units of AVX-512 multiply-add", 32)),
    (("avx2", "fma"), Units("2 units of AVX2 multiply-add", 16)),
    (("avx",), Units("an adder and a multiplier of AVX", 8)),
    (("sse4_2",), Units("an adder and a multiplier of SSE", 4)),
)
_ARM = Units("4 units of Advanced SIMD multiply-add", 16)


def units_of(simd: Collection[str]) -> Units | None:
    """Return the units that a core has at most; None where its extensions do not show them.

    SVE does not state how long its vectors are.
    """
    if "sve" in simd or "sme" in simd:
        return None
    if "asimd" in simd:
        return _ARM
    return next((units for flags, units in _X86 if set(flags) <= set(simd)), None)


def flop_per_cycle(units: Units, dtype: str) -> int | None:
    """Return FLOP of a core and cycle in `fp32` or `fp64`; None in others, which vary too much."""
    return {"fp64": units.fp64, "fp32": 2 * units.fp64}.get(dtype)
