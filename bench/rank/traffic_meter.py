"""Counts what one rank does with a case, and what the devices of its host count meanwhile."""

import socket
from collections.abc import Callable
from typing import NamedTuple

from bench.contracts import Seconds
from bench.core.events import Counter, Traffic
from bench.rank.counters import count_between, read_counters

Run = Callable[[Seconds, int], None]


class Metered(NamedTuple):
    """What was done between two readings of the counters."""

    operations: int
    traffic: Traffic | None
    """None on a rank that leaves the reading to another one of its host."""


class TrafficMeter:
    """Stands between a sampler and the loop that it runs; what is timed stays untouched.

    Args:
        run: of the operation.
        reads: whether this rank reads the counters of its host.
        gpus: whether those of GPUs as well.
    """

    def __init__(self, run: Run, reads: bool, gpus: bool) -> None:
        self._run = run
        self._reads = reads
        self._gpus = gpus
        self._operations = 0
        self._before: tuple[Counter, ...] = self._read()

    def run(self, seconds: Seconds, loops: int) -> None:
        """Run the operation, and count how often."""
        self._run(seconds, loops)
        self._operations += len(seconds) * loops

    def close(self) -> Metered:
        """Return what was done since the beginning; all ranks have to be through."""
        if not self._reads:
            return Metered(self._operations, None)
        counters = count_between(self._before, self._read())
        return Metered(self._operations, Traffic(socket.gethostname(), counters))

    def _read(self) -> tuple[Counter, ...]:
        return read_counters(gpus=self._gpus) if self._reads else ()
