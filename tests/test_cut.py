"""What a run is cut back to before it goes on: whatever a crash left, rows have their samples."""

import os
from pathlib import Path

import msgspec
import pytest
from begun import begun
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import RequestError
from bench.core.events import CaseEnded, PlaceEnded
from bench.core.records import Case, Job, Origin, Row, Sample, Stage, Status
from bench.run.cut import cut_back
from bench.run.resume import is_final
from bench.store.files import JOURNAL_FILE, RESULTS_FILE, SAMPLES_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.recorder import Recorder

RANKS, SAMPLES = 2, 3
CASES = [f"c{number}" for number in range(5)]


def row(case: str, status: Status = Status.OK, reason: str | None = None) -> Row:
    return Row(
        run="r",
        origin=Origin.MEASURED,
        job="j",
        attempt=0,
        launch=0,
        order=0,
        case=case,
        benchmark="latency",
        status=status,
        reason=reason,
        samples=SAMPLES if status is Status.OK else None,
    )


def samples(case: str) -> list[Sample]:
    return [
        Sample(case=case, launch=0, sample=i, rank=rank, seconds=1e-6)
        for rank in range(RANKS)
        for i in range(SAMPLES)
    ]


def written(folder: Path, rows: list[Row]) -> RunFolder:
    """Return a run that has these rows, as a runner that was killed leaves it."""
    cases = tuple(Case(case, "latency", {"bytes": 8}) for case in CASES)
    recorder = Recorder(begun(folder, [Job("j", Stage.TARGET, 0, RANKS, 1, cases)]))
    for one in rows:
        ended = CaseEnded(case=one.case, status=one.status, sampled_ranks=RANKS)
        recorder.event("j", 0, ended)
        recorder.rows([one], samples(one.case) if one.samples else [])
    return open_run(folder)


PLACES = ("n0", "n1", "n2")


def written_places(folder: Path) -> tuple[RunFolder, list[Row]]:
    """Return a run of two cases that three nodes measured, with unlike numbers of samples."""
    cases = tuple(Case(case, "matmul", {"batch": 8}) for case in CASES[:2])
    recorder = Recorder(begun(folder, [Job("j", Stage.TARGET, 0, 3, 1, cases)]))
    every = []
    for name in CASES[:2]:
        told = [
            Sample(case=name, launch=0, sample=i, rank=rank, seconds=1e-6)
            for rank in range(len(PLACES))
            for i in range(SAMPLES + rank)
        ]
        rows = [
            msgspec.structs.replace(row(name), src=src, samples=SAMPLES + rank)
            for rank, src in enumerate(PLACES)
        ]
        ended = CaseEnded(
            case=name,
            status=Status.OK,
            sampled_ranks=len(PLACES),
            sample_count=len(told),
            places=tuple(
                PlaceEnded(host=src, ranks=(rank,), status=Status.OK)
                for rank, src in enumerate(PLACES)
            ),
        )
        recorder.event("j", 0, ended)
        recorder.rows(rows, told)
        every += rows
    return open_run(folder), every


def test_rows_of_all_places_stay_with_all_their_samples(tmp_path):
    run, rows = written_places(tmp_path)
    assert cut_back(run, is_final) == rows == open_run(tmp_path).rows()
    assert len(list(open_run(tmp_path).samples())) == 2 * (3 * SAMPLES + 3)


@given(data=st.data())
@settings(deadline=None)
def test_rows_of_places_torn_off_anywhere_cost_their_case_and_no_other(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run, rows = written_places(folder)
    path = folder / RESULTS_FILE
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    size = data.draw(st.integers(ends[0], len(content)))
    path.write_bytes(content[:size])
    whole = sum(end <= size for end in ends[1:])
    expected = rows[: whole // len(PLACES) * len(PLACES)]
    assert cut_back(run, is_final) == expected == open_run(folder).rows()
    assert {sample.case for sample in open_run(folder).samples()} == {r.case for r in expected}


def test_a_place_that_is_not_final_costs_the_rows_of_its_case(tmp_path):
    run, rows = written_places(tmp_path)
    assert cut_back(run, lambda one: (one.case, one.src) != (CASES[0], "n1")) == rows[3:]


@given(data=st.data())
@settings(deadline=None)
def test_samples_cut_anywhere_cost_the_rows_that_lack_theirs_and_no_other(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rows = [row(case) for case in CASES]
    run = written(folder, rows)
    path = folder / SAMPLES_FILE
    content = path.read_bytes()
    size = data.draw(st.integers(0, len(content)))
    zeros = data.draw(st.integers(0, 3))
    path.write_bytes(content[:size] + bytes(zeros))
    kept = cut_back(run, is_final)
    lines = content[:size].count(b"\n")
    whole = max(lines - 1, 0) // (RANKS * SAMPLES)
    assert kept == rows[:whole] == open_run(folder).rows()
    assert [sample.case for sample in open_run(folder).samples()] == [
        one.case for one in kept for _ in range(RANKS * SAMPLES)
    ]


@given(size=st.integers(0, 4000), zeros=st.integers(0, 4100))
@settings(deadline=None)
def test_rows_cut_anywhere_leave_no_samples_without_a_row(size, zeros, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rows = [row(case) for case in CASES]
    run = written(folder, rows)
    path = folder / RESULTS_FILE
    content = path.read_bytes()
    path.write_bytes(content[:size] + bytes(zeros))
    kept = cut_back(run, is_final)
    assert kept == rows[: len(kept)]
    assert content.startswith(path.read_bytes())
    again = open_run(folder)
    assert len(again.samples()) == len(kept) * RANKS * SAMPLES
    # What goes on then is read as if nothing had happened.
    Recorder(again).rows([row("c9")], [])
    assert open_run(folder).rows() == [*kept, row("c9")]


def test_a_whole_run_is_not_written_anew(tmp_path):
    run = written(tmp_path, [row(case) for case in CASES])
    paths = [tmp_path / name for name in (RESULTS_FILE, SAMPLES_FILE, JOURNAL_FILE)]
    before = [(path.stat().st_ino, path.read_bytes()) for path in paths]
    cut_back(run, is_final)
    assert [(path.stat().st_ino, path.read_bytes()) for path in paths] == before


def test_rows_in_the_middle_that_are_measured_again_leave_the_samples_alone(tmp_path):
    rows = [row(case) for case in CASES]
    rows[2] = row(CASES[2], Status.FAILED, "the job was killed")
    run = written(tmp_path, rows)
    inode = (tmp_path / SAMPLES_FILE).stat().st_ino
    assert cut_back(run, is_final) == [*rows[:2], *rows[3:]] == open_run(tmp_path).rows()
    assert (tmp_path / SAMPLES_FILE).stat().st_ino == inode
    assert len(open_run(tmp_path).samples()) == 4 * RANKS * SAMPLES


def test_a_case_is_dropped_whole_with_its_samples_where_one_of_its_rows_goes(tmp_path):
    rows = [row(case) for case in CASES]
    rows.insert(2, row(CASES[1], Status.FAILED, "the job was killed"))
    run = written(tmp_path, rows)
    kept = cut_back(run, is_final)
    assert [one.case for one in kept] == ["c0", "c2", "c3", "c4"]
    assert {sample.case for sample in open_run(tmp_path).samples()} == {"c0", "c2", "c3", "c4"}


@pytest.mark.parametrize("case", ["a,b", 'say "x"', "µ"])
def test_a_case_of_any_name_is_found_in_the_samples(case, tmp_path):
    run = written(tmp_path, [row("c0"), row(case), row("c1")])
    assert [one.case for one in cut_back(run, is_final)] == ["c0", case, "c1"]


def test_a_journal_that_tells_nothing_costs_the_last_row_alone(tmp_path):
    """What is not known to be whole is measured again; what was written before it is whole."""
    run = written(tmp_path, [row(case) for case in CASES])
    journal = tmp_path / JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    assert [one.case for one in cut_back(run, is_final)] == CASES[:-1]


def test_a_damaged_file_is_named_and_nothing_is_cut(tmp_path):
    run = written(tmp_path, [row(case) for case in CASES])
    path = tmp_path / RESULTS_FILE
    path.write_bytes(path.read_bytes().replace(b"c1", b'"c1', 1))
    before = path.read_bytes()
    with pytest.raises(RequestError, match=rf"{RESULTS_FILE}, line 3 .*quote"):
        cut_back(run, is_final)
    assert path.read_bytes() == before


def test_what_is_dropped_is_on_the_disk_before_anything_is_appended(tmp_path, monkeypatch):
    """A cut that a loss of power undoes would leave rows behind others that replace them."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    run = written(tmp_path, [row(case) for case in CASES])
    with (tmp_path / RESULTS_FILE).open("ab") as file:
        file.write(b"torn")
    inode = (tmp_path / RESULTS_FILE).stat().st_ino
    cut_back(run, is_final)
    assert inode in synced
