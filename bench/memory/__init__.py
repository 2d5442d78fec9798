"""Kinds of memory by name: where the buffers of a case come from."""

from bench.contracts import Memory
from bench.memory.host import HostMemory

MEMORIES: dict[str, type[Memory]] = {"host": HostMemory}
