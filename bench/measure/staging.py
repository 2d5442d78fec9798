"""Messages out of and into device memory by way of the host, whole (staged) or in chunks.

Staged, the copies come before and after the messages, so their times add up. Pipelined, while a
chunk is on its way the next one is copied, through two host buffers that take turns.
"""

from typing import NamedTuple

from bench.contracts import Buffer, Memory, Slots
from bench.core.schedule import DeviceCopies, Schedule

MOST_PIECES = 2**14
"""Of all messages that are in flight; more steps than these are a waste of memory."""


class Piece(NamedTuple):
    """What one message carries of a buffer."""

    offset: int
    nbytes: int


class Lane:
    """The messages of one rank in one direction.

    Args:
        memory: where they begin or end.
        host: the memory that MPI gets instead of a device's; None where it gets the device's.
        nbytes: of one message.
        count: messages in flight.
        chunk: bytes copied at a time; None for whole messages.
        shared: whether all of them have the same bytes of memory; else they lie side by side.
    """

    def __init__(
        self,
        memory: Memory,
        host: Memory | None,
        nbytes: int,
        count: int = 1,
        chunk: int | None = None,
        shared: bool = False,
    ) -> None:
        room = nbytes if shared else nbytes * count
        self.buffer = memory.allocate(room)
        self.slots = Slots(self.buffer.address, nbytes, 0 if shared else nbytes, count)
        self.pieces = cut(self.slots, chunk)
        self._copies: DeviceCopies | None = None
        self._turn = None if chunk is None else min(chunk, nbytes)
        self._bounce: Buffer | None = None
        if host is not None and memory.copies is not None:
            self._copies = memory.copies
            self._bounce = host.allocate(room if self._turn is None else 2 * self._turn)

    def at(self, number: int) -> int:
        """Return the address that MPI gets for a piece."""
        if self._bounce is None:
            return self.buffer.address + self.pieces[number].offset
        if self._turn is None:
            return self._bounce.address + self.pieces[number].offset
        return self._bounce.address + number % 2 * self._turn

    def copy_out(self, schedule: Schedule, *numbers: int) -> DeviceCopies | None:
        """Queue copies of pieces to the host; return what to synchronise, if anything."""
        for number in numbers:
            self._copy(schedule, number, self.at(number), self._device_at(number))
        return self._copies if numbers else None

    def copy_in(self, schedule: Schedule, *numbers: int) -> DeviceCopies | None:
        """Queue copies of pieces to the device; return what to synchronise, if anything."""
        for number in numbers:
            self._copy(schedule, number, self._device_at(number), self.at(number))
        return self._copies if numbers else None

    def _copy(self, schedule: Schedule, number: int, target: int, source: int) -> None:
        if self._copies is not None:
            schedule.copy(self._copies, target, source, self.pieces[number].nbytes)

    def _device_at(self, number: int) -> int:
        return self.buffer.address + self.pieces[number].offset


def cut(slots: Slots, chunk: int | None) -> list[Piece]:
    """Return the pieces of a window's messages; no piece holds parts of two."""
    size = slots.nbytes if chunk is None else chunk
    return [
        Piece(message * slots.stride + offset, min(size, slots.nbytes - offset))
        for message in range(slots.window)
        for offset in range(0, slots.nbytes, size)
    ]


def carry_whole(schedule: Schedule, out: Lane | None, into: Lane | None, peer: int) -> None:
    """Copy to the host, synchronise; messages; copy to the device, synchronise."""
    if out is not None:
        _finish(schedule, out.copy_out(schedule, *range(len(out.pieces))))
    if into is not None:
        for number, piece in enumerate(into.pieces):
            schedule.start_receive(into.at(number), piece.nbytes, peer)
    if out is not None:
        for number, piece in enumerate(out.pieces):
            schedule.start_send(out.at(number), piece.nbytes, peer)
    schedule.wait()
    if into is not None:
        _finish(schedule, into.copy_in(schedule, *range(len(into.pieces))))


def carry_in_chunks(schedule: Schedule, out: Lane | None, into: Lane | None, peer: int) -> None:
    """Send and receive chunk by chunk, each while its neighbours are copied.

    Rank and peer cut equal messages equally, so the chunks of both directions keep step.
    """
    count = max(len(lane.pieces) for lane in (out, into) if lane is not None)
    if out is not None:
        _finish(schedule, out.copy_out(schedule, 0))
    for number in range(count):
        copies = None
        if into is not None:
            schedule.start_receive(into.at(number), into.pieces[number].nbytes, peer)
        if out is not None:
            schedule.start_send(out.at(number), out.pieces[number].nbytes, peer)
            if number + 1 < count:
                copies = out.copy_out(schedule, number + 1)
        if into is not None and number > 0:
            copies = into.copy_in(schedule, number - 1)
        _finish(schedule, copies)
        schedule.wait()
    if into is not None:
        _finish(schedule, into.copy_in(schedule, count - 1))


def _finish(schedule: Schedule, copies: DeviceCopies | None) -> None:
    if copies is not None:
        schedule.synchronize(copies)
