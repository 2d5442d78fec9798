"""Several runs as one table: the same cases beside each other, unlike ones apart."""

import msgspec
import pytest
from synthetic import true_seconds, write_run

from bench.core.records import COLUMNS
from bench.judge.runs import label_runs, load_runs, side_by_side
from bench.judge.statistics import WITHIN, summarise, summarise_places
from bench.judge.table import NOT_MEASURED, load
from bench.report import build
from bench.store.files import PLAN_FILE, RESULTS_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.jsons import encode_lines
from bench.store.tables import csv_lines, csv_text


def change_rows(run: RunFolder, *changes: dict[str, object]) -> RunFolder:
    """Write each row of a run once for each change."""
    rows = [msgspec.structs.replace(row, **change) for row in run.rows() for change in changes]
    content = csv_text([COLUMNS]) + csv_lines(rows)
    (run.path / RESULTS_FILE).write_text(content, encoding="utf-8")
    return run


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [
        ((), ("A", "B", "C")),
        (("old", "new", "newest"), ("old", "new", "newest")),
        (("mpich", "mpich", "openmpi"), ("mpich 1", "mpich 2", "openmpi")),
        (("a 1", "a", "a"), ("a 1", "a 2", "a 3")),
    ],
)
def test_no_two_runs_have_one_label(wanted, labels):
    assert label_runs(3, wanted) == labels


def test_two_copies_of_a_run_are_two_runs(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], launches=2)
    table = load_runs([run, run])
    assert table.groupby("run").size().to_dict() == {"A": len(load(run)), "B": len(load(run))}
    beside = side_by_side(table)
    assert beside["A"].tolist() == beside["B"].tolist()
    assert beside["case"].is_unique


def test_the_same_case_in_two_runs_is_one_line_and_a_missing_one_is_missing(tmp_path):
    fast = write_run(tmp_path / "a", benchmarks=["latency"])
    slow = write_run(tmp_path / "b", benchmarks=["latency"], spread=0.5, launches=2, keep=30)
    beside = side_by_side(load_runs([fast, slow], ("fast", "slow")))
    (first,) = [case for case in fast.plan[0].cases if case.id == "c0000"]
    line = beside.set_index("case").loc["c0000"]
    assert line["fast"] == pytest.approx(true_seconds(first))
    assert line["slow"] >= line["fast"]
    assert len(beside) == 23


@pytest.mark.parametrize("placement", [{"nodes": 2}, {"ranks_per_node": 1}])
def test_unlike_placement_under_one_id_is_not_joined(tmp_path, placement):
    near = write_run(tmp_path / "a", benchmarks=["latency", "bandwidth"])
    far = change_rows(write_run(tmp_path / "b", benchmarks=["latency"]), placement)
    beside = side_by_side(load_runs([near, far]))
    assert not (beside["A"].notna() & beside["B"].notna()).any()
    page = build([near, far], tmp_path / "page").with_name("report.md").read_text()
    assert "No case was measured in two of the runs" in page
    (one, other) = [line for line in page.splitlines() if line.startswith("| Small-message")]
    assert "1 node of 2 ranks" in one
    assert "not measured" in one
    assert "not measured" in other


def test_runs_of_like_placement_stand_beside_each_other_on_the_page(tmp_path):
    runs = [write_run(tmp_path / name, benchmarks=["latency"]) for name in "ab"]
    page = build(runs, tmp_path / "page").with_name("report.md").read_text()
    assert "23 of 23 cases are in two or more" in page
    assert len([line for line in page.splitlines() if line.startswith("| Small-message")]) == 1


NODES = [{"src": f"n{number}", "dst": None} for number in range(8)]


def test_rows_of_nodes_share_the_prediction_of_their_case_and_are_told_apart(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["matmul"], keep=20)
    table = load(change_rows(run, *NODES))
    rows = table[table["status"] == "ok"]
    assert len(rows) == 20 * len(NODES)
    assert set(rows["part"]) == {f"n{number}" for number in range(8)}
    predicted = rows[rows["stage"] == "target"].groupby("case")["predicted_s"]
    assert (predicted.count() == len(NODES)).all()
    assert (predicted.nunique() == 1).all()
    # A case is missing where it has no row at all.
    missing = table[table["status"] == NOT_MEASURED]
    assert len(missing) == 30 - 20
    assert missing["part"].isna().all()


def test_nodes_are_no_launches(tmp_path):
    run = change_rows(write_run(tmp_path / "r", benchmarks=["matmul"]), *NODES)
    each = summarise_places(load(run))
    assert len(each) == 30 * len(NODES)
    # The middle one stands for all where nobody asks for each.
    points = summarise(load(run))
    assert len(points) == 30
    for found in (each, points):
        assert set(found["launches"]) == {1}
        assert set(found["interval"]) == {WITHIN}


def test_a_case_that_moves_to_other_hosts_is_one_case_of_several_launches(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], launches=3)
    rows = [msgspec.structs.replace(row, src=f"n{row.launch}:rank0") for row in run.rows()]
    (run.path / RESULTS_FILE).write_text(csv_text([COLUMNS]) + csv_lines(rows))
    table = load(run)
    assert table["part"].isna().all()
    assert set(summarise(table)["launches"]) == {3}


def test_arms_of_one_run_are_never_one_number(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    table = load(change_rows(run, {"arm": "a"}, {"arm": "b", "t_median_s": 1.0}))
    rows = table[table["status"] == "ok"]
    # Two rows of a case in one launch, and neither is of a node.
    assert rows["part"].isna().all()
    points = summarise(table)
    assert points.groupby("case").size().eq(2).all()
    assert set(points.loc[points["arm"] == "b", "t_s"]) == {1.0}
    assert points["launches"].eq(1).all()
    assert not side_by_side(table)["r"].isna().any()


def test_what_was_planned_for_an_arm_is_missing_where_only_the_other_has_a_row(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    jobs = [msgspec.structs.replace(job, arm=arm) for job in run.plan for arm in "ab"]
    (run.path / PLAN_FILE).write_bytes(encode_lines(jobs))
    table = load(open_run(change_rows(run, {"arm": "a"}).path))
    assert len(table) == 2 * 23
    assert table.groupby("status")["arm"].unique().map(list).to_dict() == {
        "ok": ["a"],
        NOT_MEASURED: ["b"],
    }


def test_hosts_of_an_older_schema_are_those_of_its_ends(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], host="fd00::1", keep=9)
    rows = [{"src": "[fd00::1]:rank0", "dst": "n2:gpu1", "src_host": None, "dst_host": None}]
    table = load(change_rows(run, *rows))
    measured_lines = table[table["status"] == "ok"]
    assert set(measured_lines["src_host"]) == {"fd00::1"}
    assert set(measured_lines["dst_host"]) == {"n2"}
    assert table.loc[table["status"] == NOT_MEASURED, "src_host"].isna().all()


def test_a_row_without_job_attempt_and_order_is_read(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"])
    table = load(change_rows(run, {"job": None, "attempt": None, "order": None}))
    assert table["attempt"].isna().all()
    assert table["job"].isna().all()
    assert (table["status"] == "ok").all()
