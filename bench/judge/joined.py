"""What stands beside the rows of a run in files of their own: predictions, and proven paths."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.records import Evidence, Prediction
from bench.judge.columns import Columns, combine, read_columns, spread, take
from bench.store.files import EVIDENCE_FILE, PREDICTIONS_FILE
from bench.store.folder import RunFolder
from bench.store.whole_rows import open_whole_rows

PREDICTED = {
    "predicted_s": "seconds",
    "low_s": "low_s",
    "high_s": "high_s",
    "tier": "tier",
    "formula": "formula",
    "calibration_cases": "calibration_cases",
    "frozen_at": "frozen_at",
}
"""Columns of the table, and of `predictions.csv`."""
PROVEN = {
    "path_observed": "path_observed",
    "path_level": "level",
    "path_reason": "reason",
    "path_ratio": "ratio",
}
"""Columns of the table, and of `evidence.csv`."""


def join_predictions(run: RunFolder, lines: Columns) -> Columns:
    """Return what was predicted of each line's case and launch, the calibrated one if there is one.

    Raises:
        RequestError: where the file is damaged.
    """
    path = run.path / PREDICTIONS_FILE
    found = read_columns(open_whole_rows(path), path, Prediction)
    # The first one of its tier, those that were calibrated before those of data sheets.
    order = np.argsort(found["tier"] != "C", kind="stable")
    return _join(lines, found, order[::-1], PREDICTED)


def join_evidence(run: RunFolder, lines: Columns) -> Columns:
    """Return what is known of the path of each line's case and launch.

    Raises:
        RequestError: where the file is damaged.
    """
    path = run.path / EVIDENCE_FILE
    found = read_columns(open_whole_rows(path), path, Evidence)
    return _join(lines, found, np.arange(len(found["case"])), PROVEN)


def _join(
    lines: Columns, found: Columns, order: NDArray[np.int64], names: dict[str, str]
) -> Columns:
    """Return columns of the last one found, in this order, for each line's case and launch."""
    count = len(found["case"])
    if not count:
        kinds = {name: found[column].dtype.kind for name, column in names.items()}
        absent = {"f": math.nan, "O": None}
        return {name: spread(absent[kind], len(lines["case"])) for name, kind in kinds.items()}
    keys = combine(
        pd.factorize(np.concatenate([found["case"], lines["case"]]))[0],
        np.concatenate([found["launch"], lines["launch"]]),
    )
    codes, distinct = pd.factorize(keys[:count])
    chosen = np.zeros(len(distinct), np.int64)
    chosen[codes[order]] = order
    place = pd.Index(distinct).get_indexer(pd.Index(keys[count:]))
    at = np.where(place >= 0, chosen[place], count)
    return {name: _beside(found[column], at) for name, column in names.items()}


def _beside(column: NDArray[np.generic], at: NDArray[np.int64]) -> NDArray[np.generic]:
    """Return the values at these places; what is behind the end is missing."""
    missing = np.array([None if column.dtype == object else math.nan], dtype=column.dtype)
    if not len(at) or at.max() < len(column):
        return take(column, at)
    return np.concatenate([column, missing])[at]
