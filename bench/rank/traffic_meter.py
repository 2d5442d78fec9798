"""Counts what one rank does with a case, and what the devices of its host count meanwhile."""

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
        host: whose counters this rank reads; None where another rank does.
        gpus: whether those of GPUs as well.
    """

    def __init__(self, run: Run, host: str | None, gpus: bool) -> None:
        self._run = run
        self._host = host
        self._gpus = gpus
        self._operations = 0
        self._before: tuple[Counter, ...] = self._read()

    def run(self, seconds: Seconds, loops: int) -> None:
        """Run the operation, and count how often."""
        self._run(seconds, loops)
        self._operations += len(seconds) * loops

    def close(self) -> Metered:
        """Return what was done since the beginning; all ranks have to be through."""
        if self._host is None:
            return Metered(self._operations, None)
        counters = count_between(self._before, self._read())
        return Metered(self._operations, Traffic(self._host, counters))

    def _read(self) -> tuple[Counter, ...]:
        return read_counters(gpus=self._gpus) if self._host is not None else ()
