"""Matrix products on a GPU by the vendor's library (cublasGemmEx), through CuPy's binding of it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.contracts import Buffer, Seconds
from bench.rank.memory.gpu import DeviceMemory
from bench.rank.memory.stream_timer import LEAST_SAMPLE, GpuStream, StreamTimer


class LibraryType(NamedTuple):
    """How the library names a type: cudaDataType_t and cublasComputeType_t."""

    data: int
    compute: int
    scale: type[np.float32] | type[np.float64]
    """Type of the factors alpha and beta."""


LIBRARY_TYPES = {
    "fp64": LibraryType(1, 70, np.float64),
    "fp32": LibraryType(0, 68, np.float32),
    "tf32": LibraryType(0, 77, np.float32),
    "fp16": LibraryType(2, 68, np.float32),
    "bf16": LibraryType(14, 68, np.float32),
}
_NO_TRANSPOSE, _DEFAULT_ALGORITHM = 0, -1
_SINCE_AMPERE = ("tf32", "bf16")
_AMPERE = (8, 0)


def lacks_type(dtype: str, is_hip: bool, capability: tuple[int, int]) -> str | None:
    """Return why no product of such numbers is made, or None.

    Args:
        capability: compute capability of the GPU, major and minor number.
    """
    if is_hip:
        return "products on AMD GPUs are not measured yet"
    if dtype not in LIBRARY_TYPES:
        return (
            f"no products in {dtype}: cublasGemmEx has none, and CuPy binds no cublasLt, which has"
        )
    if dtype in _SINCE_AMPERE and capability < _AMPERE:
        needed, own = (".".join(map(str, each)) for each in (_AMPERE, capability))
        return f"{dtype} needs compute capability {needed}; that of this GPU is {own}"
    return None


class GpuProduct:
    """C[m, n] = A[m, k] W[k, n]; to the library, which counts columns first, C' = W' A'.

    Args:
        sets: of matrices that take turns.
        cache_bytes: of the L2 cache.
        alive: called after each product that is made to prepare, for one may take seconds.
    """

    least_sample = LEAST_SAMPLE

    def __init__(
        self,
        memory: DeviceMemory,
        shape: tuple[int, int, int],
        dtype: str,
        sets: int,
        cache_bytes: int,
        alive: Callable[[], None],
    ) -> None:
        self.sets, self.cache_bytes = sets, cache_bytes
        self._m, self._n, self._k = m, n, k = shape
        self._dtype, self._type = dtype, LIBRARY_TYPES[dtype]
        random = np.random.default_rng(0)
        self._left = _random(random, (m, k), dtype)
        self._right = _random(random, (k, n), dtype)
        itemsize = self._left.itemsize
        self._sets: list[tuple[Buffer, Buffer, Buffer]] = []
        for _ in range(sets):
            left, right = memory.allocate(m * k * itemsize), memory.allocate(k * n * itemsize)
            left.write(self._left)
            right.write(self._right)
            self._sets.append((left, right, memory.allocate(m * n * itemsize)))
        self._turn = 0
        self._one, self._zero = np.ones(1, self._type.scale), np.zeros(1, self._type.scale)
        self._cublas: Any = memory.gpu.cupy.cuda.cublas
        self._handle = memory.gpu.cupy.cuda.device.get_cublas_handle()
        on = GpuStream(memory.gpu, memory.gpu.stream)
        self._timer = StreamTimer([on])
        # Each set once, so that no kernel is loaded and no workspace allocated behind the hold.
        with on.gpu.device, on.stream:
            for _ in range(sets):
                self._queue()
                on.stream.synchronize()
                alive()
        self._timer.rehearse([self._queue], ran=True)
        alive()

    @cached_property
    def fixed_s(self) -> float | None:
        """Seconds of a sample that its products do not explain; None where they cannot be seen."""
        return self._timer.fixed_s([self._queue])

    def run(self, seconds: Seconds, loops: int) -> None:
        """Fill `seconds` with the time of one product."""
        for sample in range(len(seconds)):
            seconds[sample] = self._timer.time([self._queue], loops)

    def poison(self) -> None:
        """Fill the next timed product with NaN, which in these types is every bit set."""
        target = self._sets[(self._turn + self._timer.warmups) % len(self._sets)][2]
        target.write(np.full(target.nbytes, 0xFF, np.uint8))

    def factors(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return both factors as the host's numbers; those of every set are the same."""
        return decode(self._left, self._dtype), decode(self._right, self._dtype)

    def fetch(self) -> NDArray[Any]:
        """Return the product that was made last, as the host's numbers."""
        made = self._sets[self._turn - 1][2].read().view(self._left.dtype)
        return decode(made.reshape(self._m, self._n), self._dtype)

    def _queue(self) -> None:
        left, right, product = self._sets[self._turn]
        self._turn = (self._turn + 1) % len(self._sets)
        data = self._type.data
        self._cublas.gemmEx(
            self._handle,
            *(_NO_TRANSPOSE, _NO_TRANSPOSE),
            *(self._n, self._m, self._k),
            self._one.ctypes.data,
            *(right.address, data, self._n),
            *(left.address, data, self._k),
            self._zero.ctypes.data,
            *(product.address, data, self._n),
            *(self._type.compute, _DEFAULT_ALGORITHM),
        )


def set_bytes(m: int, n: int, k: int, dtype: str) -> int:
    """Return the bytes of both factors and the product."""
    return (m * k + k * n + m * n) * _storage(dtype).itemsize


def _storage(dtype: str) -> np.dtype[Any]:
    """Return what the host keeps such numbers in; NumPy has no bfloat16."""
    names = {"fp64": "f8", "fp16": "f2", "bf16": "u2"}
    return np.dtype(names.get(dtype, "f4"))


def _random(random: np.random.Generator, shape: tuple[int, int], dtype: str) -> NDArray[Any]:
    """Return normal numbers: zeros draw less power and let clocks rise."""
    numbers = random.standard_normal(shape, np.float64 if dtype == "fp64" else np.float32)
    return encode(numbers, dtype)


def encode(numbers: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return numbers as the device stores them; of bfloat16 the bits."""
    if dtype != "bf16":
        return numbers.astype(_storage(dtype))
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    # To the nearest, and where two are as near to the even one.
    rounded: NDArray[Any] = bits + 0x7FFF + (bits >> 16 & 1)
    return (rounded >> 16).astype(np.uint16)


def decode(stored: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return what the device stores, as numbers that hold every one of them."""
    if dtype != "bf16":
        return stored if dtype in ("fp64", "fp32") else stored.astype(np.float32)
    return (stored.astype(np.uint32) << 16).view(np.float32)
