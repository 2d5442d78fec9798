"""Folders that POSIX allows after a cut of a traced run, drawn by a seed."""

import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bench.store.files import JOURNAL_FILE, PREDICTIONS_FILE, RESULTS_FILE, RUN_FILE
from bench.store.folder import open_run
from provekit.after_cut import Contents, Model, Names
from provekit.calls import Call, Write
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
    is_broken,
    read_lines,
    read_truth,
    resume,
    resume_command,
    stand,
)
from provekit.trace import read_calls, trace


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
        return is_broken(self.found, self.resumed)


class Traced(NamedTuple):
    """A run that ended, and all that was done to its files."""

    how: str
    """What happened to it."""
    parent: Path
    name: str
    calls: list[Call]
    truth: Truth
    gap_s: tuple[float, float] = (0.0, 0.0)
    """From when until when no process of the run could sync anything."""

    def earlier(self, at_s: float, by_s: float) -> float:
        """Return the moment that lay so much time of the run before another one."""
        begin_s, end_s = self.gap_s
        if at_s - by_s < end_s:
            by_s += max(0.0, min(at_s, end_s) - begin_s)
        return at_s - by_s


def trace_runs(folder: Path, seed: int) -> list[Traced]:
    """Trace a run to its end, and two that are killed and resumed: in their midst, and at the end.

    Raises:
        RuntimeError: where a run fails, or the model of its folder is not what is there.
    """
    ended = _trace(folder / "ended", "ended", None)
    every = len(ended.truth.rows)
    rows = random.Random(f"{seed}/killed").randint(1, every - 1)  # noqa: S311 - a draw, not a secret
    how = "killed after {} rows, resumed"
    return [
        ended,
        _trace(folder / "killed", how.format(rows), rows),
        _trace(folder / "killed late", how.format(f"all {every}"), every),
    ]


def _trace(folder: Path, how: str, kill_after: int | None) -> Traced:
    """Trace a run to its end; one that is killed after so many rows is resumed."""
    suite, parent, first, then = (folder / name for name in ("cut.toml", "runs", "first", "then"))
    for each in (folder, parent, first, then):
        each.mkdir()
    suite.write_text(SUITE)
    kill_when = None if kill_after is None else partial(_has_rows, parent, kill_after)
    code, run = trace(run_command(suite, parent), first, ROOT, kill_when), find_run(parent)
    if run is not None and kill_after is not None:
        code = trace(resume_command(run), then, ROOT)
    if run is None or code != 0:
        logs = ((each / "output.log") for each in (first, then))
        raise RuntimeError("\n".join(log.read_text()[-2000:] for log in logs if log.exists()))
    before, after = read_calls(first, parent), read_calls(then, parent)
    model = Model(PurePosixPath(parent)).follow([*before, *after])
    for path in (path for path in run.rglob("*") if path.is_file()):
        if model.read(PurePosixPath(path)) != path.read_bytes():
            raise RuntimeError(f"the traced calls do not make {path.relative_to(run)}")
    gap_s = (before[-1].ended_s, _first_entry_s(after)) if after else (0.0, 0.0)
    return Traced(how, parent, run.name, [*before, *after], read_truth(open_run(run)), gap_s)


def _first_entry_s(calls: Sequence[Call]) -> float:
    """Return when the first entry was written to the journal, without one the first call."""
    writes = (call for call in calls if isinstance(call.act, Write))
    entries = (call.began_s for call in writes if call.act.path.name == JOURNAL_FILE)
    return next(entries, calls[0].began_s)


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
        promised = _standing(run, run.earlier(at_s, PROMISED_S))
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
