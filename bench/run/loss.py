"""Whether a job is lost although its launcher has not ended: MPI gave up, or its ranks are gone.

Some launchers wait for ever for ranks that died as MPI started. What MPI prints is no proof by
itself: a job that is heard of long after such words goes on, and they count no more.
"""

import time
from pathlib import Path

from bench.run.cause import Follower
from bench.run.presence import Presence

LOOK_S = 0.5
"""Between two looks; what a look costs while ranks measure is the state of two files."""
START_GRACE_S = 2.0
"""From the first sign of a loss to the end of a job of which no rank has been heard yet."""
GRACE_S = 5.0
"""The same later on, when a launcher has ranks on other hosts to end."""


class Loss:
    """Looks for signs that a job is lost.

    Args:
        log: of its standard error.
        launcher: number of its process.
    """

    def __init__(self, log: Path, launcher: int) -> None:
        self._follower = Follower(log)
        self._presence = Presence(launcher)
        self._next_s = 0.0
        self._since_s: float | None = None

    def heard(self) -> None:
        """Take note that the job has just sent an event."""
        if self._since_s is not None and time.monotonic() - self._since_s > START_GRACE_S:
            self._follower.forgive()
            self._since_s = None

    def look(self, silent_s: float, spoke: bool) -> str | None:
        """Return how the job was lost; None where it is not, or it is too early to say.

        Args:
            silent_s: seconds since its last event.
            spoke: whether any rank was heard of.
        """
        now_s = time.monotonic()
        if now_s < self._next_s:
            return None
        self._next_s = now_s + LOOK_S
        self._follower.look(spoke)
        if self._follower.ended:
            how = "MPI gave up and its launcher did not end"
        elif silent_s > LOOK_S and self._presence.have_gone():
            how = "the ranks had ended and their launcher had not"
        else:
            self._since_s = None
            return None
        if self._since_s is None:
            self._since_s = now_s
        if min(silent_s, now_s - self._since_s) < (GRACE_S if spoke else START_GRACE_S):
            return None
        return how
