"""Streams and events, which know an order and no time of the host."""

import ctypes
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from simulated_cuda.costs import RATE
from simulated_cuda.errors import CudaError

if TYPE_CHECKING:
    from simulated_cuda.machine import Simulated


class Operation:
    """One entry of a stream: `ready` is the time from which it may run, None for not yet."""

    def __init__(self, ready: Callable[[], float | None], run: Callable[[float], float]) -> None:
        self.ready, self.run = ready, run


class SimulatedStream:
    """A stream of the device that was the current one."""

    numbers = itertools.count(1)

    def __init__(self, machine: "Simulated", non_blocking: bool) -> None:
        assert non_blocking, "the default stream would wait for it"
        self._machine, self.device = machine, machine.current
        self.ptr, self.at = next(self.numbers), 0.0
        self.queue: list[Operation] = []
        machine.streams.append(self)

    def __enter__(self) -> None:
        if self._machine.current != self.device:
            raise RuntimeError("a stream of another device")
        self._machine.current_stream.append(self)

    def __exit__(self, *_: object) -> None:
        self._machine.current_stream.pop()

    def copy(self, target: int, source: int, nbytes: int, by: str) -> None:
        def run(at: float) -> float:
            ctypes.memmove(target, source, nbytes)
            self._machine.copied.append((self.device, by))
            return at + nbytes / RATE

        self.queue.append(Operation(lambda: 0.0, run))

    def wait_event(self, event: "SimulatedEvent") -> None:
        recorded = event.recorded
        self.queue.append(Operation(lambda: event.done.get(recorded), lambda at: at))

    def synchronize(self) -> None:
        self._machine.work(lambda: not self.queue)


class SimulatedEvent:
    """An event of the device that was the current one."""

    def __init__(self, machine: "Simulated", disabled: bool) -> None:
        self._machine, self.device, self.disabled = machine, machine.current, disabled
        self.recorded, self.done = 0, {0: 0.0}

    @property
    def at(self) -> float | None:
        return self.done.get(self.recorded) if self.recorded else None

    def record(self, stream: SimulatedStream) -> None:
        if stream.device != self.device:
            raise CudaError(400, "an event of another device")
        self.recorded += 1
        number = self.recorded

        def run(at: float) -> float:
            self.done[number] = at
            return at

        stream.queue.append(Operation(lambda: 0.0, run))

    def synchronize(self) -> None:
        self._machine.work(lambda: self.at is not None)
