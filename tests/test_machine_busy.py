"""Busy processes of others are found and named; our own and the kernel's are not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine import busy
from bench.machine.busy import BusyProcess, check_busy, foreign_busy

NAME = "a) 1 \x1b[31m("
SPIN = (
    f"open('/proc/self/comm', 'w').write({NAME!r})\n"
    "print('ready', flush=True)\n"
    "import time\n"
    "end = time.monotonic() + 300\n"
    "while time.monotonic() < end: pass\n"
)
OBSERVE = (
    "import json, sys; from bench.machine.busy import foreign_busy; "
    "print(json.dumps([[p.pid, p.name, p.share] for p in foreign_busy(0.05, 0.5)]))"
)


@contextmanager
def busy_process() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", SPIN], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_a_busy_process_of_others_is_found_by_its_hostile_name() -> None:
    with busy_process() as pid:
        # Seen from a process beside it, it is no one's child or parent.
        answer = subprocess.run(
            [sys.executable, "-c", OBSERVE], capture_output=True, check=True, timeout=600
        )
    found = {p: (name, share) for p, name, share in json.loads(answer.stdout)}
    assert pid in found
    name, share = found[pid]
    assert name == NAME
    assert 0.05 < share < 1.5  # one thread
    (finding,) = check_busy([BusyProcess(pid, name, share)])
    assert finding.level == "warning"
    assert f"process {pid} (a) 1 \\x1b[31m()" in finding.text
    assert finding.text.isprintable()


def test_our_own_children_and_parents_are_not_foreign() -> None:
    with busy_process() as pid:
        found = {process.pid for process in foreign_busy()}
    assert not found & {pid, os.getpid(), os.getppid()}


def stat_line(pid: int, parent: int, flags: int, ticks: int) -> str:
    fields = [parent, 1, 1, 0, -1, flags, 0, 0, 0, 0, ticks, 0, 0, 0, 20, 0, 1, 0, 500]
    return f"{pid} (work) R {' '.join(map(str, fields))} 0 0\n"


def write_processes(root: Path, processes: dict[int, tuple[int, int, int]]) -> None:
    for pid, (parent, flags, ticks) in processes.items():
        folder = root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stat").write_text(stat_line(pid, parent, flags, ticks))


def between_looks(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let processes go on while the harness sleeps, for as long as it asks and in no time."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        act()
        clock[0] += seconds

    monkeypatch.setattr(busy, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))


def test_kernel_threads_and_old_work_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getpid()
    parents = {2: (0, 0x200000, 0), 50: (1, 0, 0), 60: (2, 0x200000, 0), 70: (1, 0, 10**6)}
    own = {me: (40, 0, 0), 40: (1, 0, 0), me + 1: (me, 0, 0), me + 2: (me + 1, 0, 0)}
    write_processes(tmp_path, parents | own)
    (tmp_path / "proc/80").mkdir()
    (tmp_path / "proc/80/stat").write_text("garbage")
    work = 10**4
    later = {pid: (parent, flags, work) for pid, (parent, flags, _) in (parents | own).items()}
    later[70] = parents[70]
    between_looks(monkeypatch, lambda: write_processes(tmp_path, later))
    found = foreign_busy(interval_s=0.6, root=tmp_path)
    assert [process.pid for process in found] == [50]


def test_a_number_used_again_is_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_processes(tmp_path, {50: (1, 0, 10**6)})
    stat = tmp_path / "proc/50/stat"

    def replace() -> None:
        stat.write_text(stat_line(50, 1, 0, 10**4).replace(" 500 0 0", " 900 0 0"))

    between_looks(monkeypatch, replace)
    (found,) = foreign_busy(interval_s=0.6, root=tmp_path)
    assert found.share == pytest.approx(10**4 / os.sysconf("SC_CLK_TCK") / 0.6)


def test_a_crowd_is_named_in_part() -> None:
    crowd = [BusyProcess(pid, "work", 2.5) for pid in range(100, 112)]
    (finding,) = check_busy(crowd)
    assert "process 104 (work) takes 250% of a core" in finding.text
    assert "process 105" not in finding.text
    assert "7 more processes are busy" in finding.text
    assert check_busy([]) == []


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_an_empty_tree_has_no_busy_process(tmp_path: Path, threshold: float) -> None:
    assert foreign_busy(threshold, interval_s=0.0, root=tmp_path) == []
