"""Updates of weights: plain descent, and RMSProp, which reads and writes several times as much."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
RATE = np.float32(2.0**-10)
DECAY = np.float32(0.9)
LEAST = np.float32(0.01)
OPTIMISERS = ("sgd", "rmsprop")


class Update:
    """Changes weights in place by a gradient; RMSProp keeps a mean of squares.

    Source of RMSProp: Tieleman and Hinton, lecture 6.5, Neural Networks for Machine Learning, 2012.
    """

    def __init__(self, name: str, weights: Matrix, gradient: Matrix) -> None:
        self._weights, self._gradient = weights, gradient
        self._scratch = np.empty_like(weights)
        self._squares = np.zeros_like(weights) if name == "rmsprop" else None

    def __call__(self) -> None:
        """Make one update."""
        weights, gradient, scratch = self._weights, self._gradient, self._scratch
        if self._squares is None:
            np.multiply(gradient, RATE, out=scratch)
            np.subtract(weights, scratch, out=weights)
            return
        squares = self._squares
        np.multiply(gradient, gradient, out=scratch)
        np.multiply(scratch, 1 - DECAY, out=scratch)
        np.multiply(squares, DECAY, out=squares)
        np.add(squares, scratch, out=squares)
        np.sqrt(squares, out=scratch)
        np.add(scratch, LEAST, out=scratch)
        np.divide(gradient, scratch, out=scratch)
        np.multiply(scratch, RATE, out=scratch)
        np.subtract(weights, scratch, out=weights)

    def forget(self) -> None:
        """Begin as if no update had been made."""
        if self._squares is not None:
            self._squares.fill(0)


def update_in_double(
    name: str, weights: NDArray[np.float64], gradient: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights after the first update, in double precision."""
    if name == "sgd":
        return weights - float(RATE) * gradient
    root = np.sqrt((1 - float(DECAY)) * gradient**2)
    changed: NDArray[np.float64] = weights - float(RATE) * gradient / (root + float(LEAST))
    return changed
