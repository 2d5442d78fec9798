"""Samples of one case are found among all, whatever its id, and cost little of what all cost."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provekit.large import write_large
from synthetic import write_run

from bench.core.errors import RequestError
from bench.core.records import Sample
from bench.judge import samples
from bench.judge.noise import NoiseFloor
from bench.judge.samples import load_samples, samples_of
from bench.judge.table import load, measured
from bench.store import samples as store
from bench.store.files import SAMPLES_FILE
from bench.store.samples import find_samples
from bench.store.tables import csv_header, csv_lines, csv_text

IDS = st.sampled_from(["latency/bytes=8", "latency/bytes=80", "a,b", 'a "quoted" one', "case", "a"])
BLOCKS = st.lists(st.tuples(IDS, st.integers(0, 2), st.integers(1, 4)), max_size=8)


def samples_in(blocks: list[tuple[str, int, int]]) -> list[Sample]:
    return [
        Sample(
            case=case, launch=launch, sample=number, rank=number % 2, seconds=1e-7 * (number + 1)
        )
        for case, launch, count in blocks
        for number in range(count)
    ]


def write(path: Path, samples: list[Sample]) -> None:
    path.write_text(csv_text([csv_header(Sample)]) + csv_lines(samples), encoding="utf-8")


def rows_of(found: store.Samples) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in found), strict=True))


@given(BLOCKS, st.integers(1, 200))
def test_samples_of_a_case_are_those_of_the_whole_file(tmp_path_factory, blocks, piece):
    path = tmp_path_factory.mktemp("run") / SAMPLES_FILE
    taken = samples_in(blocks)
    write(path, taken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_PIECE_BYTES", piece)
        for case in {"latency/bytes=8", "a", *(case for case, *_ in blocks)}:
            wanted = [(s.launch, s.sample, s.rank, s.seconds) for s in taken if s.case == case]
            assert rows_of(find_samples(path, case)) == wanted


@pytest.mark.parametrize("torn", [b"latency/bytes=8,0,9,0", b"\0\0\nlatency/bytes=8,0,9,0,1.0\n"])
def test_what_a_crash_leaves_is_no_sample(torn, tmp_path):
    path = tmp_path / SAMPLES_FILE
    write(path, samples_in([("latency/bytes=8", 0, 3)]))
    path.write_bytes(path.read_bytes() + torn)
    assert find_samples(path, "latency/bytes=8").sample.tolist() == [0, 1, 2]
    assert len(find_samples(tmp_path / "absent", "latency/bytes=8").rank) == 0


def test_a_damaged_sample_is_refused_and_those_of_others_are_not_read(tmp_path):
    path = tmp_path / SAMPLES_FILE
    write(path, samples_in([("a", 0, 3), ("b", 0, 3)]))
    path.write_text(path.read_text().replace("a,0,1,1,", "a,0,one,1,"))
    assert len(find_samples(path, "b").rank) == 3
    with pytest.raises(RequestError, match="samples of a"):
        find_samples(path, "a")


def test_all_samples_have_typed_columns_and_all_their_digits(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency", "memcpy"], samples=7)
    found, wanted = load_samples(run), run.samples()
    assert [str(found[name].dtype) for name in found] == [
        "category", "int32", "int32", "int32", "float64"
    ]  # fmt: skip
    assert list(found.itertuples(index=False, name=None)) == [
        msgspec.structs.astuple(sample) for sample in wanted
    ]
    (run.path / SAMPLES_FILE).unlink()
    assert load_samples(run).empty


def test_a_damaged_line_among_all_samples_is_refused_with_its_number(tmp_path):
    run = write_run(tmp_path / "r", benchmarks=["latency"], samples=7)
    path = run.path / SAMPLES_FILE
    path.write_text(path.read_text().replace(",3,0,", ",three,0,", 1))
    with pytest.raises(RequestError, match="row 5"):
        load_samples(run)


def test_samples_are_aggregated_as_the_row_is(tmp_path, monkeypatch):
    run = write_run(tmp_path / "r", benchmarks=["latency", "memcpy"], launches=2, samples=5)
    lines = measured(load(run))
    # Found one by one, and met in pieces that break in the middle of a launch.
    monkeypatch.setattr(samples, "_AT_A_TIME", 7)
    for chosen in (lines, lines.head(4)):
        found = samples_of(run, chosen)
        assert found.keys() == set(zip(chosen["case"], chosen["launch"], strict=True))
        for (case, launch), seconds in found.items():
            by_sample = [s for s in run.samples() if (s.case, s.launch) == (case, launch)]
            slowest = [max(s.seconds for s in by_sample if s.sample == i) for i in range(5)]
            first = [s.seconds for s in by_sample if s.rank == 0]
            benchmark = lines["benchmark"][lines["case"] == case].iloc[0]
            assert seconds.tolist() == (slowest if benchmark == "memcpy" else first)


@settings(max_examples=20)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=7))
def test_a_launch_is_held_against_the_median_of_the_others(tmp_path_factory, times):
    run = write_run(tmp_path_factory.mktemp("r") / "r", benchmarks=["message_rate"], launches=7)
    lines = measured(load(run))
    lines = lines[lines["case"] == lines["case"].iloc[0]].head(len(times)).assign(t_median_s=times)
    floor = NoiseFloor(lines, run)
    for place, (case, launch) in enumerate(zip(lines["case"], lines["launch"], strict=True)):
        others = times[:place] + times[place + 1 :]
        found, kind, _ = floor.of([(case, launch)])
        if others:
            assert kind == "over launches"
            assert found == pytest.approx(abs(times[place] / np.median(others) - 1))


def test_one_case_costs_little_of_what_all_samples_cost(tmp_path, monkeypatch):
    run = write_large(tmp_path / "run", cases=400, samples=500)
    monkeypatch.setattr(store, "_PIECE_BYTES", 1 << 16)
    case = run.plan[0].cases[200].id

    def peak(act) -> int:
        tracemalloc.start()
        act()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    path = run.path / SAMPLES_FILE
    assert len(find_samples(path, case).seconds) == 500
    whole = peak(lambda: load_samples(run))
    assert peak(lambda: find_samples(path, case)) < whole / 4


def test_the_largest_run_is_read_within_its_memory(tmp_path):
    run = write_large(tmp_path / "run", cases=4000, launches=10)
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from bench.judge.table import load\n"
        "from bench.store.folder import open_run\n"
        "run = open_run(Path(sys.argv[1]))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(len(load(run)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(run.path)], capture_output=True, text=True, check=True
    )
    lines, kib = map(int, done.stdout.split())
    assert lines == 40_000
    # A dictionary for each row took 3.9 KB of it, and a million rows are to fit 1.5 GB.
    assert 1024 * kib / lines < 1300
