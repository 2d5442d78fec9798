"""What the ranks of a case found out, as events: times that are times, and how many sent them."""

import math

import numpy as np
import pytest
from test_measure import make_case

from bench.contracts import Checked
from bench.core.events import CaseEnded, Event, Samples, decode, encode
from bench.core.records import Axis, Status
from bench.measure import MEASUREMENTS
from bench.rank.outcome import Outcome, Pass, RankResult, overhead_params, report_case
from bench.rank.timing.sampling import Sampled

CASE = make_case("allreduce", ranks=3)


def outcome(*seconds: float, params: dict[str, Axis] | None = None, wrong: int = 0) -> Outcome:
    sampled = Sampled(np.array(seconds), 1, 10, converged=True, operation_s=seconds[0])
    result = RankResult(Pass(sampled, 0.0, 1, 0.1), Checked(8, wrong))
    return Outcome(0, result, "numba", params or {})


def report(*outcomes: Outcome) -> tuple[list[Event], CaseEnded]:
    """Return what arrives of the events of a case."""
    events = report_case(CASE, MEASUREMENTS["allreduce"], 0, outcomes, {}, own_cores=True)
    arrived = [decode(encode(event)) for event in events]
    assert isinstance(arrived[-1], CaseEnded)
    return [event for event in arrived if event is not None], arrived[-1]


def test_the_end_of_a_case_counts_the_ranks_that_sent_samples():
    events, ended = report(*[outcome(1e-6, 2e-6)] * 3)
    assert sum(isinstance(event, Samples) for event in events) == ended.sampled_ranks == 3
    assert ended.status is Status.OK


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1e-9])
def test_what_is_no_time_is_named_and_not_sent(bad):
    events, ended = report(outcome(1e-6, 2e-6), outcome(1e-6, bad), outcome(1e-6, 2e-6))
    assert ended.status is Status.FAILED
    assert ended.reason == f"rank 1 took {bad} s for sample 1, which is no time"
    assert events == [ended]
    assert ended.sampled_ranks == 0


def test_a_wrong_answer_is_named_before_a_time_that_is_none():
    _, ended = report(outcome(math.nan, wrong=3), outcome(1e-6))
    assert ended.reason is not None
    assert ended.reason.startswith("wrong answer")


def test_a_fact_that_is_no_number_arrives_as_a_word():
    _, ended = report(*[outcome(1e-6, params={"a": math.nan, "b": -math.inf, "c": 2.5})] * 3)
    assert {name: ended.params[name] for name in "abc"} == {"a": "nan", "b": "-inf", "c": 2.5}


@pytest.mark.parametrize(
    ("overhead_s", "expected"),
    [
        (None, {}),
        (1e-6, {"overhead_ns": 1000}),
        (3e-6, {"overhead_ns": 3000, "host_bound": 1}),
    ],
)
def test_a_time_that_is_the_hosts_for_a_fifth_says_so(overhead_s, expected):
    assert overhead_params(overhead_s, outcome(10e-6, 11e-6, 500e-6).result) == expected


@pytest.mark.parametrize(("share", "bound"), [(0.1, {}), (0.45, {"host_bound": 1})])
def test_what_queueing_takes_counts_and_not_one_call_alone(share, bound):
    known = {"overhead_ns": 100, "queueing_percent": round(100 * share), **bound}
    assert overhead_params(1e-7, outcome(10e-6, 11e-6).result, share) == known


def test_a_rank_that_slept_tells_no_share():
    assert overhead_params(1e-6, RankResult()) == {"overhead_ns": 1000}
