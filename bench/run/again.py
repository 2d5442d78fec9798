"""How long cases are likely to be measured again, that met the machine in a slow state.

Jobs of two ranks do so after their first round, for as long as that took and at most for some
seconds: of ten cases, one or all.
"""

from bench.core.events import CaseMeasured
from bench.core.limits import MOST_AGAIN_S

_LEAST_SEEN = 10
"""Cases of a job after which it is judged by its own."""


class Again:
    """Follows the rounds of jobs, one after the other."""

    def __init__(self) -> None:
        self._seen = self._slow = 0
        """Cases of all jobs with rounds, measured for the first time, and those that met a slow
        state."""
        self.job_begins(0)

    def job_begins(self, cases: int) -> None:
        """A job of so many cases is started."""
        self._cases = cases
        self._job_seen = self._job_slow = 0
        self._first_s = self._again_s = 0.0

    def learn(self, measured: CaseMeasured, first: bool) -> None:
        """A case was measured, for the first time in its job or again."""
        if measured.slow is None:
            return
        if not first:
            self._again_s += measured.took_s
            return
        self._seen += 1
        self._job_seen += 1
        self._slow += measured.slow
        self._job_slow += measured.slow
        self._first_s += measured.took_s

    @property
    def has_rounds(self) -> bool:
        """Whether the current job is known to have them."""
        return self._job_seen > 0

    def owed_s(self) -> float:
        """Return the seconds that the current job is likely to measure cases again."""
        if not self._job_seen:
            return 0.0
        own = self._job_seen >= _LEAST_SEEN or self._job_seen == self._cases
        share = self._job_slow / self._job_seen if own else self._slow / self._seen
        whole_s = self._first_s * self._cases / self._job_seen
        return max(0.0, _again_s(share, whole_s) - self._again_s)

    def owed_later_s(self, jobs: int, job_s: float) -> float:
        """Return the same of jobs to come, each with a first round of so many seconds."""
        return jobs * _again_s(self._slow / self._seen, job_s) if self._seen else 0.0


def _again_s(share: float, first_s: float) -> float:
    """Return the seconds of three further rounds, of which each leaves the same share of cases."""
    return min(MOST_AGAIN_S, first_s, first_s * (share + share**2 + share**3))
