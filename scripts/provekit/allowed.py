"""Folders that POSIX allows after a cut of a traced run, drawn by a seed."""

import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bench.store.files import PREDICTIONS_FILE, RESULTS_FILE, RUN_FILE
from bench.store.folder import open_run
from provekit.after_cut import Contents, Model, Names
from provekit.calls import Call
from provekit.cuts import AFTER_END_S, SUITE, run_command
from provekit.demands import (
    PROMISED_S,
    ROOT,
    Found,
    Resumed,
    Standing,
    Truth,
    find_run,
    inspect,
    read_lines,
    read_truth,
    resume,
    resume_command,
    stand,
)
from provekit.trace import read_calls, trace

MOST_BEFORE_KILL = 40
"""Rows, of 60."""


class Drawn(NamedTuple):
    """A moment of a traced run, and what became of all that was not durable."""

    number: int
    how: str
    """What happened to the run."""
    at_s: float
    """Seconds since the first call."""
    contents: Contents
    names: Names


class Judged(NamedTuple):
    """What a drawn folder holds."""

    drawn: Drawn
    promised: int
    """Rows."""
    found: Found
    resumed: Resumed | None = None

    @property
    def bad(self) -> bool:
        """Whether a promise was broken."""
        return self.found.bad or (self.resumed is not None and self.resumed.bad)


class Traced(NamedTuple):
    """A run that ended, and all that was done to its files."""

    how: str
    """What happened to it."""
    parent: Path
    name: str
    calls: list[Call]
    truth: Truth


def trace_runs(folder: Path, seed: int) -> list[Traced]:
    """Trace a run to its end, and one that is killed and resumed.

    Raises:
        RuntimeError: where a run fails, or the model of its folder is not what is there.
    """
    chance = random.Random(f"{seed}/killed")  # noqa: S311 - a draw, not a secret
    rows = chance.randint(1, MOST_BEFORE_KILL)
    return [
        _trace(folder / "ended", "ended", None),
        _trace(folder / "killed", f"killed after {rows} rows, resumed", rows),
    ]


def _trace(folder: Path, how: str, kill_after: int | None) -> Traced:
    """Trace a run to its end; one that is killed after so many rows is resumed."""
    suite, parent, calls_folder = folder / "cut.toml", folder / "runs", folder / "trace"
    for each in (folder, parent, calls_folder):
        each.mkdir()
    suite.write_text(SUITE)
    kill_when = None if kill_after is None else partial(_has_rows, parent, kill_after)
    code = trace(run_command(suite, parent), calls_folder, ROOT, kill_when)
    run = find_run(parent)
    if run is not None and kill_after is not None:
        code = trace(resume_command(run), calls_folder, ROOT)
    if run is None or code != 0:
        raise RuntimeError((calls_folder / "output.log").read_text()[-2000:])
    calls = read_calls(calls_folder, parent)
    model = Model(PurePosixPath(parent)).follow(calls)
    for path in (path for path in run.rglob("*") if path.is_file()):
        if model.read(PurePosixPath(path)) != path.read_bytes():
            raise RuntimeError(f"the traced calls do not make {path.relative_to(run)}")
    return Traced(how, parent, run.name, calls, read_truth(open_run(run)))


def _has_rows(parent: Path, count: int) -> bool:
    run = find_run(parent)
    return run is not None and len(read_lines(run, RESULTS_FILE)) >= count


def draw_folders(
    traced: Sequence[Traced], folder: Path, wanted: int, seed: int
) -> Iterator[Judged]:
    """Draw folders that POSIX allows after cuts of traced runs, in turn, and look at each.

    Each stays in `folder` by its number, for `resume_some`. Moments are drawn evenly from the time
    of the run and a while after it, or from its calls, so that what takes no time counts too.
    """
    chance = random.Random(f"{seed}/folders")  # noqa: S311 - a draw, not a secret
    kinds = itertools.cycle(itertools.product(traced, Names, Contents))
    for number, (run, names, contents) in enumerate(itertools.islice(kinds, wanted), start=1):
        begin_s, end_s = run.calls[0].began_s, max(call.ended_s for call in run.calls)
        by_time = chance.uniform(begin_s, end_s + AFTER_END_S)
        at_s = chance.choice((by_time, chance.choice(run.calls).at_s))
        target = folder / str(number)
        target.mkdir()
        _follow(run, at_s).lay_out(target, chance, contents, names)
        promised = _standing(run, at_s - PROMISED_S)
        found = inspect(target, promised, run.truth)
        drawn = Drawn(number, run.how, at_s - begin_s, contents, names)
        yield Judged(drawn, len(promised.rows), found)
        if found.run is None:
            shutil.rmtree(target)


def _follow(traced: Traced, until_s: float) -> Model:
    calls: Sequence[Call] = [call for call in traced.calls if call.at_s <= until_s]
    return Model(PurePosixPath(traced.parent)).follow(calls)


def _standing(traced: Traced, at_s: float) -> Standing:
    """Return what stood in the run's files at a moment, for the processes that ran."""
    model, run = _follow(traced, at_s), PurePosixPath(traced.parent, traced.name)
    results, predictions = (model.read(run / n) or b"" for n in (RESULTS_FILE, PREDICTIONS_FILE))
    return stand(model.read(run / RUN_FILE) is not None, results, predictions)


def resume_some(judged: list[Judged], wanted: int, seed: int) -> list[Judged]:
    """Resume runs of drawn folders, themselves drawn by the seed; return all of them."""
    chance = random.Random(f"{seed}/resumed folders")  # noqa: S311 - a draw, not a secret
    runs = [each.drawn.number for each in judged if each.found.run is not None]
    chosen = set(chance.sample(runs, min(wanted, len(runs))))
    return [
        each._replace(resumed=resume(each.found.run))
        if each.found.run is not None and each.drawn.number in chosen
        else each
        for each in judged
    ]
