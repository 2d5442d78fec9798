"""What a comparison found: all of it, for a page, a terminal, or another program."""

import msgspec

from bench.core.records import Origin
from bench.core.verdict import Outcome
from bench.judge.changed.records import Difference
from bench.judge.compare.missing import Unmatched
from bench.judge.compare.records import Aspect, CaseAnswer
from bench.judge.compare.sides import Side, label_of

CHANGED = (Outcome.SLOWER, Outcome.FASTER)


class SideFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One side: what people call it, and the runs whose launches it is made of."""

    label: str
    runs: tuple[str, ...]
    """Their ids."""
    kept_label: str | None
    """The word that was kept with its first run."""
    suite: str
    origin: Origin
    started_utc: str
    """Of its first run."""
    hosts: tuple[str, ...]
    mpi: str | None
    """Name and version of the MPI of its first run; None where nobody knows."""
    launches: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of one aspect of one case."""

    case: str
    name: str
    """What people call the case."""
    part: str | None
    nodes: int | None
    ranks_per_node: int | None
    benchmark: str
    aspect: Aspect
    a: float
    """The middle launch of the baseline: seconds for a level, else a ratio within a launch."""
    b: float
    answer: CaseAnswer

    @property
    def is_changed(self) -> bool:
        """Whether it is faster or slower."""
        return self.answer.outcome in CHANGED

    @property
    def ratio(self) -> float:
        """Seconds of B over those of A; of the middle launches where the answer has none."""
        return self.answer.ratio if self.answer.ratio is not None else self.b / self.a


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One side held against the baseline."""

    side: SideFacts
    outcome: Outcome
    """FASTER, SLOWER, SAME or CANNOT TELL."""
    results: tuple[Result, ...]
    refused: tuple[Unmatched, ...]
    lost: tuple[str, ...]
    """What to know of launches without a time, in words."""
    changed: tuple[Difference, ...]
    """What else differs between the first runs of both sides, the likeliest culprits first."""

    def of(self, aspect: Aspect, *outcomes: Outcome) -> list[Result]:
        """Return the results of an aspect, those with such an outcome where any is named."""
        return [
            result
            for result in self.results
            if result.aspect is aspect and (not outcomes or result.answer.outcome in outcomes)
        ]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Sides held against the first of them."""

    margin: float
    """Changes up to this share are none that matter."""
    level: float
    """How often a comparison of sides that do not differ may call any case changed."""
    baseline: SideFacts
    held: tuple[Held, ...]
    """The other sides, as they were given."""


def describe_side(side: Side, launches: int) -> SideFacts:
    """Return what a reader must know of a side."""
    first = side.runs[0]
    mpi = getattr(first.meta.made, "mpi", {})
    named = " ".join(str(mpi[key]) for key in ("name", "version") if mpi.get(key))
    return SideFacts(
        label=side.label,
        runs=tuple(run.meta.run for run in side.runs),
        kept_label=label_of(first),
        suite=first.meta.suite_name,
        origin=first.meta.origin,
        started_utc=first.meta.started_utc,
        hosts=_hosts(side),
        mpi=named or None,
        launches=launches,
    )


def _hosts(side: Side) -> tuple[str, ...]:
    return tuple(dict.fromkeys(host for run in side.runs for host in run.nodes.hosts))
