"""A run keeps its time budget, and tells how long the rest takes without one."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.core.events import CaseMeasured
from bench.core.records import LEFT_OUT, Case, Job, Row, Stage, Status
from bench.judge.cut_short import budget_findings
from bench.plan.pace import why_left_out
from bench.plan.plan import make_plan
from bench.plan.suite import parse_budget, parse_suite
from bench.run.again import Again
from bench.run.budget import Budget, Span
from bench.run.remaining import CLOSING_S, Remaining
from bench.run.resume import is_final

SUITE = """
[suite]
name = "mixed"
cap_s = 0.2
launches = 2
[[benchmark]]
name = "latency"
bytes = { from = "1 B", to = "16 MiB", per_octave = 1 }
[[benchmark]]
name = "bandwidth"
bytes = { from = "1 B", to = "4 MiB", per_octave = 1 }
[[benchmark]]
name = "memcpy"
bytes = { from = "1 B", to = "1 MiB", per_octave = 1 }
"""


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Cluster:
    """Plays the jobs of a plan: messages at a rate, so that cases take 10 ms to 10 s."""

    def __init__(self, seed: int, start_s: float, rate: float) -> None:
        self.clock = Clock()
        self._random = random.Random(seed)  # noqa: S311 - a play, not a secret
        self._start_s = start_s
        self._rate = rate

    def operation_s(self, case: Case) -> float:
        window = min(64, max(1, (64 << 20) // int(case.axes["bytes"])))
        count = window if case.benchmark == "bandwidth" else 1
        rate = 1e10 if case.benchmark == "memcpy" else self._rate
        return 1e-5 + count * int(case.axes["bytes"]) / rate

    def play(self, job: Job, remaining: Remaining) -> list[tuple[float, float, int]]:
        """Return, at each case that begins, the time, the time left as told, and its number."""
        moments = []
        remaining.job_begins(job)
        self.clock.now_s += self._start_s
        for number, case in enumerate(job.cases):
            remaining.case_begins(case)
            moments.append((self.clock.now_s, remaining.left_s(), number))
            operation_s = self.operation_s(case) * self._random.uniform(0.9, 1.2)
            warmup_s = max(0.05, 10 * operation_s) if operation_s < 0.02 else 0.4
            sampled_s = warmup_s + max(min(0.2, 400 * operation_s), 6 * operation_s)
            took_s = 0.02 + 3 * operation_s + sampled_s
            self.clock.now_s += took_s
            remaining.case_measured(CaseMeasured(case.id, took_s, sampled_s, operation_s))
        remaining.job_ends(job)
        return moments


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("start_s", "rate"), [(1.5, 5e9), (1.5, 5e7), (4.0, 1.25e7)])
def test_the_time_left_is_right_from_the_tenth_case_of_a_job_on(seed, start_s, rate):
    plan = make_plan(parse_suite(SUITE, "mixed"), seed=seed)
    cluster = Cluster(seed, start_s, rate)
    remaining = Remaining(plan.jobs, cluster.clock)
    moments = [moment for job in plan.jobs for moment in cluster.play(job, remaining)]
    end_s = cluster.clock.now_s
    late = [(end_s - at_s, left_s) for at_s, left_s, number in moments if number >= 9]
    right = [abs(left_s - true_s) <= max(5.0, true_s / 5) for true_s, left_s in late]
    assert sum(right) >= 0.9 * len(right)
    assert remaining.left_s() == CLOSING_S


def share_all(budget_s: float, start_s: float = 1.5) -> tuple[Clock, list[Job], list[Job]]:
    """Play a run that takes what it may; return its clock, the jobs it shared and the others."""
    plan = make_plan(parse_suite(SUITE, "mixed"))
    clock = Clock()
    remaining = Remaining(plan.jobs, clock)
    budget = Budget(Span(budget_s, 0.0), plan.jobs, remaining, clock)
    shared, left_out = [], []
    for job in plan.jobs:
        remaining.job_begins(job)
        share = budget.share(job)
        if share is None:
            left_out.append(job)
        else:
            assert share.allowance is not None
            clock.now_s += start_s
            remaining.case_begins(job.cases[0])
            clock.now_s += max(0.0, share.allowance.seconds)
            shared.append(share)
        remaining.job_ends(job)
        budget.end(job)
    return clock, shared, left_out


@settings(deadline=None, max_examples=30)
@given(st.floats(15, 1000))
def test_jobs_together_take_what_the_run_may(budget_s):
    clock, shared, _ = share_all(budget_s)
    least_s = 1.5 * len({job.id for job in shared})
    assert clock.now_s <= max(1.1 * budget_s, least_s) + 1.5
    assert clock.now_s >= 0.5 * budget_s


def test_later_launches_go_before_sizes_and_calibration_comes_first():
    _, shared, left_out = share_all(14.0)
    assert {job.launch for job in left_out} == {1}
    assert len([job for job in shared if job.launch == 0]) == 4
    assert shared[0].stage is Stage.CALIBRATE
    _, shared, left_out = share_all(200.0)
    assert not left_out


def test_cases_whose_round_was_lost_are_measured_again_within_the_budget():
    plan = make_plan(parse_suite(SUITE, "mixed"), launches=1)
    clock = Clock()
    remaining = Remaining(plan.jobs, clock)
    budget = Budget(Span(600.0, 0.0), plan.jobs, remaining, clock)
    job = plan.jobs[0]
    remaining.job_begins(job)
    assert budget.share(job) is not None
    before_s = remaining.left_s()
    for case in job.cases:
        remaining.case_begins(case)
        remaining.case_measured(CaseMeasured(case.id, 0.2, 0.1, 1e-6))
    remaining.job_begins(job)
    share = budget.share(job)
    assert share is not None
    assert share.allowance is not None
    assert share.allowance.seconds > 0
    assert remaining.left_s() > 0.5 * before_s


def test_waiting_in_a_queue_is_not_the_time_of_the_run():
    plan = make_plan(parse_suite(SUITE, "mixed"))
    clock = Clock()
    budget = Budget(Span(60.0, 0.0), plan.jobs, Remaining(plan.jobs, clock), clock)
    for now_s in (10.0, 500.0, 1000.0):
        clock.now_s = now_s
        budget.wait()
    clock.now_s = 1010.0
    budget.begin()
    assert budget.left_s == 50.0
    clock.now_s = 1020.0
    budget.begin()
    assert budget.left_s == 40.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("1.5 min", 90.0), ("2h", 7200.0), ("1500 ms", 1.5)]
)
def test_a_budget_is_a_time(text, seconds):
    assert parse_budget(text, "--budget") == seconds
    suite = parse_suite(SUITE.replace("launches = 2", f'budget = "{text}"'), "mixed")
    assert suite.budget_s == seconds


@pytest.mark.parametrize("text", ["60", "soon", "-5s", "0s", "1e9 h", "", "60s; rm x"])
def test_what_is_no_time_is_refused_in_a_line(text):
    with pytest.raises(RequestError, match=r"^--budget: "):
        parse_budget(text, "--budget")


def row(name: str, **changes: object) -> Row:
    values = {
        "run": "r", "origin": "measured", "job": "j", "launch": 0, "case": name,
        "benchmark": "latency", "status": Status.OK, **changes,
    }  # fmt: skip
    return Row(**values)  # type: ignore[arg-type]


def test_what_a_budget_cost_is_one_line_and_can_be_measured_later():
    cut = row("a", params="budget_cap_ms=12.5;batch=3")
    out = row("b", status=Status.SKIPPED, reason=why_left_out(60.0))
    assert budget_findings([row("c")]) == []
    (finding,) = budget_findings([cut, out, row("c")])
    assert "1 of 3 rows were left out (latency)" in finding.text
    assert "12.5 ms" in finding.text
    assert (out.reason or "").startswith(LEFT_OUT)
    assert not is_final(out)
    assert is_final(cut)


def test_what_a_job_will_measure_again_is_owed_until_it_has():
    again = Again()
    again.job_begins(40)
    for number in range(20):
        again.learn(CaseMeasured("a", 0.5, slow=number % 2 == 0), first=True)
    # Half of its cases met a slow state, a quarter will twice, and no more than 10 s go to that.
    assert again.owed_s() == 10.0
    assert again.owed_later_s(2, 4.0) == pytest.approx(2 * 4.0 * 0.875)
    again.learn(CaseMeasured("a", 4.0, slow=False), first=False)
    assert again.owed_s() == 6.0
    again.job_begins(3)
    again.learn(CaseMeasured("b", 0.5, slow=None), first=True)
    assert again.owed_s() == 0.0
