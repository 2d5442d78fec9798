"""The time of day within a run: it does not jump, whatever is done to the machine's clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_UTC = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_text(moment_s: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC with microseconds."""
    return datetime.fromtimestamp(moment_s, UTC).strftime(_UTC)


def utc_now() -> str:
    """Return the time of day as ISO 8601 in UTC with microseconds."""
    return utc_text(time.time())


def utc_seconds(utc: str) -> float:
    """Return the seconds since 1970 of a time that `utc_text` gave.

    Raises:
        ValueError: where it is no such time.
    """
    return datetime.strptime(utc, _UTC).replace(tzinfo=UTC).timestamp()


def earlier(utc: str, seconds: float) -> str:
    """Return the time so many seconds before a time that `utc_text` gave."""
    moment = datetime.strptime(utc, _UTC).replace(tzinfo=UTC) - timedelta(seconds=seconds)
    return moment.strftime(_UTC)


class RunClock:
    """The time of day when the run began, counted on by the monotonic clock.

    NTP, an administrator or the host of a virtual machine may set the time of day while a run goes
    on. Times that followed it could show a case that began before its prediction was frozen.

    Args:
        wall: the machine's time of day, in seconds since 1970, which may be set.
        monotonic: seconds since some moment, which nobody can set.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._begin_s = wall() - monotonic()

    def now_s(self) -> float:
        """Return the time of day in seconds since 1970."""
        return self._begin_s + self._monotonic()

    def go_on_after(self, moment_s: float) -> None:
        """Return no time before this one: a resumed run goes on where it stopped, or later."""
        self._begin_s = max(self._begin_s, moment_s - self._monotonic())

    def machine_ahead_s(self) -> float:
        """Return how far the machine's clock is ahead of this one; below 0 it is behind."""
        return self._wall() - self.now_s()
