"""The queue of a device made of host memory, compiled: called as the CUDA runtime would be.

A stream is the address of an array of int64: the count of queued copies, the address of memmove,
then target, source and bytes of each copy. Compiled code names no address, so it can be cached.
"""

import ctypes
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from bench.core.schedule import MOST_QUEUED, OUT_OF_MEMORY, POISON_BYTES, DeviceCopies
from bench.rank.timing.mpi_calls import address_of, call

_HEADER = 2
_WORDS = _HEADER + 3 * MOST_QUEUED
_BYTES = types.CPointer(types.uint8)
_STREAM = types.CPointer(types.int64)


@njit(cache=True, inline="always")
def _poison(target: Any, source: Any) -> None:
    """Write the complement of what will come, once in every page and at the end."""
    for i in range(0, len(target), POISON_BYTES):
        target[i] = ~source[i]
    if len(target):
        target[-1] = ~source[-1]


@cfunc(types.int32(_BYTES, _BYTES, types.uint64, types.int32, _STREAM), cache=True)
def _copy(target_at: Any, source_at: Any, nbytes: Any, _kind: Any, stream: Any) -> Any:
    """Queue a copy; its target is wrong until the copy is executed."""
    words = carray(stream, (_WORDS,))
    if words[0] == MOST_QUEUED:
        return OUT_OF_MEMORY
    target, source = carray(target_at, (nbytes,)), carray(source_at, (nbytes,))
    at = _HEADER + 3 * words[0]
    words[at], words[at + 1], words[at + 2] = target.ctypes.data, source.ctypes.data, nbytes
    words[0] += 1
    _poison(target, source)
    return 0


@cfunc(types.int32(_STREAM), cache=True)
def _synchronize(stream: Any) -> Any:
    """Execute all that is queued, in order."""
    words = carray(stream, (_WORDS,))
    memmove = words[1]
    for number in range(words[0]):
        at = _HEADER + 3 * number
        call(memmove, (words[at], words[at + 1], words[at + 2]))
    words[0] = 0
    return 0


class NativeQueue:
    """A queue whose functions are machine code: a timing loop calls them as it calls a driver."""

    def __init__(self) -> None:
        self._words = np.zeros(_WORDS, np.int64)
        self._words[1] = address_of(ctypes.CDLL(None), "memmove")
        self.copies = DeviceCopies(_copy.address, _synchronize.address, self._words.ctypes.data)

    @property
    def queued(self) -> int:
        """Copies that wait to be executed."""
        return int(self._words[0])
