"""How a question about measurements was answered: one record, its outcome from a closed list.

Which exit code an outcome has is the command line's to know (docs/results.md).
"""

from enum import IntEnum, StrEnum

import msgspec

from bench.core.records import About, Finding, Value


class Gravity(IntEnum):
    """How much an outcome weighs: of several answers the one that weighs most is that of all."""

    GOOD = 0
    UNDECIDED = 1
    """Nothing false, but no answer either."""
    INCOMPLETE = 2
    """What was to be judged failed."""
    BAD = 3


class Outcome(StrEnum):
    """What a question can be answered with; of one gravity the later one weighs more."""

    PASS = "PASS"  # noqa: S105 - a word for people
    SAME = "SAME"
    FASTER = "FASTER"
    CLEAR = "nothing accused"
    CANNOT_TELL = "CANNOT TELL"
    """The answer lies in what was measured, if more of it were."""
    AMBIGUOUS = "AMBIGUOUS"
    """Several answers fit what was measured."""
    NOT_MEASURED = "NOT MEASURED"
    FAILED_ROWS = "FAILED ROWS"
    ACCUSED = "ACCUSED"
    SLOWER = "SLOWER"
    FAIL = "FAIL"

    @property
    def gravity(self) -> Gravity:
        """How much it weighs."""
        return _GRAVITIES[self]


_GRAVITIES = {
    Outcome.PASS: Gravity.GOOD,
    Outcome.SAME: Gravity.GOOD,
    Outcome.FASTER: Gravity.GOOD,
    Outcome.CLEAR: Gravity.GOOD,
    Outcome.CANNOT_TELL: Gravity.UNDECIDED,
    Outcome.AMBIGUOUS: Gravity.UNDECIDED,
    Outcome.NOT_MEASURED: Gravity.UNDECIDED,
    Outcome.FAILED_ROWS: Gravity.INCOMPLETE,
    Outcome.ACCUSED: Gravity.BAD,
    Outcome.SLOWER: Gravity.BAD,
    Outcome.FAIL: Gravity.BAD,
}


class RowKey(msgspec.Struct, frozen=True, kw_only=True):
    """Names a row of `results.csv`."""

    case: str
    launch: int
    arm: str | None = None
    src: str | None = None
    """Where it was measured, for cases that have a row for each host or part."""
    run: str | None = None
    """None for a row of the run that the verdict lies in."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a claim about measurements, and what that rests on."""

    claim: str
    """A sentence that a good outcome says holds."""
    outcome: Outcome
    reason: str
    """Why, in words."""
    about: About = About()
    findings: tuple[Finding, ...] = ()
    rows: tuple[RowKey, ...] = ()
    """Behind the outcome; of very many the first, and `reason` has their number."""
    value: Value | None = None
    """What was measured; None where the claim is not about one number."""
    low: Value | None = None
    """Between `low` and `high` it lies; None where nobody knows how sure it is."""
    high: Value | None = None
    limit: Value | None = None
    """What `value` was held against."""
    unit: str | None = None
    """Of all four, such as `s` or `B/s`; `ratio` where they are shares."""
    parts: tuple["Verdict", ...] = ()
    """Those that this one sums up."""

    @property
    def text(self) -> str:
        """The outcome and why, on one line."""
        return f"{self.outcome}: {self.reason}"
