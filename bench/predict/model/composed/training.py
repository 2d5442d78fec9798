"""What a training step of dense layers sends and computes, as exchanges and products.

A layer of d_in x d_out weights makes three products: Y = X W, dW = X' dY and dX = dY W'. Ranks that
share the batch add up dW; ranks that share the rows of W add up Y and stack dX; ranks that share
its columns stack Y and add up dX (Krizhevsky, arXiv:1404.5997).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

ITEM = 4
"""Bytes of a number in single precision."""
STACK = "allgather ring"


class GradientExchange(NamedTuple):
    """A sum (`adds`), or blocks that are put together."""

    adds: bool
    size: float
    """Bytes of a sum, or of the block of a rank."""


class ProductShape(NamedTuple):
    """m rows with k x n weights, or one of as many operations."""

    m: float
    k: float
    n: float


def exchanges(
    splits: Sequence[str], widths: Sequence[int], batch: int, ranks: int
) -> Iterator[GradientExchange]:
    """Yield what ranks exchange in a step.

    Args:
        splits: `data`, `row` or `column`, of each layer.
        widths: of the input, and of the output of each layer.
        batch: examples of all ranks together.
        ranks: that share the work.
    """
    for i, (split, (d_in, d_out)) in enumerate(zip(splits, pairwise(widths), strict=True)):
        if split == "data":
            yield GradientExchange(True, ITEM * d_in * d_out)
            if i + 1 < len(splits) and splits[i + 1] != "data":
                yield GradientExchange(False, ITEM * batch * d_out / ranks)
        else:
            added, stacked = (d_out, d_in) if split == "row" else (d_in, d_out)
            yield GradientExchange(True, ITEM * batch * added)
            yield GradientExchange(False, ITEM * batch * stacked / ranks)


def products(
    splits: Sequence[str], widths: Sequence[int], batch: int, ranks: int
) -> Iterator[ProductShape]:
    """Yield the products of one rank in a step; all three of a layer as the first of them."""
    for split, (d_in, d_out) in zip(splits, pairwise(widths), strict=True):
        m, k, n = float(batch), float(d_in), float(d_out)
        if split == "data":
            m /= ranks
        elif split == "row":
            k /= ranks
        else:
            n /= ranks
        yield from [ProductShape(m, k, n)] * 3
