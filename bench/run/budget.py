"""A time budget: what each job may take, so that the whole run ends in time.

A job's share are the seconds that its cases take at least, and for each of them an equal part of
what is spare. Where nothing is, and the run would take a tenth longer than it may, cases of later
launches are left out first, then sizes.
"""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bench.contracts import Clock
from bench.core.records import Allowance, Case, Job, Stage
from bench.plan.pace import Outlook
from bench.plan.sizes import order_to_keep, rank_levels
from bench.run.remaining import Remaining

_OVER = 0.1
"""Share of a budget that a run may take longer before anything is left out for it."""
_RESERVE = 0.2
"""Share of what is spare that is kept for later jobs: what others do meanwhile is not known."""


class Span(NamedTuple):
    """What a run may take, and when it began, on the monotonic clock."""

    seconds: float
    begun_s: float


class Budget:
    """Shares out the time of a run.

    Args:
        span: of the run.
        jobs: in their order.
        remaining: that follows the run.
        clock: that of the span.
    """

    def __init__(
        self,
        span: Span,
        jobs: Sequence[Job],
        remaining: Remaining,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self.span = span
        self._end_s = span.begun_s + span.seconds
        self._remaining = remaining
        cases = (case for job in jobs for case in job.cases)
        self._least = Outlook(cases, remaining.pace.least_s, clock)
        remaining.keep_current(self._least)
        self._jobs = {job.id: job for job in jobs}
        """Those that have not ended."""
        self._levels = _level_jobs(jobs)
        self._kept: dict[str, list[str]] | None = None
        """By job, the cases that there is time for; None where that is all of them."""
        self._waited_s: float | None = None

    def wait(self) -> None:
        """A scheduler lets the run wait: that time is not its own."""
        now_s = self._clock()
        if self._waited_s is not None:
            self._end_s += now_s - self._waited_s
        self._waited_s = now_s

    def begin(self) -> None:
        """The run goes on."""
        if self._waited_s is not None:
            self.wait()
            self._waited_s = None

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self._end_s - self._clock()

    def share(self, job: Job) -> Job | None:
        """Return a job with its allowance; None where there is no time for any case of it."""
        self._jobs[job.id] = job
        least = self._least
        free_s = self.left_s - self._remaining.start_s * len(self._jobs)
        over_s = _OVER * self.span.seconds
        if least.refresh():
            fits = least.total_s <= free_s + over_s
            self._kept = None if fits else self._keep(least.seconds, self.left_s + over_s)
        if self._kept is None:
            own_s = math.fsum(least.seconds[case.id] for case in job.cases)
            spare_s = free_s - least.total_s
            kept_back = _RESERVE if len(self._jobs) > 1 else 0.0
            own_share = (1 - kept_back) * len(job.cases) / max(1, least.count)
            seconds = own_s + max(0.0, spare_s) * own_share
            most_s = own_s + spare_s + over_s
        elif job.id in self._kept:
            seconds = self._kept_s(job.id)
            # Jobs of later launches do with less, or are not started.
            others = [
                other.id
                for other in self._jobs.values()
                if other.id in self._kept and other.id != job.id and other.launch <= job.launch
            ]
            starts_s = self._remaining.start_s * (1 + len(others))
            others_s = starts_s + math.fsum(map(self._kept_s, others))
            most_s = self.left_s + over_s - others_s
        else:
            return None
        levels = self._levels[job.id]
        known = [self._remaining.pace.estimate(case) for case in job.cases]
        allowance = Allowance(
            self.span.seconds,
            seconds,
            most_s,
            tuple(levels[case.id] for case in job.cases),
            tuple(each.operation_s for each in known),
            tuple(each.rest_s for each in known),
        )
        return msgspec.structs.replace(job, allowance=allowance)

    def end(self, job: Job) -> None:
        """A job is over."""
        self._jobs.pop(job.id, None)

    def _kept_s(self, job: str) -> float:
        """Return what a job takes with those of its cases that there is time for."""
        kept = (self._kept or {}).get(job, [])
        return sum(self._least.seconds.get(case, 0.0) for case in kept)

    def _keep(self, least_s: dict[str, float], room_s: float) -> dict[str, list[str]]:
        """Return the cases of each job that there is room for; one without any is not started."""
        kept: dict[str, list[str]] = {}
        for launch in sorted({job.launch for job in self._jobs.values()}):
            jobs = {
                case.id: job.id
                for job in self._jobs.values()
                if job.launch == launch
                for case in job.cases
            }
            levels = {case: self._levels[job][case] for case, job in jobs.items()}
            for case in order_to_keep({case: least_s[case] for case in jobs}, levels):
                job_id = jobs[case]
                needed_s = least_s[case] + (0.0 if job_id in kept else self._remaining.start_s)
                if needed_s <= room_s or levels[case] == 0:
                    kept.setdefault(job_id, []).append(case)
                    room_s -= needed_s
        return kept


def _level_jobs(jobs: Sequence[Job]) -> dict[str, dict[str, int]]:
    """Return how soon each case of each job may be left out; none of later launches is needed."""
    stages: dict[Stage, dict[str, Case]] = {stage: {} for stage in Stage}
    for job in jobs:
        stages[job.stage].update((case.id, case) for case in job.cases)
    levels = rank_levels(*(cases.values() for cases in stages.values()))
    return {
        job.id: {case.id: levels[case.id] + (job.launch > 0) for case in job.cases} for job in jobs
    }
