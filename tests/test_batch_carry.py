"""A job on its way through a scheduler that is slow, busy or gone: submitted, followed, cancelled.

The scheduler's programs are small scripts here, which note how they were called.
"""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from test_batch import job
from test_process import Quiet, make_attempt

from bench.contracts import LaunchCommand
from bench.core.events import Queued
from bench.core.limits import VERIFICATIONS, longest_case_s
from bench.core.records import Case, Job, Sampling, Stage
from bench.launch.batch.cancel import cancel
from bench.launch.batch.follow import Follower
from bench.launch.batch.queue import batch_files, time_limit
from bench.launch.batch.slurm import Slurm
from bench.run import attempt as attempt_module

ROOT = Path(__file__).parent.parent
LONGEST_S = 600
"""A guard against what hangs, and no claim."""
START_S, SLOW_S = 8.0, 10.0
"""A deadline in which a program starts also on a busy machine, and what is longer."""


def put_program(folder: Path, name: str, body: str) -> None:
    """Write a program of the scheduler; each of its calls becomes a line of `calls`."""
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n{body}\n')
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs: a job is taken as number 17, and runs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    put_program(folder, "sbatch", "echo 17")
    put_program(folder, "squeue", 'echo "RUNNING|None"')
    put_program(folder, "scancel", "exit 0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return folder


def calls(programs: Path, name: str) -> list[str]:
    file = programs / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line for line in lines if line.split()[0] == name]


def eventually(look: Callable[[], bool]) -> None:
    until_s = time.monotonic() + LONGEST_S
    while not look():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def fail_times(programs: Path, count: int, words: str) -> str:
    """Return the lines of a program that fails so often, and then does not."""
    seen = f"$(grep -c ^scancel {programs}/calls)"
    return f'[ {seen} -gt {count} ] && exit 0\necho "{words}" >&2\nexit 1'


# Submitting.


class Places(Quiet):
    """Remembers where a job was reported to be."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[str, str]] = []

    def queued(self, event: object) -> None:
        assert isinstance(event, Queued)
        self.places.append((event.batch_job, event.state))


def carry(folder: Path, listener: Quiet, submit_s: float = 60.0) -> str | None:
    """Return why a job ended whose queue is reported often, and whose start has a deadline."""
    program = (
        "import bench.launch.batch.submit as s, sys;"
        f"s.REPORT_S, s.SUBMIT_S = 0.2, {submit_s}; s.main(*sys.argv[1:])"
    )
    tokens = (sys.executable, "-c", program, "slurm", str(folder / "batch"), "#!/bin/sh\n")
    return make_attempt(folder, job(cases=1), listener).execute(LaunchCommand(tokens, {}))


def test_a_scheduler_that_takes_long_to_refuse_a_job_is_quoted(programs, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt_module, "START_DEADLINE_S", START_S)
    put_program(
        programs, "sbatch", f"sleep {SLOW_S}; echo 'sbatch: error: invalid account' >&2; exit 1"
    )
    listener = Places()
    reason = carry(tmp_path, listener)
    assert reason == "the job ended with exit status 1: sbatch: error: invalid account"
    assert listener.places[0] == ("Slurm", "no answer from sbatch yet")


def test_a_scheduler_that_never_answers_a_submission_is_named(programs, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt_module, "START_DEADLINE_S", START_S)
    put_program(programs, "sbatch", "exec sleep 600")
    reason = carry(tmp_path, Quiet(), submit_s=SLOW_S)
    assert reason == "the job ended with exit status 1: no answer from sbatch"
    # It may be made all the same, and finds nothing to do.
    assert not (tmp_path / "batch" / batch_files(job()).job).exists()


def start_submit(folder: Path, more: bytes = b"") -> "subprocess.Popen[bytes]":
    """Start a submitter whose input stays open."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.launch.batch.submit", "slurm", folder, "#!/bin/sh\n"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(job()) + b"\n" + more)
    process.stdin.flush()
    return process


def test_what_follows_the_job_line_is_no_part_of_it(programs, tmp_path):
    put_program(programs, "sbatch", "exit 1")
    process = start_submit(tmp_path / "batch", b"more")
    assert process.wait(LONGEST_S) == 1
    assert calls(programs, "sbatch") == [f"sbatch --parsable {batch_files(job()).script}"]
    process.communicate()


# Cancelling.


def end_after_submission(programs: Path, folder: Path) -> int:
    """Return the exit status of a submitter whose runner goes away."""
    process = start_submit(folder)
    eventually(lambda: bool(calls(programs, "squeue")))
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(LONGEST_S)


def test_a_cancellation_is_tried_until_the_scheduler_takes_it(programs, tmp_path):
    down = "scancel: error: Unable to contact slurm controller (connect failure)"
    put_program(programs, "scancel", fail_times(programs, 2, down))
    assert end_after_submission(programs, tmp_path / "batch") == 143
    assert not (tmp_path / "batch" / batch_files(job()).job).exists()
    eventually(lambda: calls(programs, "scancel") == ["scancel 17"] * 3)


def test_a_cancellation_that_is_taken_is_not_repeated(programs, tmp_path):
    assert end_after_submission(programs, tmp_path / "batch") == 143
    time.sleep(2.0)
    assert calls(programs, "scancel") == ["scancel 17"]


def test_a_job_that_is_gone_needs_no_further_cancellation(programs, tmp_path):
    gone = "scancel: error: Kill job error on job id 17: Invalid job id specified"
    put_program(programs, "scancel", f'echo "{gone}" >&2; exit 1')
    assert cancel(Slurm(), "17", limit_s=LONGEST_S)
    assert calls(programs, "scancel") == ["scancel 17"]


def test_a_scheduler_that_never_comes_back_is_given_up(programs):
    put_program(programs, "scancel", "exit 1")
    assert not cancel(Slurm(), "17", limit_s=6.0)
    assert len(calls(programs, "scancel")) >= 2


def test_a_job_file_that_cannot_be_removed_is_no_reason_not_to_cancel(programs, tmp_path):
    process = start_submit(tmp_path / "batch")
    eventually(lambda: bool(calls(programs, "squeue")))
    file = tmp_path / "batch" / batch_files(job()).job
    file.unlink()
    file.mkdir()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(LONGEST_S) == 143
    assert calls(programs, "scancel") == ["scancel 17"]


# A batch job whose runner is gone.


def copies(count: int) -> Job:
    cases = tuple(
        Case(f"memcpy/bytes={64 + i}", "memcpy", {"bytes": 64 + i, "memory": "host", "ranks": 1})
        for i in range(count)
    )
    return Job("000-target-0", Stage.TARGET, 0, 1, 1, cases, Sampling(0.3, 0.05, 0.1))


def test_a_batch_job_ends_by_itself_when_its_job_file_is_gone(tmp_path):
    file = tmp_path / "job.json"
    file.write_bytes(msgspec.json.encode(copies(200)))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.rank", "--solo", "--job", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if '"type":"case"' in line:
            break
    file.unlink()
    out, error = process.communicate(timeout=LONGEST_S)
    assert process.returncode != 0
    assert out.count('"type":"row"') < 100
    last = json.loads(
        out.splitlines()[-1].partition("{")[1] + out.splitlines()[-1].partition("{")[2]
    )
    assert last["type"] == "error"
    assert "its job file is gone" in last["reason"]
    assert "its job file is gone" in error


def test_a_batch_job_whose_file_stays_is_measured_to_its_end(tmp_path):
    file = tmp_path / "job.json"
    file.write_bytes(msgspec.json.encode(copies(6)))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.rank", "--solo", "--job", file],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=True,
    )
    assert done.stdout.count('"type":"row"') == 6


# How long a case may take.


def seconds(limit: str) -> int:
    hours, minutes, rest = map(int, limit.split(":"))
    return hours * 3600 + minutes * 60 + rest


@pytest.mark.parametrize("count", [1, 40, 1000])
def test_the_limit_of_a_batch_job_is_no_less_than_what_its_cases_may_take(count):
    rule = Sampling()
    limit_s = seconds(time_limit(job(cases=count)))
    passes = rule.most_passes + VERIFICATIONS
    assert limit_s >= count * passes * (rule.cap_s + rule.warmup_cap_s)
    assert limit_s >= count * longest_case_s(rule)


# Following.


def follow_time_s(folder: Path, length: int, piece: int) -> float:
    """Return the least CPU time in which a line is followed that grows by pieces."""
    times = []
    for _ in range(3):
        path, sink = folder / "out", io.BytesIO()
        path.write_bytes(b"")
        follower, begin_s = Follower(path, sink), time.process_time()
        with path.open("ab", buffering=0) as file:
            for _ in range(length // piece):
                file.write(b"x" * piece)
                follower.look()
            file.write(b"\n")
            follower.look()
        times.append(time.process_time() - begin_s)
        assert sink.getvalue() == b"x" * length + b"\n"
    return min(times)


def test_a_line_of_four_times_the_length_is_followed_in_some_four_times_the_time(tmp_path):
    short_s = follow_time_s(tmp_path, 1 << 20, 1 << 11)
    assert follow_time_s(tmp_path, 1 << 22, 1 << 11) < 8 * short_s
