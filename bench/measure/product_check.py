"""Whether a matrix product C = A B is right in every element, without making it again.

Each row of C is summed with random weights w over strips of columns, and so is A (B w), in float64;
the second costs a strip's width less than the product (R. Freivalds, "Probabilistic machines can
use less running time", IFIP Congress 1977). How far the two may be apart follows from how each type
rounds: errors of elements do not depend on each other, so that those of a strip add like noise, and
one element that is wrong by its own size still stands out.
"""

import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.contracts import Checked

STRIP = 128
"""Columns whose elements are summed: in bfloat16 one that is off by three standard deviations of
an element still exceeds the tolerance of a strip twice."""
_FIRST_WEIGHT, _LAST_WEIGHT = 1.0, 2.0
"""All of one sign, so that what is off by the same in a whole tile does not cancel, and none alike,
so that columns in a wrong order do not either."""
_SAFETY = 2.0
"""Of the tolerance over the root of the sum of squares of what elements may be off by."""
_HOST_ERROR = 1e-10
"""Relative error of sums in float64, generously: they have 2^-53 times the root of k."""
_BLOCK_NUMBERS = 2**21
"""That are held in float64 at once."""

Numbers = NDArray[np.float64]
Stored = NDArray[np.floating[Any]]


class _Rounding(NamedTuple):
    """What an element may be off by: of its own size, and of |a| |b| of its row and its column.

    With random factors |a| |b| is k, and an element has the size of its root.
    """

    own: float
    parts: float
    """Of |a| |b| over the root of k: of products, or partial sums that were rounded as C is."""
    sums: float
    """Of |a| |b|, by each addition in single or double precision."""
    cut_sums: float = 0.0
    """The same where sums may be cut off instead of rounded: times the root of k."""

    def of_norms(self, k: int) -> float:
        """Return the part that grows with |a| |b|."""
        return self.parts / math.sqrt(k) + self.sums + self.cut_sums * math.sqrt(k)


_ROUNDING = {
    "fp64": _Rounding(2.0**-52, 0.0, 2.0**-51),
    "fp32": _Rounding(2.0**-23, 0.0, 2.0**-22),
    # Both factors may be cut to 10 bits, which makes each product up to 2^-9 smaller.
    "tf32": _Rounding(2.0**-9, 2.0**-9, 0.0, 2.0**-22),
    # Libraries may split k, and add partial sums that were rounded to the type of C.
    "fp16": _Rounding(2.0**-10, 2.0**-8, 0.0, 2.0**-22),
    "bf16": _Rounding(2.0**-7, 2.0**-5, 0.0, 2.0**-22),
}


class ProductCheck:
    """What the sums of strips of C[m, n] have to be, made from its factors part by part.

    Args:
        k: length of the sums.
        dtype: what C is made and stored in.
    """

    def __init__(self, m: int, n: int, k: int, dtype: str) -> None:
        random = np.random.default_rng(0)
        self._weights = random.uniform(_FIRST_WEIGHT, _LAST_WEIGHT, n)
        self._row_weights = random.uniform(_FIRST_WEIGHT, _LAST_WEIGHT, m)
        self._starts = np.arange(0, n, STRIP)
        strips = len(self._starts)
        self._sums = np.zeros((m, strips))
        self._sums_of_all_rows = np.zeros(strips)
        self._row_squares = np.zeros(m)
        self._column_squares = np.zeros(n)
        self._rounding, self._k = _ROUNDING[dtype], k
        self.seconds = 0.0
        """That all of the check has taken so far."""

    def add(self, left: Stored, right: Stored) -> None:
        """Take columns of A, and the same rows of B."""
        begin = time.perf_counter()
        depth = max(1, _BLOCK_NUMBERS // sum(map(len, (self._row_weights, self._weights))))
        for first in range(0, len(right), depth):
            here = slice(first, first + depth)
            self._add(left[:, here].astype(np.float64), right[here].astype(np.float64))
        self.seconds += time.perf_counter() - begin

    def _add(self, left: Numbers, right: Numbers) -> None:
        folded = self._fold(right * self._weights)
        self._sums += left @ folded
        # The same, for all rows at once and by no BLAS: what checks it must not share its errors.
        row = np.einsum("i,ij->j", self._row_weights, left)
        self._sums_of_all_rows += np.einsum("j,jk->k", row, folded)
        self._row_squares += np.einsum("ij,ij->i", left, left)
        self._column_squares += np.einsum("ij,ij->j", right, right)

    def compare(self, product: Stored) -> Checked:
        """Compare all of C, in strips: one with a wrong element, or NaN, counts as wrong.

        Raises:
            RuntimeError: if this host's own sums in float64 are wrong.
        """
        begin = time.perf_counter()
        squares = self._fold((self._weights**2 * self._column_squares)[np.newaxis])[0]
        self._check_own_sums(squares)
        widths = np.diff([*self._starts, len(self._weights)])
        height = max(1, _BLOCK_NUMBERS // len(self._weights))
        wrong = 0
        for first in range(0, len(product), height):
            here = slice(first, first + height)
            bad = self._find_wrong(product[here].astype(np.float64), here, squares)
            wrong += int((bad * widths).sum())
        self.seconds += time.perf_counter() - begin
        return Checked(product.size * product.itemsize, wrong * product.itemsize)

    def _find_wrong(self, product: Numbers, rows: slice, squares: Numbers) -> NDArray[np.bool_]:
        # What is wrong may be infinite, or too large to be squared.
        with np.errstate(over="ignore", invalid="ignore"):
            weighted = product * self._weights
            apart = np.abs(self._fold(weighted) - self._sums[rows])
            norms = self._row_squares[rows, np.newaxis] * squares
            # No element of C is larger than |a| |b|.
            own = np.minimum(self._fold(weighted**2), norms)
            rounding, k = self._rounding, self._k
            tolerance = _SAFETY * np.sqrt(rounding.own**2 * own + rounding.of_norms(k) ** 2 * norms)
            return ~(apart <= tolerance)

    def _check_own_sums(self, squares: Numbers) -> None:
        sums = np.einsum("i,ij->j", self._row_weights, self._sums)
        scale = np.sqrt((self._row_weights**2 * self._row_squares).sum() * squares)
        if not (np.abs(sums - self._sums_of_all_rows) <= _HOST_ERROR * scale).all():
            raise RuntimeError(
                "this host's BLAS multiplies wrongly in float64, so that no product can be checked;"
                " look at `numpy.show_config()`, and try another build of NumPy"
            )

    def _fold(self, numbers: Numbers) -> Numbers:
        """Return the sums of strips of each row."""
        sums: Numbers = np.add.reduceat(numbers, self._starts, axis=1)
        return sums
