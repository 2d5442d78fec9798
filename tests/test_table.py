"""The table of a run: every planned case is in it, once per launch, and says how it ended."""

import msgspec
import numpy as np
import pytest
from synthetic import cases, true_seconds, write_run
from test_measure import make_case
from test_pairs import write_rows
from test_rows import row_of
from test_runs import change_rows

from bench.core.errors import RequestError
from bench.core.records import Case, Origin
from bench.judge.headline import headlines
from bench.judge.samples import load_samples
from bench.judge.statistics import BETWEEN, WITHIN, summarise, wilson_bounds
from bench.judge.table import NOT_MEASURED, load, measured
from bench.measure import MEASUREMENTS
from bench.measure.profiles import place_of, profile_of
from bench.report import build
from bench.store.files import RESULTS_FILE
from bench.store.folder import open_run


def test_every_planned_case_has_one_line_per_launch(tmp_path):
    run = write_run(tmp_path / "r", launches=2, keep=100)
    table = load(run)
    assert not table.duplicated(["case", "launch"]).any()
    planned = sum(len(job.cases) for job in run.plan)
    assert len(table) == planned
    assert (table["status"] == NOT_MEASURED).sum() == planned - 100
    assert table.loc[table["status"] == NOT_MEASURED, "reason"].str.contains("before").all()


def test_a_torn_last_line_is_not_measured(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], outcome=None)
    path = run.path / RESULTS_FILE
    path.write_bytes(path.read_bytes()[:-30])
    table = load(run)
    assert (table["status"] == NOT_MEASURED).sum() == 1
    assert len(measured(table)) == len(table) - 1


def test_a_damaged_row_is_refused_with_its_number(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    path = run.path / RESULTS_FILE
    path.write_text(path.read_text().replace("latency,ok", "latency,fine", 1))
    with pytest.raises(RequestError, match="row 2"):
        load(run)


def test_lines_carry_prediction_stage_and_params(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["stream"], error=0.25)
    table = load(run)
    targets = table[table["stage"] == "target"]
    assert np.allclose(targets["predicted_s"] / targets["t_median_s"], 1.25)
    assert set(targets["tier"]) == {"C"}
    assert table.loc[table["stage"] == "calibrate", "predicted_s"].isna().all()
    assert set(table["param_kernel"]) == {"copy", "scale", "add", "triad"}
    assert table["series"].nunique() == 4
    assert "stream triad 4 KiB" in set(table["name"])


def test_many_kinds_of_pairs_are_drawn_and_told_without_a_warning(tmp_path):
    many = ";".join(f"p{number}={number}" for number in range(60))
    run = change_rows(write_run(tmp_path / "r"), {"params": many})
    # Warnings are errors here; pandas has one for tables that are made column by column.
    assert build([run], tmp_path).exists()
    assert (load(run)["param_p59"].dropna() == "59").all()


def test_names_tell_products_apart(tmp_path):
    table = load(write_run(tmp_path / "r", benchmarks=["matmul"]))
    assert table["name"].is_unique
    assert "matmul 33 x 1000 x 1000 fp32" in set(table["name"])


@pytest.mark.parametrize(
    ("measured_by", "name"),
    [
        ("split_matmul", "split_matmul 128 x 1000 x 1000 fp32"),
        ("training_step", "training_step batch 128"),
        ("barrier", "barrier 2 ranks"),
        ("ring_shift", "ring_shift 1 MiB"),
    ],
)
def test_a_size_is_named_as_what_it_is(tmp_path, measured_by, name):
    case = make_case(measured_by)
    rows = [row_of(case, {0: (1e-3,) * 6, 1: (1e-3,) * 6})]
    (found,) = load(open_run(write_rows(tmp_path / "run", [case], rows)))["name"]
    assert found == name


def test_rows_of_a_benchmark_that_is_not_known_come_last_and_are_named(tmp_path):
    known, new = make_case("latency"), Case("sendrecv", "sendrecv", {"bytes": 8, "ranks": 2})
    row = row_of(known, {0: (1e-3,) * 6})
    rows = [msgspec.structs.replace(row, case=new.id, benchmark=new.benchmark), row]
    table = load(open_run(write_rows(tmp_path / "run", [new, known], rows)))
    assert list(table["name"]) == ["latency 8 B", "sendrecv 8 B"]
    assert profile_of("sendrecv").family == "sendrecv"


def test_tables_have_the_order_of_list():
    assert [place_of(name) for name in MEASUREMENTS] == list(range(len(MEASUREMENTS)))


def test_names_tell_gpus_of_one_process_apart(tmp_path):
    table = load(write_run(tmp_path / "r", benchmarks=["peer_copy"]))
    assert set(table["name"]) == {
        "peer_copy GPU 0 to GPU 1 device direction uni 1 MiB",
        "peer_copy GPU 0 to GPU 1 device direction bi 1 MiB",
        "peer_copy GPU 1 to all device direction uni 1 MiB",
        "peer_copy all to GPU 0 device direction uni 1 MiB",
    }


def test_missing_numbers_are_missing_and_never_zero(tmp_path):
    table = load(write_run(tmp_path / "r", benchmarks=["latency"], fail={"c0000": "died"}))
    failed = table[table["status"] == "failed"].iloc[0]
    assert np.isnan(failed["t_median_s"])
    assert np.isnan(failed["tflops"])
    assert failed["dtype"] is None


def test_point_is_the_median_over_launches_with_an_interval_from_six_on(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], launches=7, spread=0.1)
    points = summarise(load(run))
    base = true_seconds(cases(["latency"])[0])
    smallest = points[points["size"] == 1].iloc[0]
    assert smallest["t_s"] == pytest.approx(1.3 * base)
    # Ranks 1 and 7 of seven: 1 - 2 / 128 = 98.4 %; ranks 2 and 6 would cover 87.5 %.
    assert smallest["t_low_s"] == pytest.approx(base)
    assert smallest["t_high_s"] == pytest.approx(1.6 * base)
    assert set(points["interval"]) == {BETWEEN}
    assert set(points["launches"]) == {7}


def test_rates_belong_to_the_median_time(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["bandwidth"], launches=3, spread=0.5)
    points = summarise(load(run))
    assert np.allclose(points["gbytes_per_s"], points["bytes"] / points["t_s"] / 1e9)


def test_few_launches_have_no_interval_and_one_has_its_own(tmp_path):
    three = summarise(load(write_run(tmp_path / "a", benchmarks=["latency"], launches=3)))
    assert three["interval"].isna().all()
    assert three["t_low_s"].isna().all()
    one = summarise(load(write_run(tmp_path / "b", benchmarks=["latency"])))
    assert set(one["interval"]) == {WITHIN}
    assert np.allclose(one["t_low_s"] / one["t_s"], 0.98)


def test_nothing_measured_is_no_points(tmp_path):
    points = summarise(load(write_run(tmp_path / "r", benchmarks=["latency"], keep=0)))
    assert points.empty
    assert {"t_s", "t_low_s", "interval", "launches"} <= set(points.columns)


def test_samples_are_all_there(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency", "memcpy"], samples=11)
    samples = load_samples(run)
    assert len(samples) == 11 * (len(cases(["latency"])) + 2 * len(cases(["memcpy"])))


@pytest.mark.parametrize(
    ("inside", "count", "low", "high"),
    # Wilson's interval, as in Newcombe, Statistics in Medicine 17 (1998), table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_wilson_bounds(inside, count, low, high):
    assert wilson_bounds(inside / count, count) == pytest.approx((low, high), abs=5e-5)


def test_headlines_are_the_truth_and_say_where(tmp_path):
    run = write_run(tmp_path / "r")
    found = {headline.what: headline for headline in headlines(load(run))}
    latency = found["Small-message latency"]
    assert latency.name == "latency 8 B"
    assert latency.value == pytest.approx(110e-9 + 8 / 18e9)
    assert latency.text == "110 ns"
    assert latency.error == pytest.approx(0.07)
    both = found["Peak bandwidth, both ways together"]
    assert both.name == "bibandwidth 4 MiB"
    assert both.value == pytest.approx(2 * found["Peak bandwidth, one way"].value, rel=0.01)
    # The largest size, not the fastest one, which is in a cache.
    assert found["Memory copy bandwidth at the largest size"].value == pytest.approx(12e9, rel=0.01)
    assert found["Matrix product, best fp32"].unit == "FLOP/s"


def test_a_calibration_case_has_no_error(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], fail={"c0003": "died"})
    (headline,) = headlines(load(run))
    assert headline.name == "latency 1 B"
    assert headline.calibration
    assert headline.error is None


def test_oversubscribed_rows_are_no_headline(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], params={"oversubscribed": 1})
    assert headlines(load(run)) == []


def test_origin_is_kept(tmp_path):
    table = load(write_run(tmp_path / "r", benchmarks=["latency"], origin=Origin.SIMULATED))
    assert set(table["origin"]) == {"simulated"}
