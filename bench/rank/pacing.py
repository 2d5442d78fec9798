"""Fits the cases of a job into the time that a budget leaves for it.

First every case is sampled for less; then none is sampled or measured again, and no pair of ranks
is waited for to get back to its best state; at last cases are left out, those first that a curve
shows least without. Rank 0 decides, before each case, from what the cases before took.
"""

import time
from collections.abc import Sequence

import msgspec

from bench.core.events import CaseMeasured
from bench.core.records import Allowance, Case, Job, Sampling
from bench.plan.pace import LEAST_SPAN_S, Estimate, Outlook, Pace, why_left_out
from bench.plan.sizes import order_to_keep
from bench.rank.world import World

_SAMPLED = 0.6
"""Share of a case's spare time that goes to sampling, the rest to warming up."""


class Pacer:
    """Decides how each case of a job is sampled.

    Args:
        job: with an allowance, or every case is sampled as the suite has it.
        world: its ranks; all of them ask together.
    """

    def __init__(self, job: Job, world: World) -> None:
        self._rule = job.sampling
        self._world = world
        self._allowance = job.allowance
        self._begin_s = time.monotonic()
        if job.allowance is not None:
            names = [case.id for case in job.cases]
            self._levels = dict(zip(names, job.allowance.levels, strict=True))
            known = zip(job.allowance.operation_s, job.allowance.rest_s, strict=True)
            self._pace = Pace(dict(zip(names, map(Estimate._make, known), strict=True)))
            self._rest = Outlook(job.cases, self._pace.least_s, time.monotonic)
            self._dropped: frozenset[str] = frozenset()

    def choose(self, cases: Sequence[Case]) -> Sampling | None:
        """Return how cases that are measured at once are sampled; None where they are left out."""
        if self._allowance is None:
            return self._rule
        chosen: Sampling | None = self._world.broadcast(
            self._choose(self._allowance, cases) if self._world.rank == 0 else None
        )
        return chosen

    def reason(self) -> str:
        """Return why a case is left out."""
        return why_left_out(self._allowance.budget_s if self._allowance else 0.0)

    def learn(self, case: Case, measured: CaseMeasured, rule: Sampling) -> None:
        """Learn from a case that was measured, also where nobody asked whether it may."""
        if self._allowance is not None:
            self._rest.remove(case.id)
            self._pace.learn(case, measured, rule)

    def fits_again(self, case: Case) -> bool:
        """Return whether there is time to measure a case once more."""
        if self._allowance is None:
            return True
        left_s = self._allowance.seconds - self._passed_s()
        return left_s > self._pace.expected_s(case, self._rule)

    def _passed_s(self) -> float:
        return time.monotonic() - self._begin_s

    def _choose(self, allowance: Allowance, cases: Sequence[Case]) -> Sampling | None:
        if self._rest.refresh():
            self._dropped = self._find_dropped(allowance.most_s - self._passed_s())
            for name in self._dropped:
                self._rest.remove(name)
        if any(case.id in self._dropped for case in cases):
            return None
        left_s = allowance.seconds - self._passed_s()
        spare_s = (left_s - self._rest.total_s) / max(1, self._rest.count)
        for case in cases:
            self._rest.remove(case.id)
        rule = stretch(self._rule, spare_s)
        most_s = allowance.most_s - self._passed_s()
        return rule if self._first(cases) else msgspec.structs.replace(rule, most_s=most_s)

    def _first(self, cases: Sequence[Case]) -> bool:
        """Return whether one of these is measured whatever it takes."""
        return any(self._levels[case.id] == 0 for case in cases)

    def _find_dropped(self, room_s: float) -> frozenset[str]:
        """Return the cases that are left out, so that those of lower levels fit.

        Those of level 0 stay, whatever is left: without them a benchmark would be missing.
        """
        seconds = self._rest.seconds
        dropped = set(self._dropped)
        if self._rest.total_s <= room_s:
            return frozenset(dropped)
        for name in order_to_keep(seconds, self._levels):
            if seconds[name] <= room_s or self._levels[name] == 0:
                room_s -= seconds[name]
            else:
                dropped.add(name)
        return frozenset(dropped)


def stretch(rule: Sampling, spare_s: float) -> Sampling:
    """Return a rule that takes so many seconds more than the least, at most what the suite asks."""
    half_s = LEAST_SPAN_S / 2
    spare_s = max(0.0, spare_s)
    whole_s = rule.cap_s + rule.warmup_cap_s
    again = int(spare_s / whole_s) - 1
    return msgspec.structs.replace(
        rule,
        cap_s=min(rule.cap_s, half_s + _SAMPLED * spare_s),
        warmup_s=min(rule.warmup_s, half_s + (1 - _SAMPLED) * spare_s),
        warmup_cap_s=min(rule.warmup_cap_s, half_s + (1 - _SAMPLED) * spare_s),
        most_passes=max(1, min(rule.most_passes, 1 + again)),
    )
