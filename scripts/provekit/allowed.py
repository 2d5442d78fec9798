"""Folders that POSIX allows after a cut of a traced run, drawn by a seed."""

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bench.store.folder import PREDICTIONS_FILE, RESULTS_FILE, RUN_FILE, open_run
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
    read_truth,
    resume,
    stand,
)
from provekit.trace import read_calls, trace

KINDS = [(contents, names) for names in Names for contents in Contents]


class Drawn(NamedTuple):
    """A moment of a traced run, and what became of all that was not durable."""

    number: int
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
    """A run that ended, and all that it did to its files."""

    parent: Path
    name: str
    calls: list[Call]
    truth: Truth


def trace_run(folder: Path) -> Traced:
    """Run a suite under strace to its end.

    Raises:
        RuntimeError: where the run fails, or the model of its folder is not what is there.
    """
    suite, parent, calls_folder = folder / "cut.toml", folder / "runs", folder / "trace"
    suite.write_text(SUITE)
    parent.mkdir()
    calls_folder.mkdir()
    if trace(run_command(suite, parent), calls_folder, ROOT) != 0:
        raise RuntimeError((calls_folder / "output.log").read_text()[-2000:])
    run = find_run(parent)
    if run is None:
        raise RuntimeError("a run ended without a folder")
    calls = read_calls(calls_folder, parent)
    model = Model(PurePosixPath(parent)).follow(calls)
    for path in (path for path in run.rglob("*") if path.is_file()):
        if model.read(PurePosixPath(path)) != path.read_bytes():
            raise RuntimeError(f"the traced calls do not make {path.relative_to(run)}")
    return Traced(parent, run.name, calls, read_truth(open_run(run)))


def draw_folders(traced: Traced, folder: Path, wanted: int, seed: int) -> Iterator[Judged]:
    """Draw folders that POSIX allows, and look at each.

    Each stays in `folder` by its number, for `resume_some`. Moments are drawn evenly from the time
    of the run and a while after it, and by turns from its calls, so that what takes no time counts.
    """
    chance = random.Random(f"{seed}/folders")  # noqa: S311 - a draw, not a secret
    begin_s = traced.calls[0].began_s
    end_s = max(call.ended_s for call in traced.calls) + AFTER_END_S
    for number in range(1, wanted + 1):
        by_time = chance.uniform(begin_s, end_s)
        at_s = by_time if number % 2 else chance.choice(traced.calls).at_s
        contents, names = KINDS[(number - 1) % len(KINDS)]
        model = _follow(traced, at_s)
        target = folder / str(number)
        target.mkdir()
        model.lay_out(target, chance, contents, names)
        promised = _standing(traced, at_s - PROMISED_S)
        found = inspect(target, promised, traced.truth)
        drawn = Drawn(number, at_s - begin_s, contents, names)
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
