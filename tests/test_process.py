"""One started job: handed over without waiting for its reader, read line by line, always ended."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from begun import begun

from bench.contracts import LaunchCommand
from bench.core.events import Done, encode
from bench.core.lines import Lines
from bench.core.records import Case, Job, Stage
from bench.run import attempt as attempt_module
from bench.run import process as process_module
from bench.run.attempt import Attempt
from bench.store.files import LOGS_FOLDER
from bench.store.recorder import Recorder

NEVER_READS = "import time; print('here', flush=True); time.sleep(600)"
READS_ALL = (
    "import sys; line = sys.stdin.buffer.readline();print(len(line), line[-2:], file=sys.stderr)"
)
BUFFER = 1 << 16


def big_job(cases: int = 2000) -> Job:
    """Return a job that does not fit into a pipe."""
    planned = tuple(Case(f"latency/bytes={i}", "latency", {"bytes": i}) for i in range(cases))
    return Job("000-target-0", Stage.TARGET, 0, 2, 1, planned)


def python(program: str) -> LaunchCommand:
    return LaunchCommand((sys.executable, "-P", "-c", program), {})


class Quiet:
    """Listens to nothing, or acts when nothing happens."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self._act = act

    def queued(self, event: object) -> None: ...
    def facts_known(self, attempt: object) -> None: ...
    def case_started(self, attempt: object) -> None: ...
    def case_ended(self, attempt: object, case: object, ended: object) -> None: ...

    def waiting(self) -> None:
        self._act()


def make_attempt(folder: Path, job: Job, listener: Quiet | None = None) -> Attempt:
    return Attempt(job, Recorder(begun(folder, [job])), listener or Quiet(), {})


def log_of(folder: Path) -> str:
    (file,) = (folder / LOGS_FOLDER).iterdir()
    return file.read_text()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """Every process that a test starts; what it leaves running is ended after it."""
    processes: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remember(*arguments: Any, **more: Any) -> "subprocess.Popen[bytes]":
        process = real(*arguments, **more)
        processes.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", remember)
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def assert_ended(processes: list["subprocess.Popen[bytes]"]) -> None:
    assert processes
    for process in processes:
        assert not psutil.pid_exists(process.pid) or process.poll() is not None


# The job is handed over.


@pytest.mark.timeout(180)
def test_a_launcher_that_never_reads_its_job_meets_the_deadline_of_a_start(
    started, tmp_path, monkeypatch
):
    monkeypatch.setattr(attempt_module, "START_DEADLINE_S", 1.0)
    reason = make_attempt(tmp_path, big_job()).execute(python(NEVER_READS))
    assert reason == "no sign of life for 1 s in start-up: no rank has reported yet"
    assert_ended(started)


@pytest.mark.timeout(180)
def test_a_job_that_is_longer_than_a_pipe_arrives_whole(started, tmp_path):
    job = big_job()
    reason = make_attempt(tmp_path, job).execute(python(READS_ALL))
    assert reason is not None
    length, end = log_of(tmp_path).split(maxsplit=1)
    assert int(length) > 2 * BUFFER
    assert end.strip() == repr(b"}\n")
    assert_ended(started)


@pytest.mark.timeout(180)
def test_a_launcher_that_prints_much_before_it_reads_its_job_is_no_deadlock(tmp_path):
    done = encode(Done("j")).decode()
    program = (
        f"import sys; sys.stdout.write('x' * {4 * BUFFER} + chr(10)); sys.stdout.flush();"
        f"sys.stdin.buffer.readline(); sys.stdout.write({done!r})"
    )
    job = big_job()
    reason = make_attempt(tmp_path, job).execute(python(program))
    assert reason == f"the job did not report how {len(job.cases)} cases ended"


@pytest.mark.timeout(180)
def test_a_launcher_that_closes_its_input_ends_with_its_own_reason(tmp_path):
    program = "import os, sys; os.close(0); print('no license', file=sys.stderr); sys.exit(5)"
    reason = make_attempt(tmp_path, big_job()).execute(python(program))
    assert reason == "the job ended with exit status 5: no license"


# Whatever happens, the job is ended.


@pytest.mark.timeout(180)
def test_an_interruption_while_the_job_is_handed_over_leaves_no_child(started, tmp_path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            make_attempt(tmp_path, big_job()).execute(python(NEVER_READS))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert_ended(started)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_moment_of_the_start_leaves_no_child(
    number, started, tmp_path, monkeypatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    remember = subprocess.Popen

    def start_and_be_interrupted(*arguments: Any, **more: Any) -> object:
        process = remember(*arguments, **more)
        signal.raise_signal(number)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_be_interrupted)
    previous = signal.signal(number, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            make_attempt(tmp_path, big_job(1)).execute(python(NEVER_READS))
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, previous)
    assert_ended(started)


@pytest.mark.timeout(180)
def test_a_second_interruption_while_a_job_is_ended_ends_it_at_once(started, tmp_path, monkeypatch):
    monkeypatch.setattr(process_module, "TERMINATE_S", 200.0)
    stubborn = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('here', file=sys.stderr, flush=True); time.sleep(600)"
    )
    interruptions = []

    def interrupt(*_: object) -> None:
        interruptions.append(time.monotonic())
        raise KeyboardInterrupt

    def interrupt_twice() -> None:
        """Once when the job is deaf to SIGTERM, and again while it is being ended."""
        files = tmp_path / LOGS_FOLDER
        while not any("here" in file.read_text() for file in files.glob("*")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not interruptions:
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Thread(target=interrupt_twice, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            make_attempt(tmp_path, big_job(1)).execute(python(stubborn))
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(interruptions) == 2
    started[0].wait(60)
    assert_ended(started)


def test_an_ignored_interruption_stays_ignored_in_the_job(tmp_path):
    program = (
        "import signal, sys; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN,"
        "file=sys.stderr)"
    )
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        make_attempt(tmp_path, big_job(1)).execute(python(program))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert log_of(tmp_path) == "True\n"


# What it prints.


class Pieces:
    """Lines that come in pieces, with the CPU time that cutting them takes."""

    def __init__(self, length: int, piece: int) -> None:
        self.pieces = [b"x" * piece] * (length // piece) + [b"\nlast"]

    def seconds(self, cut: Callable[[list[bytes]], list[bytes]]) -> float:
        times = []
        for _ in range(5):
            begin = time.process_time()
            lines = cut(self.pieces)
            times.append(time.process_time() - begin)
        assert [len(line) for line in lines] == [sum(map(len, self.pieces)) - 5, 4]
        return min(times)


def cut_lines(pieces: list[bytes]) -> list[bytes]:
    lines = Lines()
    found = [line for piece in pieces for line in lines.add(piece)]
    return [*found, lines.rest()]


def test_a_line_of_four_times_the_length_takes_some_four_times_as_long():
    short, long = Pieces(1 << 20, 512), Pieces(1 << 22, 512)
    assert long.seconds(cut_lines) < 8 * short.seconds(cut_lines)


def test_a_very_long_line_of_a_job_comes_whole(tmp_path):
    length = 8 << 20
    program = f"import sys; sys.stdout.write('x' * {length} + chr(10) + 'end')"
    attempt = make_attempt(tmp_path, big_job(1))
    assert attempt.execute(python(program)) == "the job ended with exit status 0"
    journal = (tmp_path / "journal.jsonl").read_bytes()
    assert b"x" * length in journal
    assert b'"line":"end"' in journal


# Why it ended.


def cause_of(folder: Path, log: str, status: int = 1) -> str | None:
    (folder / "log").write_text(log)
    program = (
        f"import shutil, sys; shutil.copyfileobj(open({str(folder / 'log')!r}), sys.stderr);"
        f"sys.exit({status})"
    )
    return make_attempt(folder, big_job(1)).execute(python(program))


def traceback_of(rank: int) -> str:
    frames = "".join(f'  File "/site/module_{i}.py", line {i}, in call\n' for i in range(40))
    return f"Traceback (most recent call last):\n{frames}ValueError: rank {rank} fell over\n"


def test_the_first_cause_is_found_however_many_ranks_died_after_it(tmp_path):
    first = "rank 7 on n1: MemoryError: no room for 4 GiB\n"
    later = "".join(
        traceback_of(rank) + f"rank {rank} on n{rank}: RuntimeError: peer lost\n"
        for rank in range(1000)
    )
    reason = cause_of(tmp_path, f"starting\n{first}{later}")
    assert reason is not None
    assert reason.startswith(f"the job ended with exit status 1: {first.strip()}: memory ran out")


def test_a_cause_of_a_better_kind_counts_though_it_comes_later(tmp_path):
    log = "srun: error: n1: task 0: Aborted\n" + "warning\n" * 300_000 + "rank 1 on n1: Oops: x\n"
    reason = cause_of(tmp_path, log)
    assert reason == "the job ended with exit status 1: rank 1 on n1: Oops: x"


@pytest.mark.parametrize("size", [0, (1 << 20) - 20, 1 << 20])
def test_a_cause_is_found_wherever_it_stands(size, tmp_path):
    log = "w" * max(0, size - 1) + "\n" + "rank 1 on n1: Oops: x\n" + "warning\n" * 5
    reason = cause_of(tmp_path, log)
    assert reason == "the job ended with exit status 1: rank 1 on n1: Oops: x"


def test_of_a_log_without_end_its_end_is_read_too(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.run.cause.MOST_SEARCHED", 1 << 20)
    log = "warning\n" * 500_000 + "rank 1 on n1: Oops: x\nlast line\n"
    assert cause_of(tmp_path, log) == "the job ended with exit status 1: rank 1 on n1: Oops: x"


def test_without_a_known_cause_it_is_the_last_line(tmp_path):
    log = "warning\n" * 500_000 + "cannot open shared object\n\n---\n"
    assert cause_of(tmp_path, log).endswith(": cannot open shared object")


def test_a_program_that_cannot_be_started_is_named(tmp_path):
    attempt = make_attempt(tmp_path, big_job(1))
    reason = attempt.execute(LaunchCommand((str(tmp_path / "nothing"),), {}))
    assert reason == f"cannot start {tmp_path}/nothing: No such file or directory"
    assert log_of(tmp_path) == ""
