"""Power cuts of runs on a disk of their own: copied while every process stands still."""

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.store.files import PREDICTIONS_FILE, RESULTS_FILE, RUN_FILE
from bench.store.folder import open_run
from provekit.demands import (
    PROMISED_S,
    ROOT,
    Found,
    Resumed,
    Standing,
    Truth,
    find_run,
    inspect,
    is_broken,
    read_truth,
    resume,
    stand,
)
from provekit.disk import copy_still, describe, make_disk, mounted
from provekit.halted import Halted

RANKS = 2
SUITE = """
[suite]
name = "cut"
launches = 2
cap_s = 0.05
[[benchmark]]
name = "matmul"
batch = [1, 2, 3, 4, 5, 6]
n = [16, 48, 80, 104, 120]
k = 32
threads = 3
"""
"""Many short cases, in jobs that calibrate and jobs that do not. With three threads ranks outnumber
cores, so that cases that other processes disturb are not sampled again, which here only takes time.
"""
MEAN_GAP_S = 4.0
"""Of the moments at which the power is cut; evenly between 0 and twice that."""
AFTER_END_S = PROMISED_S + 2.0
"""So long after a run's end the power is still cut: all of it is promised then."""
LOOK_S = 0.25
LONGEST_S = 900.0


class Cut(NamedTuple):
    """A power cut, and the copy of the disk."""

    number: int
    run: int
    at_s: float
    """Seconds that the run had had."""
    copies: int
    image: Path
    written: int
    """Rows that stood in the file."""
    promised: Standing


class Judged(NamedTuple):
    """What a cut left."""

    cut: Cut
    found: Found
    resumed: Resumed | None = None

    @property
    def bad(self) -> bool:
        """Whether a promise was broken."""
        return is_broken(self.found, self.resumed)


def run_command(suite: Path, parent: Path) -> tuple[str, ...]:
    """Return what starts a run."""
    asked = ("run", str(suite), "-n", str(RANKS), "-o", str(parent), "--no-report")
    return (sys.executable, "-m", "bench", *asked)


def cut_runs(folder: Path, wanted: int, seed: int) -> Iterator[list[Judged]]:
    """Cut the power of as many runs as it takes; yield what each run's cuts left.

    Raises:
        RuntimeError: where a run does not end as one that nothing happens to.
    """
    chance = random.Random(f"{seed}/cuts")  # noqa: S311 - a draw, not a secret
    suite = folder / "cut.toml"
    suite.write_text(SUITE)
    done = number = 0
    while done < wanted:
        number += 1
        cuts, truth = _cut_run(folder, suite, number, wanted - done, done, chance)
        done += len(cuts)
        yield [_judge(cut, folder, truth) for cut in cuts]


def _cut_run(
    folder: Path, suite: Path, number: int, wanted: int, before: int, chance: random.Random
) -> tuple[list[Cut], Truth]:
    """Start a run on a new disk, and copy the disk at moments drawn until the run is over."""
    image, at_s = folder / f"disk-{number}.img", 0.0
    cuts: list[Cut] = []
    make_disk(image)
    with mounted(image, folder / "disk") as disk:
        if find_run(disk) is not None:
            raise RuntimeError("somebody still holds the disk of the run before")
        with _started(suite, disk, folder / "output.log") as process:
            watch = _Watch(disk, Halted(psutil.Process(process.pid)))
            while len(cuts) < wanted:
                at_s += chance.uniform(0, 2 * MEAN_GAP_S)
                if not watch.wait(at_s, process):
                    break
                which = before + len(cuts) + 1
                cuts.append(watch.cut(which, number, image, folder / f"cut-{which}.img"))
            if len(cuts) == wanted:
                # Nobody waits for the rest of it.
                process.terminate()
                process.wait(LONGEST_S)
            elif process.wait(LONGEST_S) != 0:
                raise RuntimeError((folder / "output.log").read_text()[-2000:])
        run = find_run(disk)
        if run is None or not (run / RUN_FILE).is_file():
            return cuts, Truth(frozenset(), {})
        return cuts, read_truth(open_run(run))


@contextlib.contextmanager
def _started(suite: Path, disk: Path, log_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Have a run going on; where it is not over at the end, it is ended."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            run_command(suite, disk), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(LONGEST_S)


class _Watch:
    """Remembers what stood in the files of a run, and when."""

    def __init__(self, disk: Path, halted: Halted) -> None:
        self._disk = disk
        self._halted = halted
        self._looks: list[tuple[float, Standing]] = []
        self._ended_s: float | None = None

    def wait(self, until_s: float, process: "subprocess.Popen[bytes]") -> bool:
        """Look until a moment; return whether it comes while the run goes on, or soon after."""
        while (now_s := self._halted.now_s()) < until_s:
            if self._ended_s is None and process.poll() is not None:
                self._ended_s = now_s
            if self._ended_s is not None and until_s > self._ended_s + AFTER_END_S:
                return False
            self._look()
            time.sleep(max(0.0, min(LOOK_S, until_s - self._halted.now_s())))
        return True

    def cut(self, number: int, run: int, image: Path, copy: Path) -> Cut:
        """Copy the disk while all processes stand still."""
        at_s = self._halted.now_s()
        with self._halted.halt():
            copies = copy_still(image, copy)
            self._look()
        before = [standing for then_s, standing in self._looks if then_s <= at_s - PROMISED_S]
        promised = before[-1] if before else Standing()
        return Cut(number, run, at_s, copies, copy, len(self._looks[-1][1].rows), promised)

    def _look(self) -> None:
        """Read what stands there, by way of the kernel's memory, which writes nothing."""
        run = find_run(self._disk)
        if run is None:
            standing = Standing()
        else:
            results, predictions = (_read(run / n) for n in (RESULTS_FILE, PREDICTIONS_FILE))
            standing = stand((run / RUN_FILE).is_file(), results, predictions)
        # After reading: what was read stood there at this moment, be it not for longer.
        self._looks.append((self._halted.now_s(), standing))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _judge(cut: Cut, folder: Path, truth: Truth) -> Judged:
    """Mount a copy, and look at what is there."""
    try:
        with mounted(cut.image, folder / "after") as disk:
            return Judged(cut, inspect(disk, cut.promised, truth))
    except subprocess.CalledProcessError as error:
        return Judged(cut, Found(describe(error), lost=len(cut.promised.rows)))


def resume_some(judged: list[Judged], folder: Path, wanted: int, seed: int) -> list[Judged]:
    """Resume runs that were found after cuts, drawn by the seed; return all cuts."""
    chance = random.Random(f"{seed}/resumed copies")  # noqa: S311 - a draw, not a secret
    runs = [each.cut.number for each in judged if each.found.run is not None]
    drawn = set(chance.sample(runs, min(wanted, len(runs))))
    return [_resume(each, folder) if each.cut.number in drawn else each for each in judged]


def _resume(judged: Judged, folder: Path) -> Judged:
    with mounted(judged.cut.image, folder / "after") as disk:
        run = find_run(disk)
        return judged if run is None else judged._replace(resumed=resume(run))
