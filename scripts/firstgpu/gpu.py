"""The GPU of this process, and buffers to copy between."""

from functools import cache
from typing import NamedTuple

from bench.contracts import Buffer, Memories, Transfer
from bench.rank.context import open_context
from bench.rank.memory.device import WorkingDevice
from bench.rank.world import SoloWorld
from firstgpu.answer import NotHereError

ROUTES = (("pinned", "device"), ("device", "pinned"), ("device", "device"))
"""What a GPU copies by its own clock."""


class Pair(NamedTuple):
    """Where a copy ends, and where it begins."""

    target: Buffer
    source: Buffer

    def transfer(self) -> Transfer:
        """Return the copy as a device is asked for it."""
        return Transfer(self.target.address, self.source.address, self.source.nbytes)


@cache
def open_memories() -> Memories:
    """Return the kinds of memory of a process alone, with a GPU among them.

    Raises:
        NotHereError: where there is no GPU.
    """
    memories = open_context(SoloWorld(), 1).memories
    reason = memories.lacks("device")
    if reason is not None:
        raise NotHereError(reason)
    return memories


def open_device() -> WorkingDevice:
    """Return the memory of the GPU.

    Raises:
        NotHereError: where there is none.
    """
    device = open_memories()["device"]
    if not isinstance(device, WorkingDevice):
        raise NotHereError("no GPU")
    return device


def open_pair(route: tuple[str, str], nbytes: int) -> Pair:
    """Return buffers to copy between."""
    source, target = (open_memories()[kind].allocate(nbytes) for kind in route)
    return Pair(target, source)
