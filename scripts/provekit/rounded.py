"""Products as devices round them, right ones and wrong ones, to try the check of products on."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.rank.memory.product import decode, encode

Numbers = NDArray[Any]

TYPES = ("fp64", "fp32", "tf32", "fp16", "bf16")
_DEPTH = 64
"""Products that are summed at once, before the sum is rounded."""
_TILE = 16
_SINGLE_BITS, _TF32_BITS = 24, 11


def draw(
    random: np.random.Generator, m: int, n: int, k: int, dtype: str
) -> tuple[Numbers, Numbers]:
    """Return both factors as a type stores them."""
    number = np.float64 if dtype == "fp64" else np.float32
    shapes = ((m, k), (k, n))
    left, right = (_stored(random.standard_normal(shape, number), dtype) for shape in shapes)
    return left, right


def multiply(left: Numbers, right: Numbers, dtype: str, parts: int = 1) -> Numbers:
    """Return C as a device may make it.

    Sums are cut off at single precision, as matrix units do, tf32's factors at 10 bits; fp32 and
    fp64 are rounded to the nearest.

    Args:
        parts: that k is split into; partial sums are rounded to the type and added in it.
    """
    if dtype in ("fp64", "fp32"):
        return _add_blocks(left, right, lambda sums: sums.astype(left.dtype)).astype(left.dtype)
    if dtype == "tf32":
        left, right = (_cut(factor, _TF32_BITS) for factor in (left, right))
    total = np.zeros((len(left), right.shape[1]))
    for here in np.array_split(np.arange(left.shape[1]), parts):
        part = _add_blocks(left[:, here], right[here], lambda sums: _cut(sums, _SINGLE_BITS))
        total = _stored(total + _stored(part, dtype), dtype).astype(np.float64)
    return total.astype(np.float32)


def _wrong_tile(random: np.random.Generator, edge: int) -> Callable[[Numbers, int], Numbers]:
    def spoil(product: Numbers, k: int) -> Numbers:
        found = product.copy()
        row, column = (random.integers(0, length - edge + 1) for length in product.shape)
        found[row : row + edge, column : column + edge] += 3 * math.sqrt(k)
        return found

    return spoil


def wrong_products(
    random: np.random.Generator, left: Numbers, right: Numbers, dtype: str
) -> dict[str, Numbers]:
    """Return wrong products by what is wrong with them, of factors whose m and n are the same."""
    k = left.shape[1]
    product = multiply(left, right, dtype)
    others = draw(random, len(left), right.shape[1], k, dtype)
    wrong = {
        "zeros": np.zeros_like(product),
        "other factors": multiply(*others, dtype),
        "factors swapped": multiply(right.T, left.T, dtype),
        "a tile off by 3 sigma": _wrong_tile(random, _TILE)(product, k),
        "an element off by 3 sigma": _wrong_tile(random, 1)(product, k),
        "a 64th of k left out": multiply(left[:, : k - k // 64], right[: k - k // 64], dtype),
        "columns of a tile rotated": _rotate_columns(random, product),
    }
    if dtype == "fp32":
        wrong["made in tf32"] = multiply(left, right, "tf32")
    return wrong


def _rotate_columns(random: np.random.Generator, product: Numbers) -> Numbers:
    found = product.copy()
    first = random.integers(0, product.shape[1] - _TILE + 1)
    here = slice(first, first + _TILE)
    found[:, here] = np.roll(product[:, here], 1, axis=1)
    return found


def _add_blocks(left: Numbers, right: Numbers, rounded: Callable[[Numbers], Numbers]) -> Numbers:
    sums = np.zeros((len(left), right.shape[1]))
    for first in range(0, left.shape[1], _DEPTH):
        here = slice(first, first + _DEPTH)
        block = left[:, here].astype(np.float64) @ right[here].astype(np.float64)
        sums = rounded(sums + block).astype(np.float64)
    return sums


def _stored(numbers: Numbers, dtype: str) -> Numbers:
    return decode(encode(numbers, dtype), dtype)


def _cut(numbers: Numbers, bits: int) -> Numbers:
    """Return numbers without what is beyond so many bits."""
    kept = np.uint64(2**64 - 2 ** (53 - bits))
    return (numbers.astype(np.float64).view(np.uint64) & kept).view(np.float64)
