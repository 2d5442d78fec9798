"""The library of matrix products."""

# ruff: noqa: N802 - the names are CuPy's

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.rank.memory.product import decode, encode
from simulated_cuda.costs import FLOP_RATE
from simulated_cuda.errors import CublasError
from simulated_cuda.streams import Operation

if TYPE_CHECKING:
    from simulated_cuda.machine import Simulated

GEMM_TYPES = {
    # cudaDataType_t and cublasComputeType_t: what lies in memory, and what alpha and beta are.
    (1, 70): (np.float64, np.float64),
    (0, 68): (np.float32, np.float32),
    (0, 77): (np.float32, np.float32),
    (2, 68): (np.float16, np.float32),
    (14, 68): (np.uint16, np.float32),
}
"""Which pairs cublasGemmEx takes; of bfloat16 the bits."""


class Cublas:
    """The one call of the library, which counts columns first."""

    CUBLASError = CublasError

    def __init__(self, machine: "Simulated") -> None:
        self._machine = machine

    def gemmEx(
        self,
        handle: int,
        *shape: int,
    ) -> None:
        (ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, *how) = shape
        assert (handle, ta, tb, how[1]) == (7, 0, 0, -1)
        assert a_type == b_type == c_type
        assert (lda, ldb, ldc) == (m, k, m)
        self._machine.faults.meet("gemmEx")
        kind, scale = GEMM_TYPES[a_type, how[0]]
        assert self._read(alpha, (1,), scale) == 1
        assert self._read(beta, (1,), scale) == 0
        machine, stream = self._machine, self._machine.current_stream[-1]
        machine.load((m, n, k, a_type))

        def run(at: float) -> float:
            left, right = (
                _numbers(self._read(address, (columns, rows), kind)).T
                for address, rows, columns in ((a, m, k), (b, k, n))
            )
            product = (left.astype(np.float64) @ right.astype(np.float64)).T
            self._read(c, (n, m), kind)[:] = _stored(product, kind)
            machine.products += 1
            return at + 2 * m * n * k / FLOP_RATE

        stream.add(Operation(lambda: 0.0, run, "kernel"))

    def _read(self, address: int, shape: tuple[int, ...], kind: type) -> Any:
        nbytes = int(np.prod(shape)) * np.dtype(kind).itemsize
        raw = (ctypes.c_uint8 * nbytes).from_address(address)
        return np.frombuffer(raw, kind).reshape(shape)


def _numbers(stored: Any) -> Any:
    return decode(stored, "bf16") if stored.dtype == np.uint16 else stored


def _stored(numbers: Any, kind: type) -> Any:
    return encode(numbers, "bf16") if kind is np.uint16 else numbers.astype(kind)
