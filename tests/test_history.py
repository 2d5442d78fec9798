"""When a case changed over many runs: known moments are found, and none where there are none."""

import itertools
import json
import math
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import START, cases, write_run

from bench.cli import run_command
from bench.core.errors import RequestError
from bench.core.records import Origin, Row
from bench.core.verdict import Outcome
from bench.judge.history.change_points import find_change_points, least_runs
from bench.judge.history.judge import find_differences, find_history, judge_history
from bench.judge.history.text import history_text
from bench.report.history import build_history
from bench.store.files import RESULTS_FILE
from bench.store.folder import open_run
from bench.store.meta import write_meta
from bench.store.tables import csv_lines, header_line

MARGIN = math.log(1.01)
MEASURED = ("memcpy",)


def series(seed: int, count: int, *steps: tuple[int, float], spread: float = 0.01) -> np.ndarray:
    """A level with normal noise that changes by so much from each place on."""
    levels = np.random.default_rng(seed).normal(0, spread, count)
    for place, change in steps:
        levels[place:] += change
    return levels


def find(levels: np.ndarray, error_rate: float = 0.01) -> list[tuple[int, float]]:
    return [(one.place, one.change) for one in find_change_points(levels, MARGIN, error_rate)]


@pytest.mark.parametrize("change", [0.06, -0.06, 0.7, -0.7])
@pytest.mark.parametrize(("count", "place"), [(16, 8), (20, 10), (24, 19), (60, 12)])
def test_a_change_is_found_with_its_place_sign_and_size(count, place, change):
    for seed in range(20):
        ((found, size),) = find(series(seed, count, (place, change), spread=0.008))
        assert abs(found - place) <= 1
        assert size == pytest.approx(change, abs=0.03)


@pytest.mark.parametrize("second", [0.1, -0.1])
def test_two_changes_are_found_even_where_the_second_takes_the_first_back(second):
    hits = [find(series(seed, 26, (10, 0.1), (16, second))) for seed in range(40)]
    places = [[place for place, _ in found] for found in hits]
    assert sum(np.allclose(found, [10, 16], atol=1) for found in places if len(found) == 2) >= 39


@pytest.mark.parametrize("kind", ["normal", "skewed", "heavy", "two modes"])
def test_in_a_thousand_series_without_a_change_one_is_seen_in_one_percent_at_most(kind):
    random = np.random.default_rng(3)
    draws = {
        "normal": lambda count: random.normal(0, 0.02, count),
        "skewed": lambda count: 0.02 * random.lognormal(0, 0.8, count),
        "heavy": lambda count: 0.02 * random.standard_t(3, count),
        "two modes": lambda count: (
            random.normal(0, 0.01, count) + 0.2 * (random.random(count) < 0.3)
        ),
    }
    counts = itertools.islice(itertools.cycle([14, 16, 20, 40]), 1000)
    assert sum(bool(find(draws[kind](count))) for count in counts) <= 10


def test_changes_within_the_margin_are_none():
    levels = series(1, 40, (20, 0.6 * MARGIN), spread=1e-4)
    assert find(levels) == []
    assert [one.place for one in find_change_points(levels, 0.0)] == [20]


@pytest.mark.parametrize("place", range(0, 20, 3))
def test_one_outlier_neither_makes_a_change_nor_hides_one(place):
    for seed in range(10):
        flat, stepped = series(seed, 20), series(seed, 20, (10, 0.1))
        flat[place] += 0.5
        stepped[place] += 0.5
        assert find(flat) == []
        ((found, size),) = find(stepped)
        assert abs(found - 10) <= 1
        assert size == pytest.approx(0.1, abs=0.03)


def test_more_cases_need_more_runs_and_too_few_show_nothing():
    assert least_runs(0.01) == 14
    assert least_runs(0.01 / 60) == 21
    assert find(series(1, 13, (6, 2.0))) == []
    assert find(series(1, 20, (10, 2.0)), 0.01 / 60) == []
    assert len(find(series(1, 21, (10, 2.0)), 0.01 / 60)) == 1


@given(st.integers(0, 10**6), st.floats(-20, 20), st.integers(14, 30))
def test_units_do_not_matter_and_the_same_series_has_the_same_changes(seed, shift, count):
    levels = series(seed, count, (count // 2, 0.2))
    found = find(levels)
    assert find(levels.copy()) == found
    assert [place for place, _ in find(levels + shift)] == [place for place, _ in found]


def nights(folder: Path, factors: dict[str, list[float]], **how: object) -> None:
    """Write a run for each night, the cases of which take so many times as long as usual."""
    random = np.random.default_rng(5)
    for night in range(max(map(len, factors.values()))):
        run = write_run(folder / f"night-{night:02d}", benchmarks=MEASURED, predict=False, **how)
        started = (START + timedelta(days=night)).isoformat().replace("+00:00", "Z")
        write_meta(run.path, msgspec.structs.replace(run.meta, started_utc=started))
        rows = [
            msgspec.structs.replace(
                row, t_median_s=row.t_median_s * factor * random.lognormal(0, 0.003)
            )
            for row in run.rows()
            for factor in factors.get(row.case, factors["*"])[night : night + 1]
        ]
        (run.path / RESULTS_FILE).write_text(header_line(Row) + csv_lines(rows))


FIRST, SECOND = (case.id for case in cases(MEASURED)[:2])


def test_runs_of_a_folder_show_when_a_case_became_slower(tmp_path):
    nights(
        tmp_path, {"*": [1.0] * 20, FIRST: [1.0] * 12 + [1.2] * 8, SECOND: [1.0] * 10 + [0.8] * 10}
    )
    for night in range(12, 20):
        run = open_run(tmp_path / f"night-{night}")
        mpi = {**run.meta.measured.mpi, "version": "5.0.12"}
        made = msgspec.structs.replace(run.meta.measured, mpi=mpi)
        write_meta(run.path, msgspec.structs.replace(run.meta, made=made))
    history, runs = find_history(tmp_path)
    assert [run.meta.run for run in runs] == [f"night-{night:02d}" for night in range(20)]
    assert [(one.case, one.outcome) for one in history.changed()] == [
        (SECOND, Outcome.FASTER),
        (FIRST, Outcome.SLOWER),
    ]
    (slower,) = [one for one in history.cases if one.case == FIRST]
    (change,) = slower.changes
    assert (change.before, change.after) == ("night-11", "night-12")
    assert change.ratio == pytest.approx(1.2, rel=0.01)
    verdict = judge_history(history)
    assert verdict.outcome is Outcome.SLOWER
    assert verdict.about.cases == (FIRST,)
    assert [*history.moments()] == [("night-11", "night-12"), ("night-09", "night-10")]
    differences = find_differences(history, runs)
    lines = history_text(history, verdict, differences)
    assert "from night-12 on (before: night-11)" in lines
    assert any("MPI: version: before 5.0.11, after 5.0.12" in line for line in lines)
    page = build_history(history, verdict, differences, tmp_path / "page").read_text()
    assert "before 5.0.11, after 5.0.12" in page
    assert page.count("<figure") == 2
    assert {path.name for path in (tmp_path / "page" / "figures").iterdir()} == {
        f"history-{place}.{kind}" for place in (1, 2) for kind in ("svg", "png")
    }


def test_a_change_that_was_taken_back_is_no_slower_state(tmp_path):
    nights(tmp_path, {"*": [1.0] * 32, FIRST: [1.0] * 12 + [1.2] * 10 + [1.0] * 10})
    history, _ = find_history(tmp_path)
    (case,) = history.changed()
    assert [round(one.ratio, 1) for one in case.changes] == [1.2, 0.8]
    assert judge_history(history).outcome is Outcome.FASTER


def test_nothing_changed_and_the_change_that_would_have_shown_is_told(tmp_path):
    nights(tmp_path, {"*": [1.0] * 20})
    history, _ = find_history(tmp_path)
    assert history.changed() == []
    assert {one.outcome for one in history.cases} <= {Outcome.SAME, Outcome.CLEAR}
    assert all(1.01 < one.least_change < 1.04 for one in history.cases)
    assert judge_history(history).outcome.gravity == 0
    build_history(history, judge_history(history), {}, tmp_path)


def test_too_few_runs_cannot_tell_and_say_how_many_are_needed(tmp_path):
    nights(tmp_path, {"*": [1.0] * 3 + [3.0] * 3})
    history, _ = find_history(tmp_path)
    verdict = judge_history(history)
    assert verdict.outcome is Outcome.CANNOT_TELL
    assert verdict.reason == "6 runs; a change shows from 14 runs of a case on"


def test_damaged_runs_copies_and_other_origins_are_named_and_left_out(tmp_path):
    nights(tmp_path, {"*": [1.0] * 5})
    (tmp_path / "night-01" / "run.json").write_text("{")
    edited = open_run(tmp_path / "night-02")
    write_meta(edited.path, msgspec.structs.replace(edited.meta, files={RESULTS_FILE: "0" * 64}))
    other = open_run(tmp_path / "night-03")
    write_meta(other.path, msgspec.structs.replace(other.meta, origin=Origin.SIMULATED))
    write_run(tmp_path / "copy", benchmarks=MEASURED, predict=False)
    twin = open_run(tmp_path / "night-04")
    write_meta(tmp_path / "copy", twin.meta)
    (tmp_path / "latest").symlink_to("night-04")
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "ab.json").write_text("{}")
    history, _ = find_history(tmp_path)
    assert [one.run for one in history.runs] == ["night-00", "night-04"]
    assert {one.folder for one in history.left_out} == {
        "night-01", "night-02", "night-03", "night-04", "compared",
    }  # fmt: skip


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no run in it"):
        find_history(tmp_path)
    with pytest.raises(RequestError, match="name a folder"):
        find_history(tmp_path / "absent")


def test_the_command_prints_the_word_first_and_it_is_the_exit_code(tmp_path, capsys):
    nights(tmp_path, {"*": [1.0] * 20, FIRST: [1.0] * 10 + [1.2] * 10})
    assert run_command(["compare", "--history", str(tmp_path)]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "SLOWER: 1 of 17 cases is slower since its last change, most memcpy 64 B: 0.8"
    )
    assert last == f"page: {tmp_path / 'history.html'}"
    assert run_command(["compare", "--history", str(tmp_path), "--json", "--no-report"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"]["outcome"] == "SLOWER"
    (moment,) = found["moments"]
    assert moment["after"] == "night-10"
    assert len(found["cases"]) == 17


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--history", "{runs}", "{runs}/night-00"], "leave out A, B"),
        (["--history", "{runs}", "--by-label"], "leave out A, B"),
        (["--history", "{runs}/night-00"], "no run in it"),
        ([], "nothing to compare"),
    ],
)
def test_what_is_no_history_is_refused_in_one_line(tmp_path, capsys, arguments, words):
    nights(tmp_path, {"*": [1.0]})
    assert run_command(["compare", *(one.format(runs=tmp_path) for one in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert run_command(["compare", "--history", str(tmp_path), "--no-report"]) == 3
