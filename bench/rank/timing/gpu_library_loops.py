"""Follows a schedule by calls that are queued on a GPU's stream, as those of NCCL are.

Such a call returns when it is queued. The host waits for the stream where the schedule waits for
its messages, before the clock is stopped, and before it sends any by MPI; collective calls that
follow each other without a look at the clock are queued back to back. Messages that are started
before a wait are one group. Messages without bytes, as barriers and replies are made of, carry no
data of a GPU and pass by MPI.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contracts import GpuCalls, MessageLoops, Seconds, one_sample
from bench.core.schedule import TYPES, Code, Steps

_OVERHEAD_SAMPLES = 101
_OVERHEAD_LOOPS = 100
_MESSAGES = (Code.SEND, Code.RECV, Code.ISEND, Code.IRECV)
_SENDS = (Code.SEND, Code.ISEND)
_BLOCKING = (Code.SEND, Code.RECV)
_CLOCK = (Code.BEGIN, Code.END)

Action = tuple[Code | None, Callable[[], object]]
"""What is called in turn; with a code, the clock and the wait for the stream."""


class GpuLibraryLoops:
    """Follows the schedules of one rank.

    Args:
        calls: of the library.
        messages: pass what carries no bytes; None where there is no MPI.
        rank: this one.
        ranks: of the job.
    """

    name = "cupy"

    def __init__(
        self, calls: GpuCalls, messages: MessageLoops | None, rank: int, ranks: int
    ) -> None:
        self._calls = calls
        self._messages = messages
        self._rank = rank
        self._ranks = ranks
        self._overhead_s = self._measure_overhead()
        self._looked_at: tuple[Steps, int] | None = None
        """Whose queueing is known, and of how many passes."""
        self.host_share: float | None = None
        """Of the time of the steps that were followed last, that in which this rank queued calls.

        The GPU has nothing of them to do meanwhile, or works at what was queued before.
        """

    @property
    def overhead_s(self) -> float:
        """What Python and the binding add to one call of the library, which does nothing."""
        return self._overhead_s

    def follow(self, seconds: Seconds, loops: int, steps: Steps) -> None:
        """Time the steps of this rank between their `begin` and `end`."""
        actions = _Actions(self._calls, self._messages, self._rank, self._ranks).of(steps)
        clock = time.perf_counter_ns
        # Of warm-ups alone: in samples the look at the clock would be part of the time.
        looks = len(seconds) == 1
        queued = since = passed = 0
        for sample in range(len(seconds)):
            passed = begin = 0
            for _ in range(loops):
                for code, act in actions:
                    if code is None:
                        act()
                    elif code is Code.BEGIN:
                        begin = since = clock()
                    elif code is Code.END:
                        passed += clock() - begin
                        since = 0
                    elif looks and since:
                        queued += clock() - since
                        act()
                        since = clock()
                    else:
                        act()
            seconds[sample] = passed * 1e-9 / loops
        self._calls.check()
        if looks and passed:
            self._keep_share(steps, loops, queued / passed)

    def _keep_share(self, steps: Steps, loops: int, share: float) -> None:
        """Keep what most passes show: the first ones open connections."""
        known = self._looked_at
        if known is None or known[0] is not steps or loops >= known[1]:
            self._looked_at, self.host_share = (steps, loops), share

    def _measure_overhead(self) -> float:
        """Return half the seconds of an empty group: two calls that do next to nothing."""
        times = []
        for _ in range(_OVERHEAD_SAMPLES):
            begin = time.perf_counter_ns()
            for _ in range(_OVERHEAD_LOOPS):
                self._calls.begin_group()
                self._calls.end_group()
            times.append((time.perf_counter_ns() - begin) * 1e-9 / _OVERHEAD_LOOPS / 2)
        return median(times)


class _Actions:
    """What the steps of a rank call, in order."""

    def __init__(
        self, calls: GpuCalls, messages: MessageLoops | None, rank: int, ranks: int
    ) -> None:
        self._calls = calls
        self._messages = messages
        self._rank = rank
        self._ranks = ranks
        self._found: list[Action] = []
        self._grouped = self._queued = False
        self._empty: list[tuple[int, ...]] = []
        """Steps for MPI that have not become an action yet."""
        self._slots: dict[int, int] = {}
        """Of the requests that MPI has, by their number in the schedule."""
        self._most_slots = 1
        self._room: NDArray[Any] | None = None

    def of(self, steps: Steps) -> Sequence[Action]:
        """Return the actions; nothing is left on its way at their end."""
        started = sum(_is_started_empty(step) for step in steps.table.tolist())
        self._most_slots = max(1, started)
        if self._messages is not None:
            self._room = self._messages.requests(self._most_slots)
        for step in steps.table.tolist():
            self._take(Code(step[0]), *step[1:5])
        self._catch_up()
        return self._found

    def _take(self, code: Code, a: int, b: int, c: int, d: int) -> None:
        if code in _MESSAGES and b == 0:
            self._pass_by_mpi(code, a, c, d)
        elif code in _MESSAGES:
            self._message(code, a, b, c, d)
        elif code is Code.WAITALL:
            self._wait(a, b)
        elif code in _CLOCK:
            self._catch_up()
            self._found.append((code, _nothing))
        else:
            self._hand_to_mpi()
            self._close_group()
            self._collective(code, a, b, c, d)
            self._queued = True

    def _message(self, code: Code, address: int, nbytes: int, peer: int, slot: int) -> None:
        self._hand_to_mpi()
        if code not in _BLOCKING and slot == 0:
            self._slots.clear()
        if not self._grouped:
            self._do(self._calls.begin_group)
        self._grouped = self._queued = True
        call = self._calls.send if code in _SENDS else self._calls.receive
        self._do(partial(call, address, nbytes, peer))
        if code in _BLOCKING:
            self._synchronize()

    def _pass_by_mpi(self, code: Code, address: int, peer: int, slot: int) -> None:
        if code in _BLOCKING:
            # The other rank may take it for the word that all has come.
            self._synchronize()
            self._empty.append((code, address, 0, peer, 0, 0))
            return
        if slot == 0:
            self._slots.clear()
        own = self._slots.setdefault(slot, len(self._slots))
        self._empty.append((code, address, 0, peer, own, 0))

    def _wait(self, first: int, count: int) -> None:
        self._synchronize()
        empty = [own for slot, own in self._slots.items() if first <= slot < first + count]
        if empty:
            self._empty.append((Code.WAITALL, empty[0], len(empty), 0, 0, 0))

    def _collective(self, code: Code, a: int, b: int, c: int, d: int) -> None:
        calls, rank, everyone = self._calls, self._rank, range(self._ranks)
        match code:
            case Code.ALLREDUCE:
                self._do(partial(calls.allreduce, a, b, c, TYPES[d]))
            case Code.REDUCE_SCATTER:
                self._do(partial(calls.reduce_scatter, a, b, c, TYPES[d]))
            case Code.ALLGATHER:
                self._do(partial(calls.allgather, a, b, c))
            case Code.BROADCAST:
                self._do(partial(calls.broadcast, a, b, c))
            case Code.ALLTOALL:
                self._group(a, b, c, everyone, everyone)
            case Code.SCATTER:
                self._group(a, b, c, everyone if rank == d else (), (d,))
            case Code.GATHER:
                self._group(a, b, c, (d,), everyone if rank == d else ())
            case _:
                raise ValueError(f"{code.name} is no call that is queued on a GPU")

    def _group(
        self, send: int, receive: int, nbytes: int, to: Sequence[int], by: Sequence[int]
    ) -> None:
        """Send a block to each of these ranks and receive one from each of those, as one.

        NCCL has no such calls of its own before 2.28, and advises this (user guide, Point-to-point
        communication); blocks lie side by side.
        """
        calls = self._calls
        self._do(calls.begin_group)
        for place, peer in enumerate(to):
            self._do(partial(calls.send, send + place * nbytes, nbytes, peer))
        for place, peer in enumerate(by):
            self._do(partial(calls.receive, receive + place * nbytes, nbytes, peer))
        self._do(calls.end_group)

    def _catch_up(self) -> None:
        """Wait for all that is queued, and let MPI have what is its."""
        self._synchronize()
        self._hand_to_mpi()

    def _synchronize(self) -> None:
        self._close_group()
        if self._queued:
            self._hand_to_mpi()
            self._found.append((Code.WAITALL, self._calls.synchronize))
        self._queued = False

    def _close_group(self) -> None:
        if self._grouped:
            self._do(self._calls.end_group)
        self._grouped = False

    def _hand_to_mpi(self) -> None:
        if not self._empty:
            return
        if self._messages is None:
            raise ValueError("messages without bytes need MPI")
        steps = Steps(np.array(self._empty, np.int64), self._most_slots, 0)
        self._empty = []
        self._do(partial(self._messages.follow, one_sample(), 1, steps, self._room))

    def _do(self, act: Callable[[], object]) -> None:
        self._found.append((None, act))


def _is_started_empty(step: Sequence[int]) -> bool:
    """Return whether a step starts a message without bytes, whose request is MPI's."""
    code, _address, nbytes, *_ = step
    return code in (Code.ISEND, Code.IRECV) and nbytes == 0


def _nothing() -> None:
    """The clock is looked at by the loop."""
