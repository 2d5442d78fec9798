"""One table of a run: a line per row, with what was predicted, planned and missing.

Numbers are float64 with NaN where nothing was measured; texts are None there. Everything that
distinguishes the curves of a benchmark is in `series`, so that no figure and no fit joins
cases that differ in more than their size.
"""

import numpy as np
import pandas as pd

from bench.core.gpu_cases import SHARED
from bench.core.hostnames import host_of
from bench.core.records import COLUMNS, Row
from bench.judge.columns import (
    Columns,
    Values,
    combine,
    join,
    pick_texts,
    read_columns,
    spread,
    take,
)
from bench.judge.curves import order_lines, place_lines
from bench.judge.joined import PREDICTED, PROVEN, join_evidence, join_predictions
from bench.judge.missing import NOT_MEASURED, missing_lines
from bench.judge.params import PARAM, join_params, take_controls_out
from bench.judge.planned import Planned, cases_of_rows, find_planned
from bench.store.files import RESULTS_FILE
from bench.store.folder import RunFolder

__all__ = [
    "DERIVED",
    "NOT_MEASURED",
    "PARAM",
    "is_back_to_back",
    "is_on_shared_gpu",
    "is_oversubscribed",
    "is_standin",
    "load",
    "measured",
    "times_of",
]

DERIVED = ("stage", "series", "size", "label", "setting", "name", "part")
_COUNTED = ("schema", "launch")
"""Whole numbers that every line has."""


def load(run: RunFolder) -> pd.DataFrame:
    """Return the run as one line per row, by benchmark, series, size and launch.

    A planned case and launch without any row has a line too. Control runs are left out: they are
    there for the evidence of a path, and no results.

    Columns are those of `results.csv`, then `stage`, `series`, `size` (the bytes, batch or, of a
    barrier, ranks that the suite asked for), `label` (what distinguishes the series), `setting`
    (the same without a pair's two ranks), `name` (for people), `part` (`src`, where a case has a
    row for each node or GPU), the prediction (`predicted_s`, `low_s`, `high_s`, `tier`, `formula`,
    `calibration_cases`, `frozen_at`), the evidence of its path (`path_observed`, `path_level`,
    `path_reason`, `path_ratio`) and one `param_` column for each axis in `params`. Times are
    seconds. Values are replaced by whole columns: one of a single value takes the memory of one.

    Raises:
        RequestError: where a file of the run is damaged.
    """
    rows, params = take_controls_out(read_columns(run.results(), run.path / RESULTS_FILE, Row))
    _add_hosts(rows)
    planned = find_planned(run.plan, rows)
    unplanned, of_rows = cases_of_rows(planned, rows)
    missing, missing_params, of_missing = missing_lines(run, planned)
    lines = {name: _typed(name, join([rows.pop(name), missing.pop(name)])) for name in COLUMNS}
    of = np.concatenate([of_rows, of_missing])
    lines |= place_lines([*planned.cases, *unplanned], of, lines)
    lines |= {"stage": _stages(planned), "part": _parts(len(of_rows), lines)}
    lines |= join_params(params, missing_params)
    order = order_lines(lines)
    lines = {name: take(lines.pop(name), order) for name in tuple(lines)}
    lines |= join_predictions(run, lines) | join_evidence(run, lines)
    pairs = sorted(name for name in lines if name.startswith(PARAM))
    names = (*COLUMNS, *DERIVED, *PREDICTED, *PROVEN)
    # With its type: pandas would guess another one for texts.
    series = {name: pd.Series(lines[name], dtype=lines[name].dtype, copy=False) for name in names}
    # Pairs are one block, however many there are: pandas warns of a table of over 100.
    block = np.empty((len(pairs), len(of)), dtype=object)
    for place, name in enumerate(pairs):
        block[place] = lines.pop(name)
    of_pairs = pd.DataFrame(block.T, columns=pairs, dtype=object, copy=False)
    return pd.concat([pd.DataFrame(series, copy=False), of_pairs], axis=1)


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines that hold a time: status `ok`, a median that is a positive number."""
    return table[(table["status"] == "ok") & (table["t_median_s"] > 0)]


def times_of(table: pd.DataFrame) -> "pd.Series[float]":
    """Return the time of each line that `statistic` names, else the median, as `Row.t_s` does."""
    times = table["t_median_s"]
    for statistic, column in (("mean", "t_mean_s"), ("min", "t_min_s")):
        times = times.where(table["statistic"] != statistic, table[column])
    return times


def is_oversubscribed(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which lines were measured with more ranks than cores; they are no headline."""
    column = PARAM + "oversubscribed"
    if column not in table:
        return pd.Series(False, index=table.index, dtype=bool)
    return table[column].isin(["1", "true", "True", "yes"])


def is_on_shared_gpu(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which lines are of ranks that shared a GPU; they are no measure of one, nor of a link.

    Where NCCL was told to let them, the same.
    """
    column = PARAM + SHARED
    if column not in table:
        return pd.Series(False, index=table.index, dtype=bool)
    return table[column].notna()


def is_standin(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which lines are of host memory used as a device's; they are no measure of any GPU."""
    return (table[["src_memory", "dst_memory"]] == "standin").any(axis=1)


def is_back_to_back(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which lines are of collective calls that followed each other (coll_throughput)."""
    column = PARAM + "mode"
    if column not in table:
        return pd.Series(False, index=table.index, dtype=bool)
    return table[column] == "throughput"


def _typed(name: str, column: Values) -> Values:
    """Return a column as the table has it: float64 unless every line counts it."""
    is_measured = column.dtype == np.int64 and name not in _COUNTED
    return column.astype(np.float64) if is_measured else column


def _add_hosts(rows: Columns) -> None:
    """Add the hosts of both ends where the files have none: those of an older schema."""
    for end in ("src", "dst"):
        name = f"{end}_host"
        if pd.isna(rows[name]).all():
            codes, places = pd.factorize(rows[end])
            rows[name] = pick_texts(map(host_of, places), codes)


def _stages(planned: Planned) -> Values:
    """Return the stage of every line, None where the plan does not know it."""
    of_rows = np.append(planned.job, -1)[planned.row]
    jobs = np.concatenate([of_rows, planned.job[planned.is_missing]])
    return pick_texts([job.stage.value for job in planned.jobs], jobs)


def _parts(rows: int, lines: Columns) -> Values:
    """Return `src` of each row whose case has several in one launch and arm, None of the others."""
    case = pd.factorize(lines["case"][:rows])[0]
    kinds = combine(case, lines["launch"][:rows], lines["arm"][:rows])
    several = np.bincount(kinds) > 1
    count = len(lines["src"])
    if not several.any():
        return spread(None, count)
    has_parts = np.zeros(case.max() + 1, np.bool_)
    has_parts[case[several[kinds]]] = True
    parts = spread(None, count).copy()
    of_parts = np.flatnonzero(has_parts[case])
    parts[of_parts] = lines["src"][of_parts]
    return parts
