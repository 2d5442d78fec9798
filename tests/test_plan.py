"""The plan is a value: stable ids, one shape a job, seeded order, nothing left out."""

import difflib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import run_command
from bench.core.errors import SuiteError
from bench.core.records import Case, Stage
from bench.machine.mpi import MpiInstall
from bench.measure import MEASUREMENTS
from bench.plan.plan import choose_calibration, expand, make_plan
from bench.plan.suite import load_suite, override_ranks, parse_suite, suite_names

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
HEAD = '[suite]\nname = "mine"\nseed = 3\n'
MIXED = f"""{HEAD}launches = 3
[[benchmark]]
name = "latency"
bytes = {{ from = "1 B", to = "4 KiB", per_octave = 1 }}
ranks = [2, 4]
[[benchmark]]
name = "memcpy"
bytes = {{ from = "1 B", to = "4 KiB", per_octave = 1 }}
[[benchmark]]
name = "matmul"
batch = {{ from = 1, to = 12, step = 1 }}
dtype = ["fp32", "fp64"]
threads = [0, 1]
"""


def plan_of(text: str, **more: int):
    return make_plan(parse_suite(text, "mine.toml"), **more)


def latency(*sizes: int) -> list[Case]:
    suite = parse_suite(
        f'{HEAD}[[benchmark]]\nname = "latency"\nbytes = {list(sizes)}\n', "mine.toml"
    )
    return list(expand(suite.blocks[0]))


def matmul(*batches: int, dtype: str = '"fp32"') -> list[Case]:
    suite = parse_suite(
        f'{HEAD}[[benchmark]]\nname = "matmul"\nbatch = {list(batches)}\ndtype = {dtype}\n',
        "mine.toml",
    )
    return list(expand(suite.blocks[0]))


# Ids.


def test_two_processes_make_the_same_plan_to_the_letter(tmp_path):
    (tmp_path / "mine.toml").write_text(MIXED, encoding="utf-8")
    printed = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "bench",
                "plan",
                "./mine.toml",
                "--launcher",
                "local",
                "--json",
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
        assert done.stderr == ""
        printed.add(done.stdout)
    assert len(printed) == 1
    assert json.loads(printed.pop())["rows"] == make_plan(parse_suite(MIXED, "m")).cases()


def test_an_id_names_the_size_and_what_is_off_its_default():
    cases = plan_of(
        f'{HEAD}[[benchmark]]\nname = "latency"\nbytes = ["8 B", "1 KiB"]\nranks = [2, 4]\n'
    )
    assert sorted(case.id for job in cases.jobs for case in job.cases) == [
        "latency/bytes=1024",
        "latency/bytes=1024/ranks=4",
        "latency/bytes=8",
        "latency/bytes=8/ranks=4",
    ]


@pytest.mark.parametrize("name", suite_names())
def test_ids_are_unique_and_tell_cases_apart(name):
    plan = make_plan(load_suite(name), launches=1)
    cases = [case for job in plan.jobs for case in job.cases]
    assert len({case.id for case in cases}) == len(cases)
    assert len({(case.benchmark, *case.axes.items()) for case in cases}) == len(cases)


def test_cases_that_several_blocks_ask_for_are_planned_once():
    block = '[[benchmark]]\nname = "latency"\nbytes = '
    plan = plan_of(f"{HEAD}{block}[8, 16]\n{block}[16, 32]\n{block}16\n")
    assert sorted(case.axes["bytes"] for job in plan.jobs for case in job.cases) == [8, 16, 32]


# Calibration.


@given(st.sets(st.integers(1, 2**31 - 1), min_size=1, max_size=60))
def test_at_most_a_third_of_the_sizes_calibrate_and_both_ends_do(sizes):
    cases = latency(*sorted(sizes))
    chosen = choose_calibration(cases)
    assert len(chosen) <= len(cases) / 3
    if len(sizes) < 6:
        assert not chosen
    else:
        assert len(chosen) == len(sizes) // 3
        ids = [case.id for case in cases]
        assert {ids[0], ids[-1]} <= chosen <= set(ids)


@pytest.mark.parametrize(
    ("said", "calibrated"), [("", 3), ("calibrate = true", 9), ("calibrate = false", 0)]
)
def test_a_block_says_whether_models_are_fitted_on_its_cases(said, calibrated):
    text = f"""[suite]
name = "s"
[[benchmark]]
name = "latency"
bytes = [8, 16, 32, 64, 128, 256, 512, 1024, 2048]
{said}
"""
    plan = make_plan(parse_suite(text, "s"))
    found = [job for job in plan.jobs if job.stage is Stage.CALIBRATE]
    assert sum(len(job.cases) for job in found) == calibrated
    assert plan.cases() == 9


def test_more_sizes_than_a_fit_can_split_are_refused():
    block = """[suite]
name = "s"
[[benchmark]]
name = "latency"
bytes = { from = "1 B", to = "64 MiB", per_octave = 1 }
calibrate = true
"""
    with pytest.raises(SuiteError, match="27 sizes; models are fitted on up to 24"):
        make_plan(parse_suite(block, "s"))


@given(st.sets(st.integers(1, 2**20), min_size=1, max_size=60))
def test_at_most_five_batches_calibrate_each_shape_and_type(batches):
    cases = matmul(*sorted(batches), dtype='["fp32", "fp64"]')
    chosen = choose_calibration(cases)
    for dtype in ("fp32", "fp64"):
        ids = [case.id for case in cases if case.axes["dtype"] == dtype]
        of_type = chosen & set(ids)
        assert len(of_type) <= min(5, len(ids) / 2)
        if of_type:
            assert {ids[0], ids[-1]} <= of_type
        if len(ids) >= 10:
            assert len(of_type) == 5


def test_a_suite_of_many_sizes_calibrates_on_no_more_than_a_fit_can_use():
    cases = latency(*range(1, 1001))
    chosen = choose_calibration(cases)
    assert len(chosen) == 24
    assert {cases[0].id, cases[-1].id} <= chosen


def test_calibration_sizes_lie_densest_where_libraries_switch_protocol():
    cases = latency(*(2**i for i in range(23)))
    chosen = choose_calibration(cases)
    octaves = sorted(i for i, case in enumerate(cases) if case.id in chosen)
    assert len(octaves) == 7
    assert octaves[0] == 0
    assert octaves[-1] == 22
    switching = [i for i in octaves if 10 <= i <= 16]
    assert len(switching) == 4
    assert all(b - a <= 2 for a, b in itertools.pairwise(switching))
    rest = [i for i in octaves if i <= 10], [i for i in octaves if i >= 16]
    assert all(b - a >= 4 for part in rest for a, b in itertools.pairwise(part))


def test_cases_that_differ_in_more_than_size_calibrate_apart():
    plan = plan_of(MIXED, launches=1)
    groups: Counter[tuple[object, ...]] = Counter()
    for job in plan.jobs:
        for case in job.cases:
            size = MEASUREMENTS[case.benchmark].size_axis
            rest = tuple(item for item in case.axes.items() if item[0] != size)
            groups[case.benchmark, rest] += job.stage is Stage.CALIBRATE
    assert sorted(groups.values()) == [4, 4, 4, 5, 5, 5, 5]


def test_a_suite_too_small_to_calibrate_measures_everything_as_targets():
    plan = plan_of(f'{HEAD}[[benchmark]]\nname = "latency"\nbytes = [1, 2, 4, 8, 16]\n')
    assert {job.stage for job in plan.jobs} == {Stage.TARGET}


def test_calibration_jobs_come_before_all_others():
    stages = [job.stage for job in plan_of(MIXED).jobs]
    assert stages == sorted(stages, key=list(Stage).index)


# Jobs.


def test_every_planned_case_is_in_exactly_one_job_of_every_launch():
    suite = parse_suite(MIXED, "mine.toml")
    every = {case.id for block in suite.blocks for case in expand(block)}
    plan = make_plan(suite)
    for launch in range(3):
        planned = [c.id for job in plan.jobs if job.launch == launch for c in job.cases]
        assert Counter(planned) == Counter(every)
    assert plan.cases() == 3 * len(every)


def test_a_job_holds_cases_of_one_world_size_and_thread_count():
    for job in plan_of(MIXED).jobs:
        assert {case.axes["ranks"] for case in job.cases} == {job.ranks}
        assert {case.axes.get("threads", 1) for case in job.cases} == {job.threads}


def test_one_launch_starts_no_more_jobs_than_there_are_shapes():
    plan = plan_of(MIXED)
    shapes = [(job.stage, job.launch, job.ranks, job.threads) for job in plan.jobs]
    assert len(set(shapes)) == len(shapes)
    assert len({job.id for job in plan.jobs}) == len(plan.jobs)


def test_the_place_of_a_case_counts_through_its_launch():
    plan = plan_of(MIXED)
    for launch in range(3):
        jobs = [job for job in plan.jobs if job.launch == launch]
        places = [job.first_order + i for job in jobs for i in range(len(job.cases))]
        assert places == list(range(len(places)))


def test_a_suite_in_a_hurry_warms_up_in_a_hurry():
    quick = plan_of(f'{HEAD}cap_s = 0.25\n[[benchmark]]\nname = "latency"\n').jobs[0].sampling
    long = plan_of(f'{HEAD}cap_s = 60\n[[benchmark]]\nname = "latency"\n').jobs[0].sampling
    assert (quick.cap_s, long.cap_s) == (0.25, 60)
    assert quick.warmup_cap_s < long.warmup_cap_s <= 2.0


# Order.


def order(text: str, launch: int, **more: int) -> list[str]:
    jobs = plan_of(text, **more).jobs
    return [case.id for job in jobs if job.launch == launch for case in job.cases]


def test_the_order_is_the_same_for_the_same_seed_and_another_for_another():
    assert order(MIXED, 0, seed=5) == order(MIXED, 0, seed=5)
    assert order(MIXED, 0, seed=5) != order(MIXED, 0, seed=6)
    assert sorted(order(MIXED, 0, seed=5)) == sorted(order(MIXED, 0, seed=6))


def test_no_two_launches_have_the_same_order():
    assert len({tuple(order(MIXED, launch)) for launch in range(3)}) == 3


def test_the_command_line_beats_the_seed_and_launches_of_the_suite():
    plan = plan_of(MIXED, launches=2, seed=9)
    assert (plan.launches, plan.seed) == (2, 9)
    assert {job.launch for job in plan.jobs} == {0, 1}
    assert plan_of(MIXED).seed == 3


def test_more_launches_leave_the_order_of_the_first_ones_alone():
    assert order(MIXED, 1, launches=2) == order(MIXED, 1, launches=3)


def test_ranks_on_the_command_line_beat_those_of_the_suite():
    plan = make_plan(override_ranks(parse_suite(MIXED, "mine.toml"), 3))
    assert {job.ranks for job in plan.jobs} == {3}
    assert {case.axes["ranks"] for job in plan.jobs for case in job.cases} == {3}


# The suites that come along.


def test_every_suite_that_comes_along_can_be_planned():
    files = (ROOT / "suites").glob("*.toml")
    assert sorted(file.stem for file in files) == suite_names()
    for file in files:
        assert make_plan(load_suite(str(file))).cases() > 0


def test_the_quick_suite_holds_every_benchmark_of_one_or_two_ranks_and_one_launch():
    plan = make_plan(load_suite("quick"))
    suites = [make_plan(load_suite(name)) for name in ("cluster", "collectives", "many")]
    of_many = {case.benchmark for suite in suites for job in suite.jobs for case in job.cases}
    cases = [case for job in plan.jobs for case in job.cases]
    on_devices = {"copy", "peer_copy", "verbs"}
    assert {case.benchmark for case in cases} == set(MEASUREMENTS) - of_many - on_devices
    assert plan.launches == 1


def test_the_full_suite_holds_every_benchmark():
    cases = [case for job in make_plan(load_suite("full")).jobs for case in job.cases]
    assert {case.benchmark for case in cases} == set(MEASUREMENTS)


@pytest.mark.parametrize("measured", ["latency", "bandwidth", "bibandwidth", "memcpy"])
def test_the_quick_suite_sweeps_from_a_byte_to_4_mib(measured):
    cases = [case for job in make_plan(load_suite("quick")).jobs for case in job.cases]
    sizes = sorted(int(c.axes["bytes"]) for c in cases if c.benchmark == measured)
    assert sizes[0] == 1
    assert sizes[-1] >= 4 * 2**20
    assert all(b <= 4 * a for a, b in itertools.pairwise(sizes))


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_the_quick_suite_has_nine_batches_of_every_type_and_tile_edges_among_them(dtype):
    cases = [case for job in make_plan(load_suite("quick")).jobs for case in job.cases]
    batches = {
        int(case.axes["batch"])
        for case in cases
        if case.benchmark == "matmul" and case.axes["dtype"] == dtype
    }
    assert len(batches) >= 9
    assert any({edge - 1, edge, edge + 1} <= batches for edge in (32, 64, 128))


@pytest.mark.parametrize("name", ["network", "matmul"])
def test_what_is_compared_is_launched_several_times(name):
    assert make_plan(load_suite(name)).launches >= 5


# What is printed, and what planning costs.

SMALL = """[suite]
name = "small"
launches = 2
seed = 1
cap_s = 1.0

[[benchmark]]
name = "latency"
bytes = { from = "1 B", to = "256 B", per_octave = 1 }

[[benchmark]]
name = "matmul"
batch = [1, 2, 3]
k = 64
n = 32
"""


def golden(name: str, text: str, folder: Path) -> None:
    """Compare with a stored text; a difference says how to accept it."""
    path = GOLDEN / name
    stored = path.read_text(encoding="utf-8") if path.is_file() else ""
    if stored != text:
        new = folder / name
        new.write_text(text, encoding="utf-8")
        lines = difflib.unified_diff(
            stored.splitlines(), text.splitlines(), "stored", "now", lineterm=""
        )
        pytest.fail("\n".join([f"{name} changed; if rightly, mv {new} {path}", *lines]))


def test_the_printed_plan_is_what_was_agreed(tmp_path, monkeypatch, capsys):
    fake = MpiInstall(
        family="openmpi",
        name="Open MPI",
        version=(5, 0, 11),
        mpirun="/opt/mpi/bin/mpirun",
        agrees=True,
    )
    monkeypatch.setattr("bench.run.resolve.find_mpi", lambda _mpirun: fake)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.executable", "/opt/python/bin/python")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("OMPI_MCA_btl", raising=False)
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    assert run_command(["plan", str(tmp_path / "small.toml")]) == 0
    golden("plan-small.txt", capsys.readouterr().out, tmp_path)


def planning_s(cases: int) -> float:
    """Return the median seconds of planning so many cases."""
    suite = parse_suite(
        f'{HEAD}[[benchmark]]\nname = "latency"\nbytes = {{ from = 1, to = {cases}, step = 1 }}\n',
        "mine.toml",
    )
    times = []
    for _ in range(5):
        begin = time.process_time()  # what others do meanwhile is not in it
        make_plan(suite)
        times.append(time.process_time() - begin)
    return min(times)


def test_twice_the_cases_cost_about_twice_the_time_to_plan():
    small, large = 3000, 6000
    # A busy machine slows one of both now and then, a cost that grows with the square always.
    ratios = []
    for _ in range(3):
        ratios.append(planning_s(large) / planning_s(small))
        if ratios[-1] < 3:
            return
    pytest.fail(f"{large} cases take {ratios} times as long as {small}")
