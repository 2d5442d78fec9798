"""A job keeps its time: sampling shrinks first, then sizes go, and no benchmark disappears."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.events import CaseEnded, CaseMeasured
from bench.core.records import (
    BUDGET_CAP,
    LEFT_OUT,
    Allowance,
    Case,
    Job,
    Sampling,
    Stage,
    Status,
)
from bench.plan.sizes import rank_levels
from bench.rank import pacing
from bench.rank.context import open_context
from bench.rank.job import execute_job
from bench.rank.pacing import Pacer, stretch
from bench.rank.world import SoloWorld

RULE = Sampling(cap_s=0.15, warmup_cap_s=0.3)


def copies(count: int) -> tuple[Case, ...]:
    return tuple(
        Case(f"memcpy/{size}", "memcpy", {"bytes": size, "memory": "host", "ranks": 1})
        for size in range(1, count + 1)
    )


def job_of(cases: tuple[Case, ...], seconds: float, rest_s: float = 0.01) -> Job:
    levels = rank_levels(cases)
    allowance = Allowance(
        60.0,
        seconds,
        seconds,
        tuple(levels[case.id] for case in cases),
        (None,) * len(cases),
        (rest_s,) * len(cases),
    )
    return Job("j", Stage.TARGET, 0, 1, 1, cases, RULE, allowance=allowance)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def carry_out(job: Job, clock: Clock, rest_s: float) -> tuple[list[Sampling], list[str]]:
    """Play a job whose cases take a fixed time and all that their rule allows."""
    pacer = Pacer(job, SoloWorld())
    rules, left_out = [], []
    for case in job.cases:
        rule = pacer.choose((case,))
        if rule is None:
            left_out.append(case.id)
            continue
        sampled_s = rule.cap_s + rule.warmup_cap_s
        clock.now_s += rest_s + sampled_s
        pacer.learn(case, CaseMeasured(case.id, rest_s + sampled_s, sampled_s, 1e-6), rule)
        rules.append(rule)
    return rules, left_out


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing.time, "monotonic", clock)
    return clock


@pytest.mark.parametrize("rest_s", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("seconds", [5.0, 15.0, 40.0, 200.0])
def test_the_time_of_a_job_is_kept_whatever_a_case_takes_beside_its_samples(clock, rest_s, seconds):
    cases = copies(100)
    rules, left_out = carry_out(job_of(cases, seconds), clock, rest_s)
    # The last estimate may be off by a case.
    assert clock.now_s <= seconds + rest_s + RULE.cap_s + RULE.warmup_cap_s
    assert len(rules) + len(left_out) == 100
    if left_out:
        assert seconds < 1.3 * 100 * (rest_s + pacing.LEAST_SPAN_S)
        # What is left out is left out late: until then everything is sampled for little.
        assert max(rule.cap_s for rule in rules) < RULE.cap_s
    if seconds > 100 * (rest_s + RULE.cap_s + RULE.warmup_cap_s):
        assert {rule.cap_s for rule in rules} == {RULE.cap_s}


def test_sampling_is_not_cut_where_there_is_time(clock):
    rules, left_out = carry_out(job_of(copies(10), 100.0), clock, 0.02)
    assert [msgspec.structs.replace(rule, most_s=None) for rule in rules] == [RULE] * 10
    assert not left_out


@given(st.floats(-1, 10), st.floats(-1, 10))
def test_more_time_never_samples_less(one_s, other_s):
    less, more = (stretch(RULE, spare_s) for spare_s in sorted((one_s, other_s)))
    assert less.cap_s <= more.cap_s <= RULE.cap_s
    assert less.warmup_s <= more.warmup_s <= RULE.warmup_s
    assert less.most_passes <= more.most_passes <= RULE.most_passes
    # Sampling again is the first thing to go.
    assert more.most_passes == 1 or more.cap_s == RULE.cap_s


def test_a_job_over_its_share_leaves_nothing_out_while_others_can_do_with_less(clock):
    job = job_of(copies(50), 2.0)
    assert job.allowance is not None
    allowance = msgspec.structs.replace(job.allowance, most_s=20.0)
    _rules, left_out = carry_out(msgspec.structs.replace(job, allowance=allowance), clock, 0.1)
    assert not left_out
    assert clock.now_s < 50 * (0.1 + 2 * pacing.LEAST_SPAN_S) + 1.0


def test_a_benchmark_is_measured_even_where_its_job_has_no_time(clock):
    rules, left_out = carry_out(job_of(copies(20), -3.0), clock, 0.05)
    assert len(rules) == 1
    assert "memcpy/1" not in left_out


def test_a_real_job_ends_in_time_and_its_rows_name_what_was_cut():
    cases = copies(40)
    context = open_context(SoloWorld(), 1)
    begin_s = time.monotonic()
    events = list(execute_job(job_of(cases, 1.0), SoloWorld(), context))
    took_s = time.monotonic() - begin_s
    ended = [event for event in events if isinstance(event, CaseEnded)]
    assert [event.case for event in ended] == [case.id for case in cases]
    measured = [event for event in ended if event.status is Status.OK]
    left_out = [event for event in ended if event.status is Status.SKIPPED]
    assert measured
    assert all(event.params[BUDGET_CAP] < 1e3 * RULE.cap_s for event in measured)
    assert all(
        event.reason == f"{LEFT_OUT}the time budget of 60 s has no room for it"
        for event in left_out
    )
    efforts = [event for event in events if isinstance(event, CaseMeasured)]
    assert len(efforts) == len(measured)
    # What they say they took is what passed.
    assert sum(effort.took_s for effort in efforts) == pytest.approx(took_s, rel=0.2)
    assert all(0 < effort.sampled_s <= effort.took_s for effort in efforts)
