"""The score: known errors are recovered, and what breaks the rules is refused by name."""

import math

import msgspec
import numpy as np
import pytest
from synthetic import instant, write_run

from bench.core.records import Origin, Row, params_text, parse_params
from bench.judge.baseline import log_log, straight_line
from bench.judge.samples import samples_of
from bench.judge.score import Score, score, score_text
from bench.judge.statistics import BETWEEN, WITHIN
from bench.judge.strata import SplitKey, held_out_by, size_class
from bench.judge.table import load
from bench.store.files import PREDICTIONS_FILE, RESULTS_FILE
from bench.store.folder import open_run
from bench.store.tables import csv_lines, header_line, read_csv

TARGET = "c0001"
"""The first target case: latency of 2 bytes."""


def refusal(folder, **changes):
    found = score(write_run(folder / "r", benchmarks=["latency"], refuse={TARGET: changes}))
    assert not found.complete
    assert found.groups[0].count == 10
    (refused,) = found.refused
    assert refused.case == TARGET
    assert refused.name == "latency 2 B"
    return refused.reason


@pytest.mark.parametrize("error", [0.07, -0.07])
def test_an_error_of_seven_per_cent_scores_seven_per_cent(tmp_path, error):
    found = score(write_run(tmp_path / "r", error=error))
    assert found.complete
    assert [group.name for group in found.groups] == ["point to point", "memory", "matmul"]
    for group in (*found.groups, *found.benchmarks, *found.series):
        assert group.median_error == pytest.approx(0.07)
        assert group.p90_error == pytest.approx(0.07)
        assert group.bias_ln == pytest.approx(math.log1p(error))
        assert group.worst.error == pytest.approx(error)


def test_products_are_scored_by_shape_and_dtype(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["matmul"]))
    assert {group.name for group in found.series} == {
        "matmul 1000 x 1000 fp32",
        "matmul 1000 x 1000 fp64",
    }


def test_calibration_cases_are_not_scored(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency"]))
    assert found.groups[0].cases == 11


def test_the_worst_case_is_named(tmp_path):
    run = write_run(
        tmp_path / "r",
        benchmarks=["latency"],
        refuse={"c0005": {"seconds": 1.0, "low_s": 1.0, "high_s": 1.0}},
    )
    worst = score(run).groups[0].worst
    assert worst.name == "latency 32 B"
    assert worst.predicted_s == 1.0


def test_coverage_counts_and_bounds(tmp_path):
    wide = score(write_run(tmp_path / "a", benchmarks=["latency"], error=0.07, interval=0.1))
    coverage = wide.groups[0].coverage
    assert (coverage.inside, coverage.count) == (11, 11)
    assert (coverage.low, coverage.high) == pytest.approx((0.7412, 1.0), abs=1e-4)
    narrow = score(write_run(tmp_path / "b", benchmarks=["latency"], error=0.07, interval=0.01))
    assert narrow.groups[0].coverage.inside == 0


def test_width_stands_beside_coverage_and_a_share_is_allowed_or_not(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency"], error=0.07, interval=0.1))
    coverage = found.groups[0].coverage
    assert coverage.half_width == pytest.approx(math.sqrt(1.1 / 0.9), rel=0.02)
    assert coverage.allows(0.8)
    assert not coverage.allows(0.5)
    narrow = score(write_run(tmp_path / "s", benchmarks=["latency"], error=0.07, interval=0.01))
    assert any("NOT the 80 %" in line for line in score_text(narrow))


def test_strata_have_one_voice_each(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency", "matmul"], error=0.07))
    names = [stratum.name for stratum in found.strata]
    assert names[0] == "latency below 64 KiB"
    assert "matmul" in names
    assert sum(stratum.count for stratum in found.strata) == sum(g.count for g in found.groups)
    assert found.median_of_strata == pytest.approx(0.07)
    assert any(line.startswith("headline: 7.0 %") for line in score_text(found))
    assert [split.name for split in found.splits] == ["size"]


@pytest.mark.parametrize(
    ("case", "fitted_on", "split"),
    [
        (SplitKey("latency", 1, 2), [SplitKey("latency", 1, 2)], "size"),
        (
            SplitKey("multi", 2, 6, 3),
            [SplitKey("multi", 2, 6, 1), SplitKey("multi", 2, 6, 6)],
            "senders",
        ),
        (SplitKey("allreduce", 2, 2), [SplitKey("latency", 2, 2)], "operation"),
        (SplitKey("allreduce", 2, 6), [SplitKey("latency", 2, 2)], "rank count"),
        (
            SplitKey("allreduce", 4, 6),
            [SplitKey("latency", 2, 2), SplitKey("latency", 1, 6)],
            "node count",
        ),
        (SplitKey("allreduce"), [], "operation"),
    ],
)
def test_a_case_is_held_out_by_the_hardest_thing_it_differs_in(case, fitted_on, split):
    assert held_out_by(case, fitted_on).startswith(split)


@pytest.mark.parametrize(
    ("nbytes", "name"),
    [(1, "below 64 KiB"), (2**16, "64 KiB to 16 MiB"), (2**24, "64 KiB to 16 MiB")],
)
def test_size_classes_end_where_they_say(nbytes, name):
    assert size_class(nbytes) == name
    assert size_class(2**24 + 1) == "above 16 MiB"


def test_a_bound_is_a_baseline_where_one_is_known(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], error=0.07)
    path = run.path / RESULTS_FILE
    rows = [msgspec.structs.replace(row, bound_s=row.t_median_s / 2) for row in read_csv(path, Row)]
    path.write_text(header_line(Row) + csv_lines(rows))
    bound = score(open_run(run.path)).groups[0].skills[0]
    assert (bound.baseline, bound.median_error) == ("bound", pytest.approx(0.5))
    assert bound.skill == pytest.approx(1 - 0.07 / 0.5)


def test_no_interval_is_no_coverage(tmp_path):
    changes = {f"c{i:04d}": {"low_s": None, "high_s": None} for i in range(23)}
    found = score(write_run(tmp_path / "r", benchmarks=["latency"], refuse=changes))
    assert found.groups[0].coverage is None


def test_split_halves_are_the_noise_floor_of_one_launch(tmp_path):
    found = score(write_run(tmp_path / "r", drift=0.04))
    for group in found.groups:
        assert group.noise.kind == WITHIN
        assert group.noise.median == pytest.approx(1 - 1 / 1.04)
        assert group.noise.count == group.count


def test_launches_are_the_noise_floor_where_there_are_two(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency"], launches=2, spread=0.05))
    noise = found.groups[0].noise
    assert noise.kind == BETWEEN
    # Half the pairs read 1.05 / 1 - 1, half 1 / 1.05 - 1.
    assert noise.median == pytest.approx((0.05 + (1 - 1 / 1.05)) / 2)


def test_too_few_samples_give_no_noise_floor(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency"], samples=5))
    assert found.groups[0].noise.median is None
    assert " ? " in "\n".join(score_text(found))


def test_refused_when_frozen_after_its_case_began(tmp_path):
    assert "not before the case began" in refusal(tmp_path, frozen_at=instant(1000))


def test_refused_when_frozen_at_the_very_moment(tmp_path):
    run = write_run(tmp_path / "a", benchmarks=["latency"])
    started = next(row.started_utc for row in run.rows() if row.case == TARGET)
    assert "not before" in refusal(tmp_path, frozen_at=started)


def test_refused_when_calibrated_on_itself(tmp_path):
    assert "calibrated on this very case" in refusal(
        tmp_path, calibration_cases=f"c0000 {TARGET} c0002"
    )


@pytest.mark.parametrize("time", ["yesterday", "2026-11-20T09:00:00", ""])
def test_refused_without_a_readable_time(tmp_path, time):
    assert "no readable time" in refusal(tmp_path, frozen_at=time or "-")


@pytest.mark.parametrize("seconds", [0.0, -1e-6, math.inf, math.nan])
def test_refused_when_no_time_at_all(tmp_path, seconds):
    assert "positive" in refusal(tmp_path, seconds=seconds)


def test_refused_when_predicted_twice(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    path = run.path / PREDICTIONS_FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))
    found = score(run)
    assert "predicted 2 times" in found.refused[0].reason
    assert not found.complete


def test_refused_when_a_row_has_another_origin(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    rows = [
        msgspec.structs.replace(row, origin=Origin.IMPORTED) if row.case == TARGET else row
        for row in read_csv(run.path / RESULTS_FILE, Row)
    ]
    header = header_line(Row)
    (run.path / RESULTS_FILE).write_text(header + csv_lines(rows))
    (refused,) = score(run).refused
    assert refused.reason == "the row is imported in a run that is measured; they are never mixed"


def test_no_predictions_is_not_complete(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency"], predict=False))
    assert not found.complete
    assert found.groups == ()
    assert "no prediction could be scored" in found.problems[0]
    assert not any(line.startswith("held-out") for line in score_text(found))
    assert found.unscored[0].reason == "no prediction was made"


def test_a_model_that_could_not_speak_says_why(tmp_path):
    changes = {TARGET: {"seconds": None, "formula": "too few points"}}
    found = score(write_run(tmp_path / "r", benchmarks=["latency"], refuse=changes))
    assert found.complete
    assert [(u.reason, u.count) for u in found.unscored] == [
        ("no model could speak: too few points", 1)
    ]


def test_datasheet_predictions_are_not_scored(tmp_path):
    changes = {f"c{i:04d}": {"tier": "D"} for i in range(23)}
    assert score(write_run(tmp_path / "r", benchmarks=["latency"], refuse=changes)).groups == ()


def test_failed_and_missing_targets_are_counted(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], fail={TARGET: "died"}, keep=20)
    found = score(run)
    assert sum(unscored.count for unscored in found.unscored) == 4
    assert "failed: died" in {unscored.reason for unscored in found.unscored}


def test_skill_is_positive_over_a_line_and_negative_against_a_perfect_table(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency"], error=0.07))
    skills = {skill.baseline: skill for skill in found.groups[0].skills}
    assert skills["straight line"].skill > 0
    worse = score(write_run(tmp_path / "s", benchmarks=["latency"], error=0.9))
    assert all(skill.skill < 0 for skill in worse.groups[0].skills)
    assert "NEGATIVE" in "\n".join(score_text(worse))


def test_baselines_recover_what_they_assume():
    sizes = [1.0, 64.0, 4096.0]
    line = [2e-6 + size / 1e9 for size in sizes]
    assert straight_line(sizes, line, 1000.0) == pytest.approx(3e-6)
    power = [1e-9 * size**0.7 for size in sizes]
    assert log_log(sizes, power, 300.0) == pytest.approx(1e-9 * 300.0**0.7)
    assert log_log(sizes, power, 9000.0) == pytest.approx(1e-9 * 9000.0**0.7)


def test_score_is_json_and_back(tmp_path):
    found = score(write_run(tmp_path / "r", launches=2, refuse={TARGET: {"frozen_at": "?"}}))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Score) == found


def test_text_says_error_noise_count_and_worst(tmp_path):
    lines = score_text(score(write_run(tmp_path / "r", error=0.07)))
    row = next(line for line in lines if line.startswith("matmul"))
    assert row.split()[1:3] == ["7.0", "%"]
    assert " 15 " in row
    assert "predicted" in row
    assert any("within one launch" in line for line in lines)


def test_hostile_reasons_stay_on_one_line(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], fail={TARGET: "a\nb\x1b[31m"})
    assert all("\n" not in line and "\x1b" not in line for line in score_text(score(run)))


def test_noise_takes_the_slowest_rank_where_the_row_does(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["memcpy"])
    times = {row.case: row.t_median_s for row in run.rows()}
    for (case, _), seconds in samples_of(run, load(run)).items():
        assert np.median(seconds) == pytest.approx(times[case], rel=1e-3)


def test_cases_that_met_another_state_are_told_apart(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    path = run.path / RESULTS_FILE
    rows = read_csv(path, Row)
    moved = [
        msgspec.structs.replace(
            row,
            t_median_s=row.t_median_s * 2,
            params=params_text(parse_params(row.params) | {"state_percent": 200}),
        )
        if row.job.startswith("target") and i % 2
        else row
        for i, row in enumerate(rows)
    ]
    path.write_text(header_line(Row) + csv_lines(moved))
    (group,) = score(open_run(run.path)).groups
    assert group.count == 11
    assert group.steady is not None
    assert 0 < group.steady.count < 11
    assert group.steady.median_error == pytest.approx(0.07)
    assert any("met the machine in the state" in line for line in score_text(score(run)))


def test_where_no_case_moved_nothing_is_said_of_states(tmp_path):
    found = score(write_run(tmp_path / "r", benchmarks=["latency"]))
    assert all(group.steady is None for group in found.groups)
    assert not any("state" in line for line in score_text(found))
