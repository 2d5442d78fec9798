"""Writes runs to compare: launches that scatter by as much as is asked for, with known changes."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from synthetic import instant, write_run

from bench.core.records import COLUMNS, Row
from bench.store.files import RESULTS_FILE
from bench.store.folder import RunFolder, open_run
from bench.store.meta import write_meta
from bench.store.tables import csv_lines, csv_text

TIMES = ("t_median_s", "t_ci_low_s", "t_ci_high_s", "t_min_s", "t_p95_s", "t_p99_s", "t_max_s",
         "t_mean_s")  # fmt: skip


def write_side(
    folder: Path,
    factor: float | Callable[[Row], float] = 1.0,
    *,
    noise: float = 0.0005,
    launches: int = 6,
    seed: int = 1,
    label: str | None = None,
    benchmarks: Sequence[str] = ("latency",),
    change: Callable[[Row], dict[str, Any]] | None = None,
    begin_s: float = 0.0,
    **asked: Any,
) -> RunFolder:
    """Write a run whose launches take `factor` times as long, each case with noise of its own.

    Args:
        folder: of the run.
        factor: of all rows, or of each.
        noise: standard deviation of the logarithm of a launch's times.
        launches: of every case.
        seed: of the noise.
        label: kept with the run.
        benchmarks: that it has cases of.
        change: fields of each row to replace.
        begin_s: when it began, after the first moment of all.
        asked: as `write_run` takes it.
    """
    run = write_run(
        folder, benchmarks=benchmarks, launches=launches, predict=False, **{"samples": 2} | asked
    )
    wobble = random.Random(seed)  # noqa: S311 - noise, not a secret
    rows = [_scatter(row, factor, wobble.gauss(0, noise)) for row in run.rows()]
    rows = [msgspec.structs.replace(row, **change(row)) for row in rows] if change else rows
    rows = [
        msgspec.structs.replace(row, samples=40, started_utc=instant(begin_s + place / 4))
        for place, row in enumerate(rows)
    ]
    write_rows(run, rows)
    if label is not None:
        run.meta.measured.flags["label"] = label
        write_meta(folder, run.meta)
    return open_run(folder)


def write_rows(run: RunFolder, rows: Sequence[Row]) -> None:
    """Replace the rows of a run."""
    content = csv_text([COLUMNS]) + csv_lines(rows)
    (run.path / RESULTS_FILE).write_text(content, encoding="utf-8")


def _scatter(row: Row, factor: float | Callable[[Row], float], log: float) -> Row:
    own = factor(row) if callable(factor) else factor
    scale = own * math.exp(log)
    times = {name: value * scale for name in TIMES if (value := getattr(row, name)) is not None}
    return msgspec.structs.replace(row, **times)
