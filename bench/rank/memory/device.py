"""What the GPU of a rank does with what lies in its memory: products, and copies in streams."""

from collections.abc import Callable, Sequence
from functools import cached_property

from bench.contracts import Transfer
from bench.measure.product import count_sets, refuse_sets
from bench.rank.memory.copies import TimedCopies
from bench.rank.memory.gpu import DeviceMemory
from bench.rank.memory.peer_gpus import PeerGpus
from bench.rank.memory.product import GpuProduct, lacks_type, set_bytes


class WorkingDevice(DeviceMemory):
    """Memory of this rank's GPU, which multiplies and copies what lies there and times it."""

    @cached_property
    def _peers(self) -> PeerGpus:
        return PeerGpus(self.gpu)

    def open_copies(
        self,
        transfers: Sequence[Transfer],
        engine: str,
        turns: Sequence[Sequence[Transfer]] = (),
    ) -> TimedCopies:
        """Return copies that begin together, by the copy engines or by a kernel."""
        return TimedCopies(self._peers.get, self.gpu, (transfers, *turns), engine)

    def find_lost(self) -> str | None:
        """Return what a GPU that was opened here answers, if it is no longer of use."""
        return self._peers.find_lost()

    def lacks_gpus(self, count: int) -> str | None:
        """Return why this process cannot drive the first so many GPUs, or None."""
        return self._peers.lacks(count)

    def on_gpu(self, number: int) -> DeviceMemory:
        """Return the memory of one of the GPUs."""
        return DeviceMemory(self._peers.get(number))

    def let_reach(self, one: int, other: int) -> bool:
        """Return whether two GPUs reach each other's memory; from here on they may."""
        return self._peers.let_reach(one, other)

    def lacks_type(self, dtype: str) -> str | None:
        """Return why the device multiplies no such numbers, or None."""
        properties = self.gpu.runtime.getDeviceProperties(self.gpu.number)
        capability = (int(properties["major"]), int(properties["minor"]))
        return lacks_type(dtype, bool(self.gpu.runtime.is_hip), capability)

    def lacks_sets(self, m: int, n: int, k: int, dtype: str) -> str | None:
        """Return why turns among such matrices cannot outgrow the L2 cache, or None."""
        return refuse_sets(self._count_sets(m, n, k, dtype))

    @property
    def cache_bytes(self) -> int:
        """Bytes of the L2 cache."""
        return self.gpu.cache_bytes

    @property
    def last_cache_bytes(self) -> int | None:
        """Bytes of the last cache before the memory; None where that is not known."""
        return self.gpu.last_cache_bytes

    def open_product(
        self,
        m: int,
        n: int,
        k: int,
        dtype: str,
        cold: bool,
        alive: Callable[[], None] = lambda: None,
    ) -> GpuProduct:
        """Return a product; a cold one takes turns among more than twice the L2 cache."""
        sets = self._count_sets(m, n, k, dtype) if cold else 1
        return GpuProduct(self, (m, n, k), dtype, sets, self.cache_bytes, alive)

    def _count_sets(self, m: int, n: int, k: int, dtype: str) -> int:
        return count_sets(set_bytes(m, n, k, dtype), self.cache_bytes)
