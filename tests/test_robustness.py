"""Nothing is lost and nothing hangs: full and read-only disks, clocks that jump, silent ranks."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from begun import begun_plan
from hypothesis import given
from hypothesis import strategies as st
from left import left_running

from bench.contracts import LaunchCommand, Launcher
from bench.core.clock import RunClock, earlier, utc_seconds, utc_text
from bench.core.errors import StorageError
from bench.core.events import Alive, CaseEnded, CaseStarted, Done, Facts, RankFacts, encode
from bench.core.records import Case, Finding, Job, Origin, Prediction, Row, Sample, Sampling, Status
from bench.judge.score import score
from bench.launch.local import LocalLauncher
from bench.launch.mpirun import MpirunLauncher
from bench.machine.facts import NodeFacts
from bench.machine.mpi import find_mpi
from bench.machine.survey import Survey
from bench.plan.plan import Plan, make_plan
from bench.plan.suite import parse_suite
from bench.predict.fit import predict_targets
from bench.run import deadline
from bench.run.cut import cut_back
from bench.run.deadline import case_deadline_s
from bench.run.resume import is_final
from bench.run.runner import Runner
from bench.run.silence import ask_ranks, find_silent_hosts
from bench.store.files import FINDINGS_FILE, JOURNAL_FILE, LOGS_FOLDER, RESULTS_FILE, RUN_FILE
from bench.store.folder import open_run
from bench.store.recorder import Recorder

ROOT = Path(__file__).parent.parent
LAB = [sys.executable, str(ROOT / "scripts" / "lab")]
LAB_STATE = Path(os.environ["CLUSTERBENCH_LAB"])
HERE = socket.gethostname()
LONGEST_S = 600
COPIES = """
[suite]
name = "endure"
cap_s = 0.02
[[benchmark]]
name = "memcpy"
bytes = { from = "64 B", to = "1 MiB", per_octave = 5 }
"""
FEW_COPIES = COPIES.replace("per_octave = 5", "per_octave = 1")
PAIRS = """
[suite]
name = "endure"
cap_s = 0.05
[[benchmark]]
name = "latency"
bytes = { from = "1 B", to = "64 KiB", per_octave = 0.5 }
"""


# A run in this process.


class Watcher:
    """Follows a run, and does something when a case of a number begins."""

    def __init__(self, number: int = -1, act: Callable[[], None] = lambda: None) -> None:
        self._begun = 0
        self._number = number
        self._act = act

    def act_at_next(self) -> None:
        self._number = self._begun + 1

    def started(self, case: Case, left_s: float) -> None:
        self._begun += 1
        if self._begun == self._number:
            self._act()

    def ended(self, rows: Sequence[Row]) -> None: ...

    def waiting(self, left_s: float) -> None: ...

    def queued(self, where: str) -> None: ...

    def show(self, line: str) -> None: ...

    def close(self) -> None: ...


def run_here(
    folder: Path,
    suite: str,
    launcher: Launcher,
    *,
    watcher: Watcher | None = None,
    clock: RunClock | None = None,
    between: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Run a suite; `between` is called when its calibration is over."""

    def predict(plan: Plan, rows: Sequence[Row], frozen_at: str) -> list[Prediction]:
        between()
        return predict_targets(plan, rows, frozen_at)

    plan = make_plan(parse_suite(suite, "endure"))
    (folder / LOGS_FOLDER).mkdir(parents=True)
    recorder = Recorder(begun_plan(folder, plan), clock=clock)
    Runner(plan, launcher, recorder, watcher or Watcher(), predict).run()
    recorder.end("complete")
    recorder.finish()
    rows = open_run(folder).rows()
    assert {(row.case, row.launch) for row in rows} == {
        (case.id, job.launch) for job in plan.jobs for case in job.cases
    }
    assert len(rows) == plan.cases()
    return rows


def rank_pids(folder: Path) -> list[int]:
    """Return the ranks of the newest job."""
    lines = [json.loads(line) for line in (folder / JOURNAL_FILE).read_bytes().splitlines()]
    facts = [line["event"] for line in lines if line.get("event", {}).get("type") == "facts"]
    return [rank["pid"] for rank in facts[-1]["ranks"]]


# The disk.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB in memory; never the real disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "clusterbench-test", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*tokens: object) -> None:
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    done = subprocess.run(["mount", *map(str, tokens)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this root may mount nothing: {done.stderr.strip()}")


def fill(disk: Path, leave: int = 0) -> Path:
    """Write until nothing fits, then make room for some bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(max(0, file.tell() - leave))
    return ballast


def clusterbench(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "bench", *map(str, arguments), "--no-report"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def complaint(said: str) -> str:
    """Return the one line with which clusterbench says why it ends."""
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if line.startswith("clusterbench:"))
    return line


def whole_rows(folder: Path) -> list[bytes]:
    return (folder / RESULTS_FILE).read_bytes().splitlines(keepends=True)[1:]


def wait_for_rows(parent: Path, count: int) -> Path:
    """Return the folder of the run below `parent`, once so many rows are there."""
    end_s = time.monotonic() + LONGEST_S
    while time.monotonic() < end_s:
        for file in parent.glob(f"*-endure-*/{RESULTS_FILE}"):
            if file.read_bytes().count(b"\n") > count:
                return file.parent
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.mark.slow
def test_a_run_whose_disk_fills_says_so_in_a_line_and_is_resumed(disk, tmp_path):
    suite = tmp_path / "endure.toml"
    suite.write_text(COPIES)
    process = clusterbench("run", suite, "--launcher", "local", "-o", disk)
    folder = wait_for_rows(disk, 3)
    ballast = fill(disk)
    _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 4
    assert "No space left" in complaint(said)
    assert f"clusterbench resume {folder}" in complaint(said)
    run = open_run(folder)
    kept = whole_rows(folder)
    assert len(run.rows()) == len(kept) >= 3
    assert {row.status for row in run.rows()} == {Status.OK}
    assert run.missing()

    again = clusterbench("resume", folder)
    _, said = again.communicate(timeout=LONGEST_S)
    assert again.returncode == 4
    assert "No space left" in complaint(said)
    assert whole_rows(folder) == kept

    ballast.unlink()
    last = clusterbench("resume", folder)
    _, said = last.communicate(timeout=LONGEST_S)
    assert last.returncode == 0, said
    run = open_run(folder)
    assert whole_rows(folder)[: len(kept)] == kept
    assert not run.missing()
    assert set(Counter(row.case for row in run.rows()).values()) == {1}
    assert len(run.samples()) == sum(row.samples or 0 for row in run.rows())
    assert run.meta.outcome == "complete"


def write_run(folder: Path, plan: Plan, written: list[Row]) -> None:
    """Write a run as a runner would, noting which rows were taken."""
    recorder = Recorder(begun_plan(folder, plan))
    try:
        for job in plan.jobs:
            recorder.log_file(job.id, 0)
            for case in job.cases:
                recorder.note("filler", job.id, 0, text="x" * 700)
                ended = CaseEnded(case=case.id, status=Status.OK, sampled_ranks=1)
                recorder.event("j", 0, ended)
                recorder.rows([a_row(case.id)], some_samples(case.id))
                written.append(a_row(case.id))
        recorder.save_findings()
    except StorageError:
        with pytest.raises(StorageError):  # Nothing follows what is missing.
            recorder.note("end", "j", 0)
        raise
    finally:
        recorder.end("interrupted")
        recorder.finish()


def test_wherever_the_disk_ends_every_file_stays_readable(disk):
    """Each round leaves a page more, so that another write is the first to find no room."""
    plan = make_plan(parse_suite(COPIES, "endure"))
    errors = []
    for pages in range(40):
        folder = disk / f"run-{pages}"
        (folder / LOGS_FOLDER).mkdir(parents=True)
        ballast = fill(disk, leave=4096 * pages)
        written: list[Row] = []
        try:
            write_run(folder, plan, written)
        except StorageError as error:
            errors.append(str(error))
        ballast.unlink()
        if (folder / RUN_FILE).exists():
            run = open_run(folder)
            assert run.rows() == written
            assert cut_back(run, is_final) == written
            assert len(run.samples()) == 3 * len(written)
            lines = (folder / JOURNAL_FILE).read_bytes().splitlines()
            assert all(json.loads(line) for line in lines)
        assert not list(folder.glob(".*"))
        shutil.rmtree(folder)
    assert any("start the run again" in error for error in errors)
    assert any("clusterbench resume" in error for error in errors)
    assert len(written) == plan.cases()


def a_row(case: str) -> Row:
    return Row(
        run="r",
        origin=Origin.MEASURED,
        job="j",
        attempt=0,
        launch=0,
        order=0,
        case=case,
        benchmark="memcpy",
        status=Status.OK,
        reason='a "quoted", and\nbroken word',
        samples=3,
    )


def some_samples(case: str) -> list[Sample]:
    return [Sample(case=case, launch=0, sample=i, rank=0, seconds=1e-6) for i in range(3)]


def test_a_replaced_file_is_the_old_one_where_the_disk_is_full(disk):
    plan = make_plan(parse_suite(COPIES, "endure"))
    (disk / LOGS_FOLDER).mkdir()
    recorder = Recorder(begun_plan(disk, plan))
    before = (disk / FINDINGS_FILE).read_bytes()
    fill(disk)
    recorder.finding(Finding(name="long", level="note", text="x" * 100_000))
    with pytest.raises(StorageError, match="free some space"):
        recorder.save_findings()
    recorder.end("interrupted")
    recorder.finish()
    assert (disk / FINDINGS_FILE).read_bytes() == before


def test_a_read_only_folder_is_refused_before_any_job(tmp_path):
    suite = tmp_path / "endure.toml"
    suite.write_text(FEW_COPIES)
    first = clusterbench("run", suite, "--launcher", "local", "-o", tmp_path / "results")
    first.communicate(timeout=LONGEST_S)
    (folder,) = (tmp_path / "results").glob("*-endure-*")
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    mount("--bind", tmp_path / "results", sealed)
    try:
        mount("-o", "remount,bind,ro", sealed)
        for arguments in (
            ("run", suite, "--launcher", "local", "-o", sealed),
            ("run", suite, "--launcher", "local", "-o", sealed / "deep" / "er"),
            ("resume", sealed / folder.name),
        ):
            process = clusterbench(*arguments)
            _, said = process.communicate(timeout=LONGEST_S)
            assert process.returncode == 2, said
            assert "ead-only" in complaint(said)
    finally:
        subprocess.run(["umount", sealed], check=True)
    assert list((tmp_path / "results").glob("*-endure-*")) == [folder]


# The clock.


class WallClock:
    """The time of day of a machine on which somebody sets it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s

    def set_by(self, seconds: float) -> None:
        self.ahead_s += seconds


@pytest.mark.parametrize("step_s", [-3600.0, 86_400.0])
def test_a_clock_that_is_set_in_mid_run_moves_no_row(step_s, tmp_path):
    wall = WallClock()
    rows = run_here(
        tmp_path / "r",
        FEW_COPIES,
        LocalLauncher(),
        watcher=Watcher(6, lambda: wall.set_by(step_s)),
        clock=RunClock(wall),
        between=lambda: wall.set_by(step_s),
    )
    run = open_run(tmp_path / "r")
    assert {row.status for row in rows} == {Status.OK}
    began = {row.case: row.started_utc or "" for row in rows}
    assert run.predictions()
    assert all(p.frozen_at < began[p.case] for p in run.predictions())
    assert score(run).complete
    entries = [json.loads(x) for x in (run.path / JOURNAL_FILE).read_bytes().splitlines()]
    times = [entry["time"] for entry in entries]
    assert times == sorted(times)
    assert utc_seconds(times[-1]) - utc_seconds(times[0]) < 600
    (finding,) = (found for found in run.findings if found.name == "clock-step")
    assert ("behind" if step_s < 0 else "ahead of") in finding.text


def test_a_run_that_is_resumed_on_an_earlier_clock_goes_on_where_it_stopped(tmp_path):
    wall = WallClock()
    (tmp_path / LOGS_FOLDER).mkdir()
    run = begun_plan(tmp_path, make_plan(parse_suite(COPIES, "endure")))
    recorder = Recorder(run, clock=RunClock(wall))
    recorder.note("start", "j", 0)
    frozen = recorder.now()
    recorder.note("end", "j", 0)
    recorder.end("interrupted")
    recorder.finish()
    wall.set_by(-3600)
    recorder = Recorder(open_run(tmp_path), clock=RunClock(wall))
    assert recorder.now() > frozen
    recorder.end("complete")
    recorder.finish()
    assert any(found.name == "clock-step" for found in open_run(tmp_path).findings)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(-1e6, 1e6)), min_size=1, max_size=20),
)
def test_time_of_a_run_passes_as_it_does_whatever_is_set(steps: list[tuple[float, float]]) -> None:
    now = {"wall": 1.7e9, "monotonic": 50.0}
    clock = RunClock(lambda: now["wall"], lambda: now["monotonic"])
    before = clock.now_s()
    for passed, step in steps:
        now["wall"] += passed + step
        now["monotonic"] += passed
        assert clock.now_s() - before == pytest.approx(passed, abs=1e-6)
        before = clock.now_s()
    assert clock.machine_ahead_s() == pytest.approx(sum(step for _, step in steps), abs=1e-3)


@given(st.floats(1e9, 4e9), st.floats(0, 1e5))
def test_times_are_read_as_they_were_written(moment_s: float, seconds: float) -> None:
    text = utc_text(moment_s)
    assert utc_seconds(text) == pytest.approx(moment_s, abs=2e-6)
    assert utc_seconds(earlier(text, seconds)) == pytest.approx(moment_s - seconds, abs=1e-5)


# Deadlines.

MESSAGE = Case("latency/bytes=8", "latency", {"bytes": 8, "ranks": 2})
WINDOW = Case("bandwidth/bytes=8", "bandwidth", {"bytes": 8, "ranks": 2, "window": 64})


def test_a_deadline_follows_the_predicted_upper_time() -> None:
    rule = Sampling()
    assert case_deadline_s(MESSAGE, rule, 1e-6) == 30
    assert case_deadline_s(MESSAGE, rule, 20.0) >= 10 * 20
    # A window of 64 messages is sampled as a whole.
    assert case_deadline_s(WINDOW, rule, 1.0) >= 10 * 64
    assert case_deadline_s(MESSAGE, rule, None) == 10 * (rule.cap_s + rule.warmup_cap_s)


@given(st.floats(0.01, 300), st.floats(1e-9, 100) | st.none())
def test_no_case_that_keeps_its_caps_overruns(cap_s: float, high_s: float | None) -> None:
    rule = Sampling(cap_s=cap_s, warmup_cap_s=min(2.0, 2 * cap_s))
    needed_s = 3 * (rule.warmup_cap_s + cap_s + 6 * (high_s or 0.0))
    assert case_deadline_s(MESSAGE, rule, high_s) >= max(30.0, needed_s)


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for cases of some tenths of a second, on a busy machine too."""
    monkeypatch.setattr(deadline, "LEAST_CASE_DEADLINE_S", 10.0)


def check_stopped_rank(folder: Path, suite: str, launcher: Launcher, rank: int) -> None:
    stopped: list[psutil.Process] = []

    def stop() -> None:
        stopped.append(psutil.Process(rank_pids(folder)[rank]))
        stopped[0].suspend()

    watcher = Watcher(act=stop)
    rows = run_here(folder, suite, launcher, watcher=watcher, between=watcher.act_at_next)
    (failed,) = (row for row in rows if row.status is not Status.OK)
    assert f"rank {rank} on {HERE} is stopped" in (failed.reason or "")
    assert max(row.attempt for row in rows) == 1
    assert not left_running(stopped)


@pytest.mark.slow
@pytest.mark.usefixtures("short_deadlines")
def test_a_stopped_process_costs_one_row_and_is_named_and_ended(tmp_path):
    check_stopped_rank(tmp_path / "r", FEW_COPIES, LocalLauncher(), 0)


@pytest.mark.mpi
@pytest.mark.usefixtures("short_deadlines")
def test_a_stopped_rank_is_named_and_ended_with_all_others(tmp_path):
    mpi = find_mpi()
    assert mpi is not None
    launcher = MpirunLauncher(mpi, len(os.sched_getaffinity(0)))
    check_stopped_rank(tmp_path / "r", PAIRS, launcher, 1)


class Talker:
    """A launcher whose job begins a case, and then says what is no event for ever."""

    name = "talker"
    most_ranks = None
    reaches_hosts = False
    nodes = None

    def place(self, _ranks: int) -> None:
        """Nobody knows where."""

    def __init__(self, *events: bytes) -> None:
        self._said = b"".join(events)

    def command(self, job: Job) -> LaunchCommand:
        said = self._said or encode(CaseStarted(job.cases[0].id))
        program = (
            "import sys, time\n"
            f"sys.stdout.buffer.write({said!r}); sys.stdout.flush()\n"
            "while True: print('still here', flush=True); time.sleep(0.2)"
        )
        return LaunchCommand((sys.executable, "-P", "-c", program), {})


def test_chatter_is_no_sign_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(deadline, "LEAST_CASE_DEADLINE_S", 1.0)
    one = FEW_COPIES.replace('{ from = "64 B", to = "1 MiB", per_octave = 1 }', "[64]")
    (row,) = run_here(tmp_path / "r", one, Talker())
    assert row.status is Status.FAILED
    assert "no sign of life" in (row.reason or "")


class SlowSpeaker(Talker):
    """A launcher whose case reports for six seconds that it goes on, and then falls silent."""

    def command(self, job: Job) -> LaunchCommand:
        case = job.cases[0].id
        program = (
            "import sys, time\n"
            "def say(line): sys.stdout.buffer.write(line); sys.stdout.flush(); time.sleep(0.3)\n"
            f"say({encode(CaseStarted(case))!r})\n"
            f"for _ in range(20): say({encode(Alive(case))!r})\n"
            "time.sleep(100)"
        )
        return LaunchCommand((sys.executable, "-P", "-c", program), {})


def test_a_case_of_long_operations_may_outlast_its_deadline_as_long_as_it_tells(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(deadline, "LEAST_CASE_DEADLINE_S", 3.0)
    one = FEW_COPIES.replace('{ from = "64 B", to = "1 MiB", per_octave = 1 }', "[64]")
    begin_s = time.monotonic()
    (row,) = run_here(tmp_path / "r", one, SlowSpeaker())
    assert "no sign of life" in (row.reason or "")
    assert time.monotonic() - begin_s > 6.0


@pytest.mark.parametrize(("ranks", "least_s", "most_s"), [(1, 1.0, 3.0), (4, 4.0, 600.0)])
def test_ranks_that_share_a_core_have_time_for_each_other(
    ranks, least_s, most_s, tmp_path, monkeypatch
):
    monkeypatch.setattr(deadline, "LEAST_CASE_DEADLINE_S", 1.0)
    one = FEW_COPIES.replace('{ from = "64 B", to = "1 MiB", per_octave = 1 }', "[64]")
    seats = tuple(RankFacts(HERE, os.getpid(), (0,)) for _ in range(ranks))
    told = encode(Facts(seats, None, None, None, None, {}))
    (case,) = make_plan(parse_suite(one, "endure")).jobs[0].cases
    (row,) = run_here(tmp_path / "r", one, Talker(told, encode(CaseStarted(case.id))))
    waited = re.search(r"no sign of life for (\d+) s in case", row.reason or "")
    assert waited is not None
    assert least_s <= float(waited[1]) <= most_s


def test_a_job_that_has_told_everything_and_stays_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.run.attempt.END_DEADLINE_S", 1.0)
    one = FEW_COPIES.replace('{ from = "64 B", to = "1 MiB", per_octave = 1 }', "[64]")
    (row,) = run_here(tmp_path / "r", one, Talker(encode(Done("j"))))
    assert "did not report" in (row.reason or "")


# Who is silent.


@pytest.fixture
def sleepers() -> Iterator[list["subprocess.Popen[bytes]"]]:
    found = [subprocess.Popen(["sleep", "100"]) for _ in range(3)]
    yield found
    for process in found:
        process.kill()
        process.wait()


def test_ranks_that_are_stopped_or_gone_are_named_and_no_other(sleepers):
    sleepers[1].send_signal(signal.SIGSTOP)
    sleepers[2].kill()
    sleepers[2].wait()
    os.waitid(os.P_PID, sleepers[1].pid, os.WSTOPPED)
    told = ask_ranks([RankFacts(HERE, process.pid, (0,)) for process in sleepers])
    lost = f"rank 2 on {HERE} is not seen (process {sleepers[2].pid})"
    assert told == [f"rank 1 on {HERE} is stopped", lost]


def test_nobody_is_accused_where_all_run(sleepers):
    (told,) = ask_ranks([RankFacts(HERE, process.pid, (0,)) for process in sleepers])
    assert "all 3 ranks still run" in told
    assert "not known" in told


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch owned", "a b", "h1,h2", "", "\x1b[31m", "$(id)"]
)
def test_a_hostile_host_name_reaches_no_command(host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (told,) = ask_ranks([RankFacts(host, 1, (0,))])
    assert "no host name" in told or "no ssh" in told
    assert told.isprintable()
    assert not list(tmp_path.iterdir())
    assert find_silent_hosts([host]) == {}


# Clocks of nodes.


@pytest.mark.parametrize(
    ("clocks", "odd"),
    [
        ({"h1": 100.0, "h2": 100.2, "h3": 99.9}, set()),
        ({"h1": 100.0, "h2": 103.5, "h3": 99.9}, {"h2"}),
        ({"h1": 100.0, "h2": 40.0, "h3": 99.9, "h4": 100.1}, {"h2"}),
        ({"h1": 100.0, "h2": None, "h3": 100.1}, set()),
        ({"h1": None}, set()),
    ],
)
def test_a_clock_over_a_second_off_is_a_difference(clocks: dict[str, Any], odd: set[str]) -> None:
    facts = {host: NodeFacts(clock_s=clock) for host, clock in clocks.items()}
    found = [finding for finding in Survey().look(facts, {}) if finding.name == "odd-node"]
    assert {finding.text.split()[0] for finding in found} == odd
    assert all("chrony" in (finding.advice or "") for finding in found)
    assert all("clock" in finding.text for finding in found)


# Launches.


def test_launches_of_a_case_lie_apart_in_orders_of_their_own() -> None:
    plan = make_plan(parse_suite(COPIES, "endure"), launches=4, seed=3)
    for stage in {job.stage for job in plan.jobs}:
        order = [
            (case.id, job.launch) for job in plan.jobs if job.stage is stage for case in job.cases
        ]
        cases = {case for case, _ in order}
        rounds = [order[i : i + len(cases)] for i in range(0, len(order), len(cases))]
        # All other cases are measured between two launches of one.
        assert [{launch for _, launch in told} for told in rounds] == [{0}, {1}, {2}, {3}]
        assert all({case for case, _ in told} == cases for told in rounds)
        assert len({tuple(case for case, _ in told) for told in rounds}) == 4


# A node that drops off.


@pytest.fixture
def lab(lab_alone: None) -> Iterator[None]:
    if LAB_STATE.exists():
        pytest.skip("a lab is up; scripts/lab down removes it")
    up = subprocess.run([*LAB, "up", "--hosts", "2", "--rate", "400mbit"], capture_output=True)
    if up.returncode != 0:
        reason = up.stderr.decode().strip()
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    yield
    subprocess.run([*LAB, "down"], check=True)


def on_first_host(*arguments: object) -> "subprocess.Popen[str]":
    command = [*LAB, "exec", "h1", sys.executable, "-P", "-m", "bench", *map(str, arguments)]
    return subprocess.Popen(
        [*command, "--no-report"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMPI_MCA_btl": "self,tcp"},
    )


@pytest.mark.mpi
@pytest.mark.lab
@pytest.mark.slow
def test_a_node_that_drops_off_is_named_and_its_cases_are_resumed(lab, tmp_path):
    suite = tmp_path / "endure.toml"
    suite.write_text(PAIRS + "ranks = 4\n")
    hosts = ("--hosts", "h1,h2", "--bind", "none")
    process = on_first_host("run", suite, *hosts, "-o", tmp_path)
    folder = wait_for_rows(tmp_path, 3)
    subprocess.run([*LAB, "set", "h2", "down"], check=True)
    _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 4, said
    kept = [line for line in whole_rows(folder) if b",ok," in line]
    run = open_run(folder)
    failed = [row for row in run.rows() if row.status is not Status.OK]
    assert failed
    assert not run.missing()
    assert all("h2" in (row.reason or "") for row in failed)
    subprocess.run([*LAB, "set", "h2", "up"], check=True)
    resumed = on_first_host("resume", folder)
    _, said = resumed.communicate(timeout=LONGEST_S)
    assert resumed.returncode == 0, said
    run = open_run(folder)
    assert {row.status for row in run.rows()} == {Status.OK}
    assert not run.missing()
    assert [line for line in whole_rows(folder) if line in kept] == kept
