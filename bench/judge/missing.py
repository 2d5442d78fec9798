"""The lines of what was planned and has no row: never silence, never a pass."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.core.errors import printable
from bench.core.records import COLUMNS, Case, Job, Row
from bench.judge.columns import Columns, empty_columns, spread, take, text_column
from bench.judge.params import Params
from bench.judge.planned import Codes, Planned
from bench.store.folder import RunFolder

NOT_MEASURED = "not measured"
"""Status of a planned case without a row."""

_AXIS_COLUMNS = ("bytes", "batch", "m", "n", "k", "dtype", "window", "path", "direction")
"""Columns of rows that a case has as axes of these names."""

Types = Mapping[str, np.dtype[Any]]
"""Of columns, by name."""


def missing_lines(run: RunFolder, planned: Planned) -> tuple[Columns, Params, Codes]:
    """Return the columns of what has no row, its pairs, and the place of its case in the plan."""
    of = planned.case[planned.is_missing]
    kinds, kind = np.unique(of, return_inverse=True)
    cases = [planned.cases[place] for place in kinds]
    types = {name: column.dtype for name, column in empty_columns(Row).items()}
    lines = {name: spread(_absent(kind), len(of)) for name, kind in types.items()}
    known = {
        "schema": run.meta.schema,
        "run": run.meta.run,
        "origin": run.meta.origin.value,
        "status": NOT_MEASURED,
        "reason": _why_missing(run.meta.outcome),
    }
    lines |= {name: spread(value, len(of)) for name, value in known.items()}
    lines |= _of_jobs(planned.jobs, planned.job[planned.is_missing], types)
    lines |= {name: take(column, kind) for name, column in _of_cases(cases, types).items()}
    params = Params(len(cases))
    for place, case in enumerate(cases):
        for name, value in case.axes.items():
            if name not in COLUMNS:
                params.set(place, name, str(value))
    params.of = kind
    return lines, params, of


def _absent(kind: np.dtype[Any]) -> float | None:
    return None if kind.kind == "O" else math.nan


def _of_jobs(jobs: Sequence[Job], of: Codes, types: Types) -> Columns:
    """Return what is known from the job that a case was planned in."""
    known: dict[str, list[object]] = {
        "job": [job.id for job in jobs],
        "arm": [job.arm for job in jobs],
        "attempt": [job.attempt for job in jobs],
        "launch": [job.launch for job in jobs],
        "ranks": [job.ranks for job in jobs],
    }
    return {name: np.array(values, dtype=types[name])[of] for name, values in known.items()}


def _of_cases(cases: Sequence[Case], types: Types) -> Columns:
    """Return what is known from the axes of cases."""
    known: Columns = {
        "case": text_column(case.id for case in cases),
        "benchmark": text_column(case.benchmark for case in cases),
    }
    for name in _AXIS_COLUMNS:
        absent = _absent(types[name])
        values = [case.axes.get(name, absent) for case in cases]
        known[name] = np.array([*values, absent], dtype=types[name])[:-1]
    return known


def _why_missing(outcome: str | None) -> str:
    if outcome is None:
        return "the run was stopped before it came to this case"
    return f"the run ended ({printable(outcome)}) before it came to this case"
