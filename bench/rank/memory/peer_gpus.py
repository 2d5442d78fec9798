"""The GPUs that one process drives, and which of them reach each other's memory."""

from functools import cached_property

from bench.rank.memory.gpu import Gpu, MissingMemoryError

_ALREADY_ENABLED = 704
"""cudaErrorPeerAccessAlreadyEnabled, and hipErrorPeerAccessAlreadyEnabled."""


class PeerGpus:
    """All GPUs of a process.

    Args:
        own: the GPU of the rank, which stays the current one.
    """

    def __init__(self, own: Gpu) -> None:
        self._own = own
        self._opened = {own.number: own}

    @cached_property
    def count(self) -> int:
        """GPUs that the process sees."""
        return int(self._own.runtime.getDeviceCount())

    def lacks(self, count: int) -> str | None:
        """Return why the first so many cannot be driven, or None."""
        if self.count < count:
            seen = "1 GPU" if self.count == 1 else f"{self.count} GPUs"
            return f"it needs {count} GPUs in one process, and this one sees {seen}"
        try:
            for number in range(count):
                self.get(number)
        except MissingMemoryError as error:
            return f"not every one of {count} GPUs can be driven by one process: {error}"
        return None

    def get(self, number: int) -> Gpu:
        """Return a GPU by its number.

        Raises:
            MissingMemoryError: where it cannot be driven.
        """
        if number not in self._opened:
            try:
                self._opened[number] = Gpu(number)
            finally:
                self._own.runtime.setDevice(self._own.number)
        return self._opened[number]

    def find_lost(self) -> str | None:
        """Return what one that was opened answers, with its number, and no longer of use."""
        for number, gpu in self._opened.items():
            if (lost := gpu.find_lost()) is not None:
                return f"{lost} (GPU {number})"
        return None

    def let_reach(self, one: int, other: int) -> bool:
        """Return whether two GPUs reach each other's memory; access is opened both ways."""
        runtime = self._own.runtime
        ways = ((one, other), (other, one))
        if one == other or not all(runtime.deviceCanAccessPeer(*way) for way in ways):
            return one == other
        for near, far in ways:
            with self.get(near).device:
                try:
                    runtime.deviceEnablePeerAccess(far)
                except runtime.CUDARuntimeError as error:
                    if error.status != _ALREADY_ENABLED:
                        raise
        return True
