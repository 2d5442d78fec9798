"""Nodes and GPUs on the page: each is in the figure and the table, the slow one is named."""

from pathlib import Path

import numpy as np
import pytest
from begun import begun

from bench.core.records import Case, Job, Origin, Row, Stage, Status
from bench.judge.fleet_cases import fleets
from bench.judge.headline import headlines
from bench.judge.places import middle_places
from bench.judge.statistics import summarise
from bench.judge.table import load
from bench.report.data import read_run
from bench.report.fleet import caption, place_table, places_in_order
from bench.report.page import Fold, Paragraph, Table
from bench.report.style import render
from bench.store.folder import open_run
from bench.store.recorder import Recorder

FLOP = 2e9
BATCHES = (64, 128)


def write(folder: Path, count: int, odd: int | None = None) -> Path:
    """Write a run in which so many nodes made products; the odd one takes twice as long by mean."""
    cases = tuple(
        Case(f"matmul/batch={b}", "matmul", {"batch": b, "k": 8, "n": 8, "dtype": "fp32"})
        for b in BATCHES
    )
    job = Job("j", Stage.TARGET, 0, count, 1, cases)
    recorder = Recorder(begun(folder, [job]))
    random = np.random.default_rng(count)
    for order, case in enumerate(cases):
        times = 1e-3 * np.exp(0.02 * random.standard_normal(count))
        recorder.rows(
            [
                Row(
                    run=folder.name,
                    origin=Origin.MEASURED,
                    job="j",
                    attempt=0,
                    launch=0,
                    order=order,
                    case=case.id,
                    benchmark="matmul",
                    status=Status.OK,
                    nodes=count,
                    ranks=count,
                    src=f"n{i:03d}",
                    src_host=f"n{i:03d}",
                    batch=BATCHES[order],
                    k=8,
                    n=8,
                    dtype="fp32",
                    statistic="median",
                    t_median_s=float(t),
                    t_ci_low_s=0.99 * float(t),
                    t_ci_high_s=1.01 * float(t),
                    t_min_s=float(t),
                    t_p99_s=float(t),
                    t_mean_s=float(t) * (2 if i == odd else 1),
                    samples=30,
                    rank_agg="max",
                    slowest_rank=i,
                    tflops=FLOP / float(t) / 1e12,
                    started_utc="2026-11-20T09:00:00.000000Z",
                )
                for i, t in enumerate(times)
            ],
            [],
        )
    recorder.end("complete")
    recorder.finish()
    return folder


@pytest.mark.parametrize("count", [3, 8, 40])
def test_every_place_is_in_the_table_the_odd_one_named_and_on_top(tmp_path, count):
    run = read_run(open_run(write(tmp_path / "run", count, odd=2)), "A")
    (fleet,) = fleets(run.table)
    assert len(fleet.reached) == count
    assert fleet.reached[0].place == "n002"
    assert fleet.reached[0].mean == pytest.approx(fleet.reached[0].median / 2)
    blocks = list(place_table(run))
    tables = [b for block in blocks for b in (block.blocks if isinstance(block, Fold) else [block])]
    (table,) = (block for block in tables if isinstance(block, Table))
    assert len(table.rows) == count
    named = [row[0] for row in table.rows if row[-1]]
    # Of three places two are too few to know how they scatter.
    assert named == ([] if count == 3 else ["n002"])
    first = next(block for block in blocks if isinstance(block, Paragraph))
    assert ("n002" in first.text) == (count > 3)
    assert ("n002" in caption(run.table)) == (count > 3)


@pytest.mark.parametrize("count", [4, 40])
def test_the_figure_is_drawn_for_few_places_and_for_many(tmp_path, count):
    table = load(open_run(write(tmp_path / "run", count, odd=2)))
    drawn = render(lambda: places_in_order(table))
    assert drawn is not None
    assert drawn[1].startswith(b"\x89PNG")
    assert ("count how many" in caption(table)) == (count > 16)


def test_one_node_has_no_fleet(tmp_path):
    run = read_run(open_run(write(tmp_path / "run", 1)), "A")
    assert fleets(run.table) == []
    assert places_in_order(run.table) is None
    assert list(place_table(run)) == []


def test_headlines_and_curves_are_of_the_middle_place(tmp_path):
    table = load(open_run(write(tmp_path / "run", 9, odd=2)))
    points = summarise(table)
    assert len(points) == len(BATCHES)
    for _, point in points.iterrows():
        times = np.sort(table[table["case"] == point["case"]]["t_median_s"])
        assert point["t_s"] == times[4]
    assert set(points["launches"]) == {1}
    (best,) = headlines(table)
    assert best.value == pytest.approx(FLOP / points["t_s"].min())
    assert len(middle_places(middle_places(table))) == len(BATCHES)


def test_the_middle_of_places_that_failed_is_one_that_did_not(tmp_path):
    table = load(open_run(write(tmp_path / "run", 5)))
    table["status"] = table["status"].where(table["src"] == "n003", "failed")
    kept = middle_places(table)
    assert kept["src"].tolist() == ["n003", "n003"]
    table["status"] = "skipped"
    assert len(middle_places(table)) == len(BATCHES)
