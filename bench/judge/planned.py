"""What was planned, as arrays: each case once, and each launch of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.records import CONTROL, Axis, Case, Job, parse_params
from bench.judge.columns import Columns, combine, pick_texts, text_column

Codes = NDArray[np.int64]

_SERIES_COLUMNS = ("dtype", "k", "n", "src_memory", "dst_memory", "path", "direction", "algorithm")
"""What distinguishes curves where the plan does not know the case."""


class Planned(NamedTuple):
    """The planned cases of a run but control runs, and what its rows are of."""

    jobs: Sequence[Job]
    cases: list[Case]
    """Each once, by its id, as they were first met."""
    case: Codes
    """Of each planned case, launch and arm, once: its place in `cases`."""
    job: Codes
    """And its place in `jobs`, the last one that plans it."""
    row: Codes
    """Of each row: its place among these, -1 where it was not planned."""
    is_missing: NDArray[np.bool_]
    """Of each planned case, launch and arm: whether it has no row at all."""


def find_planned(jobs: Sequence[Job], rows: Columns) -> Planned:
    """Return what was planned, and which rows are of that; several rows may be of one case."""
    cases, of_jobs = _find_cases(jobs)
    case = np.concatenate([np.zeros(0, np.int64), *of_jobs])
    job = np.repeat(np.arange(len(jobs)), list(map(len, of_jobs)))
    launches = np.array([one.launch for one in jobs], dtype=np.int64)[job]
    arms = pick_texts([one.arm for one in jobs], job)
    ids = text_column([one.id for one in cases])
    every, texts = pd.factorize(np.concatenate([ids, rows["case"]]))
    row_case = every[len(ids) :]
    # One text for all rows of a case, that of the plan.
    rows["case"] = texts[row_case]
    keys = combine(
        np.concatenate([case, row_case]),
        np.concatenate([launches, rows["launch"]]),
        np.concatenate([arms, rows["arm"]]),
    )
    # A case that two jobs plan for one launch belongs to the last one.
    codes, planned = pd.factorize(keys[: len(case)])
    first, last = np.zeros(len(planned), np.int64), np.zeros(len(planned), np.int64)
    first[codes], last[codes] = case, job
    row = pd.Index(planned).get_indexer(pd.Index(keys[len(case) :])).astype(np.int64)
    is_missing = np.ones(len(planned), dtype=np.bool_)
    is_missing[row[row >= 0]] = False
    return Planned(jobs, cases, first, last, row, is_missing)


def _find_cases(jobs: Sequence[Job]) -> tuple[list[Case], list[Codes]]:
    """Return each case once, and by job the places of its cases; control runs left out."""
    places: dict[str, int] = {}
    cases: list[Case] = []
    of_jobs = []
    for job in jobs:
        for case in job.cases:
            if case.id not in places and CONTROL not in case.axes:
                places[case.id] = len(cases)
                cases.append(case)
        own = np.array([places.get(case.id, -1) for case in job.cases], dtype=np.int64)
        of_jobs.append(own[own >= 0])
    return cases, of_jobs


def cases_of_rows(planned: Planned, rows: Columns) -> tuple[list[Case], Codes]:
    """Return the cases that were not planned, by what rows say of them, and the case of each row.

    A case that was not planned has its place behind those that were.
    """
    of = np.append(planned.case, -1)[planned.row]
    places: dict[tuple[object, ...], int] = {}
    cases: list[Case] = []
    for line in np.flatnonzero(planned.row < 0):
        values = [rows[name][line] for name in (*_SERIES_COLUMNS, "benchmark", "params")]
        # NaN is unlike itself.
        key = tuple(None if value != value else value for value in values)
        of[line] = len(planned.cases) + places.setdefault(key, len(places))
        if len(places) > len(cases):
            cases.append(_make_case(*key))
    return cases, of


def _make_case(*key: object) -> Case:
    *values, benchmark, params = key
    known = zip(_SERIES_COLUMNS, values, strict=True)
    axes: dict[str, Axis] = {name: _whole(value) for name, value in known if value is not None}
    axes.update(parse_params(None if params is None else str(params)))
    return Case("", str(benchmark), axes)


def _whole(value: object) -> Axis:
    return int(value) if isinstance(value, float) else str(value)
