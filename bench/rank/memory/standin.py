"""A device made of host memory, as unforgiving as a real one, for machines without a GPU.

Copies are queued and executed only at synchronise, their targets are poisoned until then, and the
host may not touch the memory while work is queued. Its times are not
those of any GPU.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contracts import CopyQueue
from bench.rank.memory.host import HostBuffer


class StandinBuffer(HostBuffer):
    """Bytes that the host reaches only where no copy is queued, as through a driver."""

    def __init__(self, nbytes: int, queue: CopyQueue) -> None:
        super().__init__(nbytes)
        self._queue = queue

    def write(self, data: NDArray[Any]) -> None:
        """Put the bytes of an array of the buffer's size there."""
        self._refuse_queued()
        super().write(data)

    def read(self) -> NDArray[np.uint8]:
        """Return a copy of the bytes."""
        self._refuse_queued()
        return super().read().copy()

    def _refuse_queued(self) -> None:
        if self._queue.queued:
            raise RuntimeError(
                f"{self._queue.queued} copies are queued: synchronise before the host touches "
                "this memory"
            )


class StandinMemory:
    """Allocates memory that stands in for a device's."""

    name = "standin"

    def __init__(self, queue: CopyQueue) -> None:
        self._queue = queue
        self.copies = queue.copies

    def allocate(self, nbytes: int) -> StandinBuffer:
        """Return a touched buffer."""
        return StandinBuffer(nbytes, self._queue)
