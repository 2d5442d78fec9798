"""From calibration rows to predictions: all targets, on nothing but their calibration."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.records import Case, Job, Origin, Prediction, Row, Stage, Status
from bench.measure import MEASUREMENTS
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import load_suite, parse_suite
from bench.predict.fit import predict_targets

FROZEN = "2026-11-20T09:00:00.000000Z"
SWEEP = """[suite]
name = "sweep"
launches = {launches}

[[benchmark]]
name = "latency"
bytes = {{ from = "1 B", to = "16 MiB", per_octave = {density} }}
"""
MATMUL = """[suite]
name = "sweep"

[[benchmark]]
name = "matmul"
batch = [1, 2, 4, 8, 16, 31, 32, 33, 64, 128, 256]
dtype = ["fp32", "fp64"]
"""


def sweep(launches: int = 1, density: float = 2) -> Plan:
    return make_plan(parse_suite(SWEEP.format(launches=launches, density=density), "sweep"))


def truth(case: Case) -> float:
    """Return what one operation takes in this world."""
    if case.benchmark == "matmul":
        return 2e-5 + 1e-6 * int(case.axes["batch"]) * (2 if case.axes["dtype"] == "fp64" else 1)
    size = int(case.axes["bytes"])
    return 2e-7 + size / 5e9 if size < 8192 else 2e-6 + size / 11e9


def row(job: Job, case: Case, seconds: float | None, status: Status = Status.OK) -> Row:
    return Row(
        run="r",
        origin=Origin.MEASURED,
        job=job.id,
        attempt=0,
        launch=job.launch,
        order=0,
        case=case.id,
        benchmark=case.benchmark,
        status=status,
        t_median_s=seconds,
    )


def calibrate(plan: Plan, sigma: float = 0.0, seed: int = 0) -> list[Row]:
    """Return the rows of the calibration cases, with relative noise."""
    random = np.random.default_rng(seed)
    return [
        row(job, case, truth(case) * math.exp(sigma * random.standard_normal()))
        for job in plan.jobs
        if job.stage is Stage.CALIBRATE
        for case in job.cases
    ]


def targets(plan: Plan) -> list[tuple[str, int]]:
    jobs = [job for job in plan.jobs if job.stage is Stage.TARGET]
    return [(case.id, job.launch) for job in jobs for case in job.cases]


def case_of(plan: Plan, prediction: Prediction) -> Case:
    cases = {case.id: case for job in plan.jobs for case in job.cases}
    return cases[prediction.case]


def test_every_target_of_every_launch_is_predicted_once():
    plan = sweep(launches=3)
    predictions = predict_targets(plan, calibrate(plan), FROZEN)
    assert [(p.case, p.launch) for p in predictions] == targets(plan)
    assert {p.tier for p in predictions} == {"C"}
    assert {p.frozen_at for p in predictions} == {FROZEN}
    assert all(p.seconds is not None and p.seconds > 0 for p in predictions)


def test_no_calibration_case_is_predicted_and_each_names_all_of_its_own():
    plan = sweep()
    calibrated = {c.id for job in plan.jobs if job.stage is Stage.CALIBRATE for c in job.cases}
    for prediction in predict_targets(plan, calibrate(plan), FROZEN):
        assert prediction.case not in calibrated
        assert prediction.calibration_cases is not None
        assert set(prediction.calibration_cases.split(" ")) == calibrated


@pytest.mark.parametrize("seed", range(5))
def test_a_world_with_a_protocol_switch_is_predicted_within_noise_and_its_width(seed):
    plan = sweep(density=3)
    errors = [
        abs(math.log((p.seconds or math.nan) / truth(case_of(plan, p))))
        for p in predict_targets(plan, calibrate(plan, 0.01, seed), FROZEN)
    ]
    assert np.median(errors) < 0.02
    # Cases between the two calibrated sizes around the switch may be on its wrong side.
    assert np.quantile(errors, 0.9) < 0.06


def test_products_are_predicted_on_products_of_their_own_type():
    plan = make_plan(parse_suite(MATMUL, "sweep"))
    for prediction in predict_targets(plan, calibrate(plan), FROZEN):
        case = case_of(plan, prediction)
        assert prediction.seconds == pytest.approx(truth(case), rel=1e-9)
        assert f"dtype={case.axes['dtype']}" in (prediction.calibration_cases or "")
        assert prediction.calibration_cases
        other = "fp32" if case.axes["dtype"] == "fp64" else "fp64"
        assert f"dtype={other}" not in prediction.calibration_cases


def test_a_target_that_was_already_measured_changes_no_prediction():
    plan = sweep()
    honest = predict_targets(plan, calibrate(plan), FROZEN)
    peeking = [
        row(job, case, 1e3) for job in plan.jobs if job.stage is Stage.TARGET for case in job.cases
    ]
    assert predict_targets(plan, [*peeking, *calibrate(plan), *peeking], FROZEN) == honest


def test_rows_that_failed_or_were_skipped_calibrate_nothing():
    plan = sweep()
    rows = calibrate(plan)
    honest = predict_targets(plan, rows, FROZEN)
    job = plan.jobs[0]
    wrong = [
        row(job, job.cases[0], 1e3, Status.FAILED),
        row(job, job.cases[0], None, Status.SKIPPED),
        row(job, job.cases[0], None),
    ]
    assert predict_targets(plan, [*wrong, *rows, *wrong], FROZEN) == honest


def test_one_launch_in_another_mode_does_not_move_the_curve():
    plan = sweep(launches=5)
    rows = [
        row_of if row_of.launch else row(plan.jobs[0], case_named(plan, row_of.case), 1e-3)
        for row_of in calibrate(plan)
    ]
    assert all(r.t_median_s == 1e-3 for r in rows if r.launch == 0)
    clean = {p.case: p.seconds for p in predict_targets(plan, calibrate(plan), FROZEN)}
    for prediction in predict_targets(plan, rows, FROZEN):
        assert prediction.seconds == pytest.approx(clean[prediction.case], rel=1e-9)


def case_named(plan: Plan, name: str) -> Case:
    return next(case for job in plan.jobs for case in job.cases if case.id == name)


def test_a_suite_too_small_to_calibrate_says_so_instead_of_guessing():
    text = '[suite]\nname = "s"\n[[benchmark]]\nname = "latency"\nbytes = [1, 2, 4, 8, 16]\n'
    plan = make_plan(parse_suite(text, "s"))
    predictions = predict_targets(plan, [], FROZEN)
    assert len(predictions) == 5
    for prediction in predictions:
        assert prediction.seconds is None
        assert prediction.low_s is None
        assert prediction.parameters_hash is None
        assert prediction.calibration_cases is None
        assert prediction.formula.startswith("none: too few sizes to calibrate on")


@pytest.mark.parametrize("measured", [0, 1])
def test_calibration_that_failed_is_the_reason_of_a_missing_prediction(measured):
    plan = sweep()
    for prediction in predict_targets(plan, calibrate(plan)[:measured], FROZEN):
        assert prediction.seconds is None
        assert prediction.formula == f"none: {measured} calibrated sizes; a line needs 2"


def test_one_curve_that_cannot_be_fitted_leaves_the_others_alone():
    plan = make_plan(parse_suite(MATMUL, "sweep"))
    rows = [r for r in calibrate(plan) if "dtype=fp32" in r.case]
    for prediction in predict_targets(plan, rows, FROZEN):
        assert (prediction.seconds is None) == ("dtype=fp64" in prediction.case)


def test_no_interval_is_given_where_fewer_than_three_points_can_be_left_out():
    plan = sweep(density=0.5)  # thirteen sizes, four of them calibrate
    for prediction in predict_targets(plan, calibrate(plan), FROZEN):
        assert prediction.seconds is not None
        assert prediction.low_s is None
        assert prediction.high_s is None


def test_a_world_without_surprises_has_a_narrow_interval_and_a_noisy_one_a_wide_one():
    plan = sweep()

    def width(sigma: float) -> float:
        prediction = predict_targets(plan, calibrate(plan, sigma, 3), FROZEN)[0]
        assert prediction.low_s is not None
        assert prediction.high_s is not None
        return prediction.high_s / prediction.low_s

    assert width(0.01) < width(0.3)


def test_an_interval_holds_most_of_what_is_then_measured():
    inside = total = 0
    for seed in range(20):
        plan = sweep(density=2)
        random = np.random.default_rng(1000 + seed)
        for p in predict_targets(plan, calibrate(plan, 0.03, seed), FROZEN):
            assert p.low_s is not None
            assert p.high_s is not None
            measured = truth(case_of(plan, p)) * math.exp(0.03 * random.standard_normal())
            inside += p.low_s <= measured <= p.high_s
            total += 1
    assert inside / total >= 0.7


def test_the_hash_tells_curves_apart_and_is_the_same_for_the_same():
    plan = make_plan(parse_suite(MATMUL, "sweep"))
    once, again = (predict_targets(plan, calibrate(plan), FROZEN) for _ in range(2))
    assert once == again
    hashes = {(case_of(plan, p).axes["dtype"], p.parameters_hash) for p in once}
    assert len(hashes) == len({h for _, h in hashes}) == 2
    moved = predict_targets(plan, calibrate(plan, 0.01), FROZEN)
    assert {p.parameters_hash for p in moved}.isdisjoint({p.parameters_hash for p in once})


def test_the_quick_suite_predicts_some_case_of_every_benchmark_but_the_smallest():
    plan = make_plan(load_suite("quick"))
    rows = [
        row(job, case, 1e-6 * float(case.axes[MEASUREMENTS[case.benchmark].size_axis]))
        for job in plan.jobs
        if job.stage is Stage.CALIBRATE
        for case in job.cases
    ]
    predicted = {
        case_of(plan, p).benchmark
        for p in predict_targets(plan, rows, FROZEN)
        if p.seconds is not None
    }
    planned = {case.benchmark for job in plan.jobs for case in job.cases}
    few = {"stream", "allreduce", "overlap", "exchange", "split_matmul", "training_step"}
    assert predicted == planned - few


@given(st.lists(st.floats(1e-9, 1e3), min_size=40, max_size=40))
def test_whatever_was_measured_a_prediction_is_a_time_within_its_interval(times):
    plan = sweep()
    job = plan.jobs[0]
    rows = [row(job, case, t) for case, t in zip(job.cases, times, strict=False)]
    assert len(rows) == len(job.cases)
    for prediction in predict_targets(plan, rows, FROZEN):
        assert prediction.seconds is not None
        assert prediction.low_s is not None
        assert prediction.high_s is not None
        assert 0 < prediction.low_s <= prediction.seconds <= prediction.high_s < math.inf
