"""Kinds of memory and the buffers that come from them."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.schedule import DeviceCopies


class Memory(Protocol):
    """A kind of memory: where buffers come from, and how data gets into and out of it."""

    name: str

    @property
    def copies(self) -> DeviceCopies | None:
        """How a timing loop copies to and from it; None where it is the host's own."""

    def allocate(self, nbytes: int) -> "Buffer":
        """Return a touched buffer.

        Raises:
            MemoryError: where there is not enough.
        """


class Memories(Mapping[str, Memory]):
    """Kinds of memory that this rank has, by name; each is opened when it is first asked for.

    `host@1` and `pinned@1` are those kinds on NUMA node 1.
    """

    def lacks(self, name: str) -> str | None:
        """Return why this rank has no such memory, and what it needs; None where it has."""
        raise NotImplementedError

    def opened(self, name: str) -> Memory | None:
        """Return a kind that some case has asked for already; None where none has."""
        return None

    def find_lost(self) -> str | None:
        """Return what a GPU answers that no work can be queued on any more; None where none is."""
        return None

    def host_bytes(self) -> int:
        """Return the bytes of pageable memory that were handed out so far, dropped ones too."""
        return 0


class Buffer(Protocol):
    """Bytes at an address that stays the same until it is dropped."""

    address: int
    nbytes: int

    def write(self, data: NDArray[Any]) -> None:
        """Put the bytes of an array of the buffer's size there."""

    def read(self) -> NDArray[np.uint8]:
        """Return all bytes, in host memory; they may change with the buffer."""

    def part(self, offset: int, nbytes: int) -> "Buffer":
        """Return some of the bytes, which stay those of this buffer."""

    def fill(self, seed: int) -> None:
        """Write the pattern of `seed`."""

    def poison(self, seed: int) -> None:
        """Write the complement of that pattern: not one byte is right by chance."""

    def count_wrong(self, seed: int) -> int:
        """Return how many bytes differ from the pattern of `seed`."""


class CopyQueue(Protocol):
    """A device's queue of copies that are executed by the host, and only at synchronise."""

    @property
    def copies(self) -> DeviceCopies:
        """The functions that queue and execute, with the signatures of the CUDA runtime."""

    @property
    def queued(self) -> int:
        """Copies that wait to be executed."""
