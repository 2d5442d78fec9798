"""How long cases take: known laws recovered from a few of them, and kept up to date for little."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.events import CaseMeasured
from bench.core.records import Case, Sampling
from bench.plan.pace import Estimate, Outlook, Pace
from bench.plan.sizes import rank_levels

RULE = Sampling(cap_s=0.15, warmup_cap_s=0.3)
START_S = 1e-6


def latency(size: int, memory: str = "host") -> Case:
    return Case(f"l/{size}/{memory}", "latency", {"bytes": size, "memory": memory, "ranks": 2})


def bandwidth(size: int) -> Case:
    axes = {"bytes": size, "memory": "host", "ranks": 2, "window": 64}
    return Case(f"b/{size}", "bandwidth", axes)


def taken(case: Case, operation_s: float, rest_s: float, sampled_s: float) -> CaseMeasured:
    return CaseMeasured(case.id, rest_s + sampled_s + 3 * operation_s, sampled_s, operation_s)


def learned(sizes: list[int], per_byte_s: float, rest_s: float = 0.05) -> Pace:
    pace = Pace()
    for size in sizes:
        operation_s = START_S + size * per_byte_s
        pace.learn(latency(size), taken(latency(size), operation_s, rest_s, 0.1), RULE)
    return pace


@given(
    st.lists(st.sampled_from([2**e for e in range(25)]), min_size=2, max_size=8, unique=True),
    st.sampled_from([2**e for e in range(18, 25)]),
    st.floats(1e-11, 1e-6),
)
def test_what_a_case_takes_at_least_follows_the_law_of_its_curve(sizes, wanted, per_byte_s):
    sizes = sorted({*sizes, wanted // 4, wanted // 2})
    least_s = learned(sizes, per_byte_s).least_s(latency(wanted))
    truth_s = START_S + wanted * per_byte_s
    assert least_s == pytest.approx(0.05 + 3 * truth_s + max(0.01, 7 * truth_s), rel=0.6)
    assert least_s >= 0.05 + 10 * truth_s * 0.99  # beyond what was measured, never too little


def test_a_curve_that_was_never_measured_goes_by_the_bytes_of_others():
    pace = learned([1 << 20, 2 << 20, 4 << 20], 2.5e-9)  # 400 MB/s
    window_s = 16 * (4 << 20) * 2.5e-9  # of 64 MiB in flight at most
    assert pace.least_s(bandwidth(4 << 20)) > 7 * window_s
    assert pace.least_s(bandwidth(1)) < 0.2


def test_what_others_told_counts_until_something_alike_was_measured():
    pace = Pace({latency(8).id: Estimate(1.0, 0.5)})
    assert pace.least_s(latency(8)) == 0.5 + 3 + 7
    pace.learn(latency(64), taken(latency(64), 1e-6, 0.05, 0.1), RULE)
    # What it takes beside its samples is known now; a smaller size says nothing of a larger one.
    assert pace.least_s(latency(8)) == pytest.approx(0.05 + 10)
    pace.learn(latency(4), taken(latency(4), 1e-6, 0.05, 0.1), RULE)
    assert pace.least_s(latency(8)) < 0.1


def test_sampling_that_converges_early_is_expected_to_do_so_again():
    quick, slow = learned([8], 0), Pace()
    slow.learn(latency(8), taken(latency(8), START_S, 0.05, 0.4), RULE)
    assert quick.expected_s(latency(16), RULE) < slow.expected_s(latency(16), RULE)
    assert slow.expected_s(latency(16), RULE) == pytest.approx(0.05 + 0.4, rel=0.01)


def test_an_outlook_is_the_sum_of_what_is_left_however_often_each_is_measured():
    cases = [latency(size) for size in (1, 2, 4)]
    outlook = Outlook(cases * 3, lambda case: float(case.axes["bytes"]), lambda: 0.0)
    outlook.refresh()
    assert (outlook.total_s, outlook.count) == (21.0, 9)
    outlook.remove(cases[2].id)
    outlook.remove("unknown")
    assert (outlook.total_s, outlook.count) == (17.0, 8)
    for _ in range(4):
        outlook.remove(cases[2].id)
    assert (outlook.total_s, outlook.count) == (9.0, 6)
    assert outlook.seconds == {cases[0].id: 1.0, cases[1].id: 2.0}


def test_estimates_of_many_cases_are_made_as_often_as_they_are_cheap():
    now = [0.0]
    made = []

    def estimate(case: Case) -> float:
        now[0] += 0.001
        made.append(case.id)
        return 1.0

    outlook = Outlook([latency(size) for size in range(1, 101)], estimate, lambda: now[0])
    for _ in range(1000):
        outlook.refresh()
        now[0] += 0.01
    # 0.1 s to make all of them, and 10 s in between.
    assert len(made) <= 300


@given(st.integers(1, 40), st.integers(1, 40))
def test_sizes_are_left_out_evenly_and_a_benchmark_never(first, second):
    cases = [latency(size) for size in range(1, first + 1)]
    cases += [latency(size, "device") for size in range(1, second + 1)]
    levels = rank_levels(cases)
    assert [case for case, level in levels.items() if level == 0] == [latency(1).id]
    assert sorted(levels, key=levels.__getitem__)[: 2 if second else 1] == [
        latency(1).id,
        latency(1, "device").id,
    ]
    for kept in range(3, first + second):
        few = sorted(levels, key=levels.__getitem__)[:kept]
        sizes = sorted(int(name.split("/")[1]) for name in few if name.endswith("host"))
        if len(sizes) > 2:
            gaps = [b - a for a, b in itertools.pairwise(sizes)]
            assert max(gaps) <= 4 * min(gaps)


def test_calibration_is_kept_longer_than_what_it_predicts():
    calibrate = [latency(size) for size in (1, 16, 256)]
    targets = [latency(size) for size in (2, 4, 8)]
    levels = rank_levels(calibrate, targets)
    assert max(levels[case.id] for case in calibrate) < min(levels[case.id] for case in targets)
