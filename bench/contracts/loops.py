"""Timed loops: what a timing layer offers, and the times that it fills in."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.schedule import Steps

Seconds = NDArray[np.float64]
"""One value per sample: the seconds that one operation took."""

KERNELS = ("copy", "scale", "add", "triad")
"""STREAM's kernels: c = a, b = q c, c = a + b, a = b + q c (McCalpin, 1995)."""
STREAM_SCALAR = 0.5
"""Their q; halving keeps results exact in any order of rounding."""


def one_sample() -> Seconds:
    """Return room for one sample whose time nobody reads."""
    return np.empty(1)


class LeastSample(NamedTuple):
    """How long a sample has to be, at least."""

    seconds: float
    operations: int
    """So many are enough, where they take less."""


HOST_SAMPLE = LeastSample(20e-6, 2**20)
"""A thousand ticks of a nanosecond clock are 1 us; 20 us also bury the clock's own 20 to 40 ns."""


class Peer(NamedTuple):
    """The other rank of a pair, and who sends first."""

    rank: int
    leads: bool


class Slots(NamedTuple):
    """Where the messages of a window lie."""

    address: int
    """Of the first one."""
    nbytes: int
    """Of one message."""
    stride: int
    """Bytes from one message to the next: those of a message, or 0 where all share one buffer."""
    window: int
    """Messages in flight."""

    def at(self, number: int) -> int:
        """Return the address of a message."""
        return self.address + number * self.stride


class FollowsSteps(Protocol):
    """A timing layer that follows schedules."""

    name: str
    """What `timing_layer` holds."""

    @property
    def overhead_s(self) -> float | None:
        """Time that the layer itself adds to one operation; None where the loop is native."""

    def follow(self, seconds: Seconds, loops: int, steps: Steps) -> None:
        """Time the steps of this rank between their `begin` and `end`.

        Args:
            seconds: filled with the time of one pass over the steps, per sample.
            loops: passes of a sample.
            steps: of a schedule.
        """


class MessageLoops(FollowsSteps, Protocol):
    """Loops over MPI calls; each fills `seconds` with the time of one operation per sample.

    Addresses are of buffers of at least `nbytes`, so that host and device memory look alike. Both
    ranks of a pair call the same loop with the same counts.
    """

    def pingpong(
        self, seconds: Seconds, loops: int, send: int, receive: int, nbytes: int, peer: Peer
    ) -> None:
        """Time half a round trip of one message."""

    def window(self, seconds: Seconds, loops: int, slots: Slots, peer: Peer) -> None:
        """Time messages from the leader, all in flight, and one reply; per message."""

    def exchange_window(
        self, seconds: Seconds, loops: int, send: Slots, receive: Slots, peer: Peer
    ) -> None:
        """Time messages each way at once, as many as each side has slots; per pair of messages."""

    def requests(self, count: int) -> NDArray[Any]:
        """Return room for the handles of `count` open requests, which outlives one call."""

    def follow(
        self,
        seconds: Seconds,
        loops: int,
        steps: Steps,
        requests: NDArray[Any] | None = None,
        stamps: NDArray[np.float64] | None = None,
    ) -> None:
        """Time the steps of this rank between their `begin` and `end`.

        Args:
            seconds: filled with the time of one pass over the steps, per sample.
            loops: passes of a sample.
            steps: of a schedule, or of a part of one.
            requests: of an earlier call whose messages are still on their way; room of its own
                where None.
            stamps: shape (samples, steps.stamps), filled with mean seconds since `begin`.
        """


class MemoryLoops(Protocol):
    """Loops inside one process over its own memory."""

    name: str

    @property
    def overhead_s(self) -> float | None:
        """As for message loops."""

    def copy(self, seconds: Seconds, loops: int, target: int, source: int, nbytes: int) -> None:
        """Time one copy of `nbytes` by the C library."""

    def kernel(
        self,
        seconds: Seconds,
        loops: int,
        kernel: str,
        arrays: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    ) -> None:
        """Time one STREAM kernel (`copy`, `scale`, `add`, `triad`) over arrays a, b, c."""
