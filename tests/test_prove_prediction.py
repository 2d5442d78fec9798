"""What scripts/prove-prediction asks of the lab can be asked, and counts where the wire rules."""

import sys
from pathlib import Path

import pytest

from bench.plan.plan import make_plan
from bench.plan.suite import parse_suite
from bench.predict.compose import Fitted, MessageKind, Messages
from bench.predict.model.composed.path import SendersPoint, fit_path

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
lab = pytest.importorskip("provekit.lab")

RATE = 12e6
LINK = fit_path(
    [float(size) for size in lab.SIZES],
    [1e-4 + size / RATE for size in lab.SIZES],
    SendersPoint(lab.SENDERS, lab.SENDERS_BYTES, 1e-4 + lab.SENDERS * lab.SENDERS_BYTES / RATE),
)
KINDS = (MessageKind(False), MessageKind(True), MessageKind(True, lab.WINDOW))
CASES = list(
    lab.predict_cases(
        Messages({kind: Fitted(LINK, frozenset({"latency"})) for kind in KINDS}, {}), RATE
    )
)


def test_its_calibration_measures_messages_of_every_kind_that_predictions_need():
    plan = make_plan(parse_suite(lab.calibration_suite(), "calibration"))
    cases = [case for job in plan.jobs for case in job.cases]
    kinds = {(case.benchmark, case.axes.get("between")) for case in cases}
    assert kinds >= {("latency", "ends"), ("latency", "neighbours"), ("bandwidth", "ends")}
    assert {case.axes.get("window") for case in cases} == {None, 1, lab.WINDOW}


def test_every_case_is_one_that_a_suite_may_ask_for():
    blocks = "\n".join(lab.write_block(case) for case in CASES)
    plan = make_plan(parse_suite(f'[suite]\nname = "proof"\n{blocks}', "proof"))
    # The library's algorithms differ by its settings, not by the suite.
    apart = {(case.benchmark, case.nbytes, case.name.split()[1]) for case in CASES}
    assert plan.cases() >= len(apart)


def test_no_case_is_predicted_below_its_bound():
    assert all(case.predicted_s >= 0.98 * case.bound_s for case in CASES)
    assert {case.group for case in CASES} == set(lab.MOST_ERROR)


def test_exact_predictions_miss_nothing_and_small_messages_do_not_count():
    misses = lab.find_misses(CASES, {case.name: case.predicted_s for case in CASES})
    found = [miss for group in misses.values() for miss in group]
    assert found
    assert all(miss.error == 0 for miss in found)
    assert not any(" 8 B" in miss.name for miss in found)


def test_where_latency_rules_a_case_does_not_count(capsys):
    slow = {case.name: max(case.predicted_s, 1.0) for case in CASES}
    assert lab.find_misses(CASES, slow) == {}
    assert "latency rules it" in capsys.readouterr().out
