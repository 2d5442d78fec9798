"""What is known of cases over many runs."""

import math

import msgspec

from bench.core.errors import printable
from bench.core.verdict import Outcome
from bench.judge.compare.words import format_speed


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a history."""

    run: str
    suite: str
    started_utc: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that is no part of a history."""

    folder: str
    reason: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A moment at which a case changed."""

    place: int
    """In the runs of the case, of the first run of the new state."""
    before: str
    """The last run of the old state."""
    after: str
    """The first run of the new state."""
    ratio: float
    """Seconds of the new state over those of the old one: geometric means of runs."""
    probability: float
    """That a case that never changed has a change as clear, at most."""

    @property
    def speed_text(self) -> str:
        """How many times as fast the new state is, as people say it."""
        return format_speed(self.ratio)


class CaseHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One case in all runs that measured it."""

    case: str
    name: str
    """For people."""
    part: str | None
    nodes: int | None
    ranks_per_node: int | None
    runs: tuple[str, ...]
    seconds: tuple[float, ...]
    """Of each run, the median over its launches."""
    outcome: Outcome
    """What the last change was; without one, SAME where one of the margin would have shown, and
    CLEAR where only larger ones would have."""
    changes: tuple[Change, ...] = ()
    least_change: float | None = None
    """Of a case that did not change: the smallest ratio above 1 that would have shown 19 times of
    20, with half of the runs before it."""
    runs_needed: int | None = None
    """Where nothing can be told."""

    @property
    def full_name(self) -> str:
        """What people call it, and of several parts which."""
        return f"{self.name}, {printable(self.part)}" if self.part else self.name


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of a folder, in the order in which they were measured, case by case."""

    margin: float
    level: float
    """How often any case at all is said to have changed where none did."""
    runs: tuple[PastRun, ...]
    left_out: tuple[LeftOut, ...]
    cases: tuple[CaseHistory, ...]

    def changed(self) -> list[CaseHistory]:
        """Return the cases that changed, those whose last change was the largest first."""
        return sorted(
            (one for one in self.cases if one.changes),
            key=lambda one: abs(math.log(one.changes[-1].ratio)),
            reverse=True,
        )

    def moments(self) -> dict[tuple[str, str], list[tuple[CaseHistory, Change]]]:
        """Return what changed between which runs, the last first, and the largest of each first."""
        found: dict[tuple[str, str], list[tuple[CaseHistory, Change]]] = {}
        for case in self.changed():
            for change in case.changes:
                found.setdefault((change.before, change.after), []).append((case, change))
        order = {one.run: place for place, one in enumerate(self.runs)}
        return dict(sorted(found.items(), key=lambda one: order[one[0][1]], reverse=True))
