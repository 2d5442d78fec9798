"""Streams and events, which know an order and no time of the host."""

import ctypes
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from simulated_cuda.costs import EVENT_S, MOST_QUEUED, SWITCH_S, WAIT_S
from simulated_cuda.errors import CudaError

if TYPE_CHECKING:
    from simulated_cuda.machine import Simulated


class Operation(NamedTuple):
    """One entry of a stream."""

    ready: Callable[[], float | None]
    """The time from which it may run, None for not yet."""
    run: Callable[[float], float]
    """From when it begins to when it ends."""
    unit: str | None = None
    """`kernel` or `engine`; None for neither."""
    give_up: Callable[[], None] | None = None
    """Of a kernel that holds its stream."""


class HardwareQueue:
    """Streams that share one have their work done in the order in which it was queued."""

    def __init__(self) -> None:
        self.at = 0.0
        self.entries: list[tuple[SimulatedStream, Operation]] = []

    def run_first(self) -> None:
        """Run the entry at its head, which is ready."""
        stream, operation = self.entries.pop(0)
        ready = operation.ready()
        assert ready is not None
        begin = max(stream.at, self.at, ready)
        if operation.unit is not None:
            begin += 0 if stream.unit in (None, operation.unit) else SWITCH_S
            stream.unit = operation.unit
        stream.at = self.at = operation.run(begin)


class SimulatedStream:
    """A stream of the device that was the current one."""

    numbers = itertools.count(1)

    def __init__(self, machine: "Simulated", non_blocking: bool) -> None:
        assert non_blocking, "the default stream would wait for it"
        self._machine, self.device = machine, machine.current
        self.ptr, self.at = next(self.numbers), 0.0
        self.unit: str | None = None
        self._used: set[object] = set()
        self.hardware = machine.choose_queue(self)
        machine.streams[self.ptr] = self

    @property
    def queued(self) -> int:
        """Entries that have not run."""
        return sum(stream is self for stream, _ in self.hardware.entries)

    def __enter__(self) -> None:
        if self._machine.current != self.device:
            raise RuntimeError("a stream of another device")
        self._machine.current_stream.append(self)

    def __exit__(self, *_: object) -> None:
        self._machine.current_stream.pop()

    def add(self, operation: Operation, first_use: object = None) -> None:
        """Queue an entry; the first one of a kind allocates, which waits for all that is queued."""
        if first_use is not None and first_use not in self._used:
            self._machine.wait_for_all()
            self._used.add(first_use)
        if self.queued >= MOST_QUEUED:
            self._machine.work(lambda: self.queued < MOST_QUEUED)
        self.hardware.entries.append((self, operation))
        if self._machine.launches_block and operation.unit is not None:
            self.synchronize()

    def copy(self, target: int, source: int, nbytes: int, by: str) -> None:
        machine = self._machine
        ends = (machine.owner(target), machine.owner(source))
        staged = by == "engine" and not machine.reaches(*ends)

        def run(at: float) -> float:
            ctypes.memmove(target, source, nbytes)
            machine.copied.append((self.device, by))
            return at + machine.copy_s(target, source, nbytes) * (2 if staged else 1)

        if staged:
            self.synchronize()  # the driver copies through the host, and the host waits
        self.add(Operation(lambda: 0.0, run, by), (by, ends))
        if staged:
            self.synchronize()

    def wait_event(self, event: "SimulatedEvent") -> None:
        recorded = event.recorded

        def run(at: float) -> float:
            waited = event.stream is not self and event.done[recorded] >= at
            return at + (WAIT_S if waited else 0.0)

        self.add(Operation(lambda: event.done.get(recorded), run), ("wait", event.device))

    def synchronize(self) -> None:
        self._machine.faults.meet("streamSynchronize")
        self._machine.work(lambda: not self.queued)


class SimulatedEvent:
    """An event of the device that was the current one."""

    def __init__(self, machine: "Simulated", disabled: bool) -> None:
        self._machine, self.device, self.disabled = machine, machine.current, disabled
        self.recorded, self.done = 0, {0: 0.0}
        self.stream: SimulatedStream | None = None

    @property
    def at(self) -> float | None:
        return self.done.get(self.recorded) if self.recorded else None

    def record(self, stream: SimulatedStream) -> None:
        if stream.device != self.device:
            raise CudaError(400, "an event of another device")
        self.recorded += 1
        self.stream = stream
        number = self.recorded

        def run(at: float) -> float:
            self.done[number] = at
            return at + EVENT_S

        stream.add(Operation(lambda: 0.0, run))

    def synchronize(self) -> None:
        self._machine.faults.meet("eventSynchronize")
        self._machine.work(lambda: self.at is not None)
