"""The most that a core computes in a cycle, from the extensions that it has.

An upper bound of speed: where the design of a core is not known, as many multiply-add units as any
core with its extensions has. Sources: Intel 64 and IA-32 Architectures Optimization Reference
Manual; AMD, Software Optimization Guides of families 17h, 19h and 1Ah; Arm, Software Optimization
Guides of the Neoverse cores; Fujitsu, A64FX Microarchitecture Manual.
"""

from collections.abc import Collection
from typing import NamedTuple, Protocol


class Design(Protocol):
    """Which core it is, as its maker numbers them."""

    @property
    def maker(self) -> str:
        """The vendor of x86, or the implementer of Arm in hexadecimal."""

    @property
    def family(self) -> int:
        """The CPU family of x86, or the architecture of Arm."""

    @property
    def model(self) -> int:
        """The model of x86, or the part of Arm."""


class Units(NamedTuple):
    """The vector units of a core, in words, and FLOP per cycle in fp64; fp32 is twice that."""

    name: str
    fp64: int
    exact: bool = False
    """Whether the design of the core is known: it has these and no fewer."""


_X86 = (
    (("avx512f",), Units("2 units of AVX-512 multiply-add", 32)),
    (("avx2", "fma"), Units("2 units of AVX2 multiply-add", 16)),
    (("avx",), Units("an adder and a multiplier of AVX", 8)),
    (("sse4_2",), Units("an adder and a multiplier of SSE", 4)),
)
_ARM = Units("4 units of Advanced SIMD multiply-add", 16)


def _fma(count: int, bits: int) -> Units:
    return Units(f"{count} multiply-add units of {bits} bits", 2 * count * bits // 64, exact=True)


_DESIGNS = (
    # Zen and Zen+, Zen 2, Zen 3 and 4; Zen 4 does AVX-512 in two halves. Of Zen 5 some halve it.
    ("AuthenticAMD", 0x17, range(0x30), _fma(2, 128)),
    ("AuthenticAMD", 0x17, range(0x30, 0x100), _fma(2, 256)),
    ("AuthenticAMD", 0x19, range(0x100), _fma(2, 256)),
    # Haswell to Skylake without AVX-512, and their successors in clients; of Skylake and its
    # successors in servers some models have one unit of 512 bits, others two.
    ("GenuineIntel", 6, (0x3C, 0x3F, 0x45, 0x46), _fma(2, 256)),
    ("GenuineIntel", 6, (0x3D, 0x47, 0x4F, 0x56), _fma(2, 256)),
    ("GenuineIntel", 6, (0x4E, 0x5E, 0x8E, 0x9E, 0xA5, 0xA6), _fma(2, 256)),
    # Cannon Lake, Ice Lake, Tiger Lake and Rocket Lake in clients: one unit of 512 bits.
    ("GenuineIntel", 6, (0x66, 0x7D, 0x7E, 0x8C, 0x8D, 0xA7), _fma(2, 256)),
    # Neoverse N1, V1, N2 and V2; those with SVE do Advanced SIMD as fast.
    ("0x41", 8, (0xD0C,), _fma(2, 128)),
    ("0x41", 8, (0xD40,), _fma(4, 128)),
    ("0x41", 8, (0xD49,), _fma(2, 128)),
    ("0x41", 8, (0xD4F,), _fma(4, 128)),
    ("0x46", 8, (0x001,), _fma(2, 512)),
)
"""Maker, family and models as /proc/cpuinfo has them."""


def units_of(simd: Collection[str], design: Design | None = None) -> Units | None:
    """Return the units that a core has at most; None where its extensions do not show them.

    SVE does not state how long its vectors are.

    Args:
        simd: its extensions, as Linux spells them.
        design: what the core is; None where unknown.
    """
    if design is not None:
        for maker, family, models, units in _DESIGNS:
            if (maker, family) == (design.maker, design.family) and design.model in models:
                # A virtual machine may hide what a core has.
                return units if {"fma", "asimd"} & {*simd} else None
    if "sve" in simd or "sme" in simd:
        return None
    if "asimd" in simd:
        return _ARM
    return next((units for flags, units in _X86 if set(flags) <= set(simd)), None)


def flop_per_cycle(units: Units, dtype: str) -> int | None:
    """Return FLOP of a core and cycle in `fp32` or `fp64`; None in others, which vary too much."""
    return {"fp64": units.fp64, "fp32": 2 * units.fp64}.get(dtype)
