"""The state of the path between two ranks: probed, and brought back to its best.

A virtual machine's host moves its cores: the latency between two of them was 130 and 355 ns, for
seconds to minutes each, as they shared a cache or did not. A core that goes idle and is woken by
the other one is put near it by the host's scheduler (Linux pulls a woken thread to its waker), so
ranks that block and wake each other return to the fast state; spinning or sleeping does not.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.contracts import Buffer, Context, Peer
from bench.rank.world import World

SLOW = 1.12
"""A probe over so many times the best one means that the state is another."""
APART = 1.5
"""So many times the best one, and the cores share no cache; smaller changes are the clock's, and
no wake-up mends them."""
MOST_TRIES = 4
"""Of wake-ups in a row before one case."""
MOST_FRUITLESS = 32
"""In a job: where they do not help, they only cost time."""
_WAKES = 200
_IDLE_S = 0.0005
_PROBE_BYTES = 8
_FIRST_LOOPS = 8
_MOST_LOOPS = 500
_PROBE_S = 1e-3
"""Of a probe: a thousand round trips within a node, some dozen over a network. Two ranks that take
turns on one core need 8 ms for one: 500 of those would take 4 s, before and after every case."""
_PROBES = 9
_CAP_S = 0.5
"""Of all probes together; nine of ranks that take turns would be taken for a job that hangs."""
_PIPES = ("to0", "to1")


class Probe:
    """An 8-byte ping-pong of milliseconds, the same before and after every case.

    Args:
        world: two ranks.
        context: with loops for messages.
        reference_s: the best state that earlier jobs saw, None where this is the first.
    """

    def __init__(self, world: World, context: Context, reference_s: float | None) -> None:
        self._world = world
        self._loops = context.message_loops
        self._alive = context.alive
        self._peer = Peer(world.size - 1 if world.rank == 0 else 0, world.rank == 0)
        host = context.memories["host"]
        self._buffers: tuple[Buffer, Buffer] = (host.allocate(8), host.allocate(8))
        self._wake = open_wake(world)
        self._tries_left = MOST_FRUITLESS
        self.reference_s = reference_s
        self.best_s = np.inf if reference_s is None else reference_s
        if reference_s is None and self._wake is not None:
            self._wake()

    def measure(self, cap_s: float = _CAP_S) -> float:
        """Return the state now, in seconds of a one-way message, and remember the best.

        It is the same on both ranks.

        Args:
            cap_s: after so long no further probe is made.
        """
        times: list[float] = []
        begin_s = time.perf_counter()
        loops = self._choose_loops()
        while self._world.broadcast(
            not times or (len(times) < _PROBES and time.perf_counter() - begin_s < cap_s)
        ):
            times.append(self._probe(loops))
            self._alive()
        state: float = self._world.broadcast(float(np.median(times)))
        self.best_s = min(self.best_s, state)
        return state

    def _choose_loops(self) -> int:
        """Return the round trips of a probe, the same on both ranks."""
        round_trip_s = max(2 * self._probe(_FIRST_LOOPS), 1e-9)
        loops = min(_MOST_LOOPS, int(_PROBE_S / round_trip_s))
        return int(self._world.broadcast(max(_FIRST_LOOPS, loops)))

    def _probe(self, loops: int) -> float:
        seconds = np.empty(1)
        if self._loops is not None:
            send, receive = (buffer.address for buffer in self._buffers)
            self._loops.pingpong(seconds, loops, send, receive, _PROBE_BYTES, self._peer)
        return float(seconds[0])

    def settle(self) -> float:
        """Return the state now; where it is far off, the ranks first wake each other."""
        state = self.measure()
        for _ in range(MOST_TRIES):
            if self._wake is None or self._tries_left == 0 or not self._is_apart(state):
                break
            self._wake()
            state = self.measure()
            self._tries_left -= self._is_apart(state)
        return state

    def _is_apart(self, state: float) -> bool:
        return state > APART * self.best_s

    def is_slow(self, state: float) -> bool:
        """Return whether a state is worse than the best one."""
        return state > SLOW * self.best_s

    def moved_percent(self, state: float) -> int | None:
        """Return a state in per cent of the earlier jobs' best, None where they are the same.

        Models were calibrated there: a faster state is as foreign to them as a slower one.
        """
        ratio = state / (self.best_s if self.reference_s is None else self.reference_s)
        return None if 1 / SLOW <= ratio <= SLOW else round(100 * ratio)


def open_wake(world: World) -> Callable[[], None] | None:
    """Return what lets two ranks of one node block and wake each other, a quarter of a second long.

    None, on both of them, where they are on different nodes or share no folder for two pipes.
    """
    if world.size != 2 or world.local_size != 2:
        return None
    folder = world.broadcast(_make_pipes() if world.rank == 0 else None)
    if folder is None:
        return None
    ends = _open_pipes(folder)
    all_have_them = all(world.gather(ends is not None))
    if world.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    if ends is None:
        return None
    if not all_have_them:
        for end in ends:
            os.close(end)
        return None
    incoming, outgoing = ends if world.rank == 0 else ends[::-1]

    def wake() -> None:
        for _ in range(_WAKES):
            if world.rank == 1:
                os.read(incoming, 1)
            time.sleep(_IDLE_S)
            os.write(outgoing, b".")
            if world.rank == 0:
                os.read(incoming, 1)

    return wake


def _make_pipes() -> Path | None:
    """Return a new folder with two named pipes; None where there is no place for them."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="clusterbench-"))
        for name in _PIPES:
            os.mkfifo(folder / name, 0o600)
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None
    return folder


def _open_pipes(folder: Path) -> tuple[int, int] | None:
    """Return both pipes, open, or None where this rank cannot open them."""
    ends: list[int] = []
    try:
        for name in _PIPES:
            # For reading and writing: to open one end alone would wait for the other.
            ends.append(os.open(folder / name, os.O_RDWR))  # noqa: PERF401 - closed where one fails
    except OSError:
        for end in ends:
            os.close(end)
        return None
    return ends[0], ends[1]
