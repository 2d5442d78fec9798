"""What is left of a run, and how long that is likely to take."""

import time
from collections.abc import Sequence

from bench.contracts import Clock
from bench.core.events import CaseMeasured
from bench.core.records import Case, Job, Sampling
from bench.plan.pace import Outlook, Pace
from bench.run.again import Again

_START_S = 1.5
"""Of a job before its first case, and after its last one, where none has begun yet: MPI and NumPy
start."""
_IN_ROUNDS = 2
"""Ranks of jobs that measure cases again which met a slow state."""
CLOSING_S = 4.0
"""After the last job: findings, hashes, and a page if one is made, which takes 5 s of `quick`."""


class Remaining:
    """Follows a run, and estimates its rest.

    Args:
        jobs: in their order.
        clock: what tells how long things take.
    """

    def __init__(self, jobs: Sequence[Job], clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._rule = jobs[0].sampling if jobs else Sampling()
        self.pace = Pace()
        cases = [case for job in jobs for case in job.cases]
        self._rest = Outlook(cases, self._expected_s, clock)
        self._outlooks = [self._rest]
        self._jobs_left = len(jobs)
        self._cases: dict[str, Case] = {}
        """Of the current job, those that have been neither measured nor given up."""
        self._all: dict[str, Case] = {}
        """Of the current job."""
        self._begin_s = self._case_s = self._clock()
        """When the current job began, and its last case."""
        self._current: str | None = None
        self._starts_s: list[float] = []
        self._again = Again()
        pairs = [len(job.cases) for job in jobs if job.ranks == _IN_ROUNDS]
        self._pairs, self._of_pairs = len(pairs), sum(pairs)
        """Jobs that have not ended and may measure cases again, and their cases."""

    def keep_current(self, outlook: Outlook) -> None:
        """Take cases out of another outlook too as they end."""
        self._outlooks.append(outlook)

    def job_begins(self, job: Job) -> None:
        """A job is started, for the first time or for what is left of it."""
        for case in job.cases:
            if case.id in self._all and case.id not in self._cases:
                # It was measured, and its row was to come at the end of its round.
                for outlook in self._outlooks:
                    outlook.add(case)
        self._all = {case.id: case for case in job.cases}
        self._cases = dict(self._all)
        self._begin_s = self._clock()
        self._current = None
        self._again.job_begins(len(job.cases))

    def case_begins(self, case: Case) -> None:
        """A case begins, or one that was measured is handed over."""
        self._case_s = self._clock()
        if not self._current and len(self._cases) == len(self._all):
            self._starts_s.append(self._case_s - self._begin_s)
        self._current = case.id

    def case_measured(self, measured: CaseMeasured) -> None:
        """A case was measured."""
        case = self._all.get(measured.case)
        if case is None:
            return
        self.pace.learn(case, measured, self._rule)
        self._again.learn(measured, case.id in self._cases)
        self.give_up(case)

    def give_up(self, case: Case) -> None:
        """A case has its row: nothing more is expected of it."""
        if self._cases.pop(case.id, None) is not None:
            for outlook in self._outlooks:
                outlook.remove(case.id)

    def job_ends(self, job: Job) -> None:
        """A job is over, and so are its cases, measured or not."""
        for case in job.cases:
            self.give_up(case)
        if job.ranks == _IN_ROUNDS:
            self._pairs -= 1
            self._of_pairs -= len(job.cases)
        self._jobs_left -= 1
        self._cases, self._all, self._current = {}, {}, None

    @property
    def start_s(self) -> float:
        """Seconds of a job in which it measures nothing."""
        return sum(self._starts_s) / len(self._starts_s) if self._starts_s else _START_S

    def left_s(self) -> float:
        """Return the seconds that the rest of the run is likely to take."""
        self._rest.refresh()
        now_s = self._clock()
        under_way_s = 0.0
        if self._current in self._cases:
            under_way_s = min(now_s - self._case_s, self._rest.seconds.get(self._current, 0.0))
        starts_s = self.start_s * (self._jobs_left - bool(self._all))
        if self._all and self._current is None:
            starts_s += max(0.0, self.start_s - (now_s - self._begin_s))
        cases_s = self._rest.total_s - under_way_s
        return starts_s + cases_s + self._again_s() + CLOSING_S

    def _again_s(self) -> float:
        """Return the seconds that the current job and those to come measure cases again."""
        under_way = self._again.has_rounds and bool(self._all)
        jobs = self._pairs - under_way
        cases = self._of_pairs - under_way * len(self._all)
        each_s = self._rest.total_s / max(1, self._rest.count)
        later_s = self._again.owed_later_s(jobs, each_s * cases / max(1, jobs))
        return self._again.owed_s() * under_way + later_s

    def _expected_s(self, case: Case) -> float:
        return self.pace.expected_s(case, self._rule)
