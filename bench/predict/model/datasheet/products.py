"""Matrix products on a GPU: roofline, tiles and waves.

A GPU cuts C[m, n] into tiles, a multiprocessor computes one tile at a time, and the last wave of
tiles takes as long as a full one. So the time is a staircase in m, and not every product reaches
the roof (NVIDIA, Matrix Multiplication Background User's Guide, chapters 2 and 3; roofline:
Williams, Waterman and Patterson, CACM 2009).
"""

from functools import lru_cache
from math import ceil

import msgspec

Tile = tuple[int, int]


class Processor(msgspec.Struct, frozen=True):
    """What a product needs to know of a GPU for one dtype."""

    peak: float
    """FLOP/s at the clock that predictions assume."""
    best_peak: float
    """FLOP/s at the highest clock of the sheet: no product is faster."""
    bandwidth: float
    """Bytes per second of its memory."""
    multiprocessors: int
    tiles: tuple[Tile, ...] = ()
    """Rows and columns of C that a multiprocessor computes at once; unknown where empty."""


class ProductTime(msgspec.Struct, frozen=True):
    """Seconds of a product by part, and the way it came about."""

    seconds: float
    math_s: float
    memory_s: float
    roof_s: float
    """Arithmetic at the highest clock alone: operands may lie in a cache."""
    tile: Tile | None
    waves: int | None
    limited_by: str


# A hybrid step asks for the same products again for every layer that it could change at.
@lru_cache(maxsize=4096)
def product(
    shape: tuple[int, int, int], element: int, processor: Processor, launch_s: float = 0
) -> ProductTime:
    """Predict C[m, n] = A[m, k] B[k, n].

    Args:
        shape: (m, k, n).
        element: bytes of a value.
        processor: the GPU.
        launch_s: of the kernel.
    """
    m, k, n = shape
    work = 2 * m * k * n
    memory_s = element * (m * k + k * n + m * n) / processor.bandwidth
    roof_s = work / processor.best_peak
    if processor.tiles and work:
        tile, waves, math_s = min(
            (_tiled(shape, tile, processor) for tile in processor.tiles), key=lambda t: t[2]
        )
        limit = f"{waves} wave{'s' if waves > 1 else ''} of tiles {tile[0]} x {tile[1]}"
        seconds = launch_s + max(math_s, memory_s)
        limited_by = limit if math_s >= memory_s else "memory bandwidth"
        return ProductTime(seconds, math_s, memory_s, roof_s, tile, waves, limited_by)
    math_s = work / processor.peak
    limited_by = "arithmetic" if math_s >= memory_s else "memory bandwidth"
    seconds = launch_s + max(math_s, memory_s)
    return ProductTime(seconds, math_s, memory_s, roof_s, None, None, limited_by)


def tile_waves(m: int, n: int, tile: Tile, multiprocessors: int) -> int:
    """Return how many times all multiprocessors are handed tiles of C[m, n]."""
    return ceil(ceil(m / tile[0]) * ceil(n / tile[1]) / multiprocessors)


def _tiled(
    shape: tuple[int, int, int], tile: Tile, processor: Processor
) -> tuple[Tile, int, float]:
    m, k, n = shape
    waves = tile_waves(m, n, tile, processor.multiprocessors)
    one_s = 2 * tile[0] * tile[1] * k / (processor.peak / processor.multiprocessors)
    return tile, waves, waves * one_s
