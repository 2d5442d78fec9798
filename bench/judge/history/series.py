"""The runs of a folder in the order in which they were measured, and each case over them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, RequestError, printable
from bench.judge.cells import text, whole
from bench.judge.history.change_points import Levels
from bench.judge.history.records import LeftOut
from bench.judge.runs import SAME_CASE
from bench.judge.table import load, measured, times_of
from bench.store.ab import is_ab
from bench.store.files import RESULTS_FILE, RUN_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.hashes import changed_files

_ALIKE = [*SAME_CASE, "timing_layer", "statistic", "path"]
"""Columns in which the lines of one series are equal."""


class Series(NamedTuple):
    """One case in the runs that measured it."""

    case: str
    name: str
    part: str | None
    nodes: int | None
    ranks_per_node: int | None
    runs: tuple[int, ...]
    """Places of the runs."""
    log_s: Levels
    """One of each run: the middle launch."""


class Past(NamedTuple):
    """What a folder holds."""

    runs: tuple[RunFolder, ...]
    left_out: tuple[LeftOut, ...]
    series: tuple[Series, ...]


def read_past(folder: Path) -> Past:
    """Return all runs below a folder in their order, and their cases.

    A run that is damaged, of another origin than the last one, or there twice is left out.

    Raises:
        RequestError: where there is no such folder, or no run in it.
    """
    left_out: list[LeftOut] = []
    found: list[tuple[RunFolder, pd.DataFrame]] = []
    for path in _run_folders(folder, left_out):
        try:
            found.append(_read(path))
        except BenchError as error:
            left_out.append(LeftOut(folder=path.name, reason=printable(error, 300)))
    found.sort(key=lambda one: (one[0].meta.started_utc, one[0].meta.run))
    kept: list[tuple[RunFolder, pd.DataFrame]] = []
    for run, lines in found:
        reason = _refuse(run, kept, found[-1][0])
        if reason:
            left_out.append(LeftOut(folder=run.path.name, reason=reason))
        else:
            kept.append((run, lines))
    if not kept:
        why = f" ({left_out[0].folder}: {left_out[0].reason})" if left_out else ""
        raise RequestError(
            f"{printable(folder, 300)} has no run in it{why}; name the folder that holds run "
            "folders, such as results"
        )
    tables = [lines.assign(place=place) for place, (_, lines) in enumerate(kept)]
    series = tuple(_series(pd.concat(tables, ignore_index=True)))
    return Past(tuple(run for run, _ in kept), tuple(left_out), series)


def _run_folders(folder: Path, left_out: list[LeftOut]) -> Iterator[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if not path.is_symlink())
    except OSError as error:
        raise RequestError(
            f"{printable(folder, 300)}: {error.strerror}; name a folder that holds run folders"
        ) from error
    for path in paths:
        if is_ab(path):
            reason = "a comparison, whose arms were set apart on purpose"
            left_out.append(LeftOut(folder=path.name, reason=reason))
        elif (path / RUN_FILE).is_file():
            yield path


def _read(path: Path) -> tuple[RunFolder, pd.DataFrame]:
    run = open_run(path)
    rows = {name: digest for name, digest in run.meta.files.items() if name == RESULTS_FILE}
    if changed_files(run.path, rows):
        raise RequestError(f"{RESULTS_FILE} is not what the run left")
    lines = measured(load(run))
    if lines.empty:
        raise RequestError("nothing was measured in it")
    return run, lines


def _refuse(
    run: RunFolder, kept: list[tuple[RunFolder, pd.DataFrame]], last: RunFolder
) -> str | None:
    """Return why a run is no part of the history, None where it is."""
    if run.meta.origin is not last.meta.origin:
        return f"its origin is {run.meta.origin}, that of the last run {last.meta.origin}"
    for other, _ in kept:
        if other.meta.run == run.meta.run:
            return f"a copy of {other.path.name}"
    return None


def _series(lines: pd.DataFrame) -> Iterator[Series]:
    lines = lines.assign(log=np.log(times_of(lines)))
    for _, own in lines.groupby(_ALIKE, sort=False, dropna=False):
        levels = own.groupby("place")["log"].median()
        levels = levels[np.isfinite(levels)]
        if levels.empty:
            continue
        head = own.iloc[-1]
        yield Series(
            case=str(head["case"]),
            name=str(head["name"]),
            part=text(head["part"]),
            nodes=whole(head["nodes"]),
            ranks_per_node=whole(head["ranks_per_node"]),
            runs=tuple(int(place) for place in levels.index),
            log_s=levels.to_numpy(np.float64),
        )
