"""One table of a run: a line per case and launch, with what was predicted, planned and missing.

Numbers are float64 with NaN where nothing was measured; texts are None there. Everything that
distinguishes the curves of a benchmark is in `series`, so that no figure and no fit joins
cases that differ in more than their size.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pandas as pd

from bench.core.errors import printable
from bench.core.hostnames import host_of
from bench.core.records import (
    COLUMNS,
    CONTROL,
    Axis,
    Case,
    Evidence,
    Job,
    Prediction,
    Row,
    parse_params,
)
from bench.core.units import format_bytes
from bench.measure import MEASUREMENTS
from bench.measure.profiles import place_of, size_axis_of
from bench.store.folder import RunFolder

NOT_MEASURED = "not measured"
"""Status of a planned case without a row: never silence, never a pass."""

SIZE_AXES = ("bytes", "batch")
"""The axes that curves are drawn along where the benchmark is not known."""
_PRODUCT = {"k", "n"}
"""Axes of a benchmark whose cases are named m x k x n."""

EVIDENCE = ("path_observed", "path_level", "path_reason", "path_ratio")
DERIVED = ("stage", "series", "size", "label", "setting", "name")
PREDICTED = (
    "predicted_s",
    "low_s",
    "high_s",
    "tier",
    "formula",
    "calibration_cases",
    "frozen_at",
)
PARAM = "param_"
"""Prefix of the columns that hold the pairs of `params`."""

_SERIES_COLUMNS = ("dtype", "k", "n", "src_memory", "dst_memory", "path", "direction", "algorithm")
"""What distinguishes curves where the plan does not know the case."""
_ALWAYS_NAMED = ("kernel", "dtype")
"""Axes that belong to a case's name even where they do not vary."""
_MEMORY = ("memory", "dst_memory")
"""Axes that belong there where they are not the host's own."""
_NUMERIC_TYPES = (int, float, int | None, float | None)
_NUMERIC = {field.name for field in msgspec.structs.fields(Row) if field.type in _NUMERIC_TYPES} | {
    "size",
    "predicted_s",
    "low_s",
    "high_s",
    "path_ratio",
}

_PLAIN_VALUES = ("mode", "path", "strategy", "split", "posting", "pattern")
"""Axes whose values need no name beside them."""

_PAIR = ("src_rank", "dst_rank")
"""Axes that name a pair; people know it by its hosts."""

_GPUS = ("src_gpu", "dst_gpu")
"""Axes that name GPUs of one process; where one is missing it is all others."""

_COUNTED = ("schema", "attempt", "launch")
"""Whole numbers that every line has."""

Record = dict[str, Any]


def load(run: RunFolder) -> pd.DataFrame:
    """Return the run as one line per case and launch, by benchmark, series, size and launch.

    Control runs are left out: they are there for the evidence of a path, and no results.

    Columns are those of `results.csv`, then `stage`, `series`, `size` (the bytes, batch or, of a
    barrier, ranks that the suite asked for), `label` (what distinguishes the series), `setting`
    (the same without a pair's two ranks), `name` (for people), the prediction (`predicted_s`,
    `low_s`, `high_s`, `tier`, `formula`, `calibration_cases`, `frozen_at`), the evidence of its
    path (`path_observed`, `path_level`, `path_reason`, `path_ratio`) and one `param_` column for
    each axis in `params`. Times are seconds.

    Raises:
        RequestError: where a file of the run is damaged.
    """
    rows = [row for row in run.rows() if CONTROL not in parse_params(row.params)]
    planned = _planned(run.plan)
    records = [_row_record(row, planned) for row in rows]
    records += [_missing_record(run, job, case) for job, case in _missing(run.plan, rows)]
    _name(records)
    records.sort(key=_order)
    predictions = _joined(run.predictions())
    evidence = _proven(run.evidence())
    for record in records:
        key = (record["case"], record["launch"])
        record |= {**predictions.get(key, {}), **evidence.get(key, {})}
    return _frame(records)


def load_samples(run: RunFolder) -> pd.DataFrame:
    """Return every sample of a run: case, launch, sample, rank, seconds.

    Raises:
        RequestError: where the file is damaged.
    """
    samples = [msgspec.structs.astuple(sample) for sample in run.samples()]
    return pd.DataFrame(samples, columns=["case", "launch", "sample", "rank", "seconds"])


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines that hold a time: status `ok`, a median that is a positive number."""
    return table[(table["status"] == "ok") & (table["t_median_s"] > 0)]


def is_oversubscribed(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which lines were measured with more ranks than cores; they are no headline."""
    column = PARAM + "oversubscribed"
    if column not in table:
        return pd.Series(False, index=table.index, dtype=bool)
    return table[column].isin(["1", "true", "True", "yes"])


def is_standin(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which lines are of host memory used as a device's; they are no measure of any GPU."""
    return (table[["src_memory", "dst_memory"]] == "standin").any(axis=1)


def is_back_to_back(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which lines are of collective calls that followed each other (coll_throughput)."""
    column = PARAM + "mode"
    if column not in table:
        return pd.Series(False, index=table.index, dtype=bool)
    return table[column] == "throughput"


def _planned(plan: Iterable[Job]) -> dict[tuple[str, int], tuple[Job, Case]]:
    return {
        (case.id, job.launch): (job, case)
        for job in plan
        for case in job.cases
        if CONTROL not in case.axes
    }


def _missing(plan: Iterable[Job], rows: Iterable[Row]) -> list[tuple[Job, Case]]:
    done = {(row.case, row.launch) for row in rows}
    return [pair for key, pair in _planned(plan).items() if key not in done]


def _row_record(row: Row, planned: Mapping[tuple[str, int], tuple[Job, Case]]) -> Record:
    record: Record = msgspec.structs.asdict(row)
    record |= {"status": row.status.value, "origin": row.origin.value}
    params = parse_params(row.params)
    record |= {PARAM + name: value for name, value in params.items()}
    job, case = planned.get((row.case, row.launch), (None, None))
    record["stage"] = job.stage.value if job else None
    if case is not None:
        axes = dict(case.axes)
    else:
        axes = {name: record[name] for name in _SERIES_COLUMNS if record[name] is not None}
        axes |= params
    return record | _place(axes, record)


def _missing_record(run: RunFolder, job: Job, case: Case) -> Record:
    record: Record = {
        "schema": run.meta.schema,
        "run": run.meta.run,
        "origin": run.meta.origin.value,
        "job": job.id,
        "attempt": job.attempt,
        "launch": job.launch,
        "case": case.id,
        "benchmark": case.benchmark,
        "status": NOT_MEASURED,
        "reason": _why_missing(run.meta.outcome),
        "ranks": job.ranks,
        "stage": job.stage.value,
    }
    record |= {axis: value for axis, value in case.axes.items() if axis in _AXIS_COLUMNS}
    record |= {PARAM + axis: str(value) for axis, value in case.axes.items() if axis not in COLUMNS}
    return record | _place(case.axes, record)


_AXIS_COLUMNS = {"bytes", "batch", "m", "n", "k", "dtype", "window", "path", "direction"}


def _why_missing(outcome: str | None) -> str:
    if outcome is None:
        return "the run was stopped before it came to this case"
    return f"the run ended ({printable(outcome)}) before it came to this case"


def _place(axes: Mapping[str, Axis], record: Record) -> Record:
    """Return what places a case in its curve: series, size, and the axes to name it by."""
    known = size_axis_of(record["benchmark"])
    names = SIZE_AXES if known is None else (known,)
    # What the suite asked for, which a case has whether it was measured or not.
    sizes = [size for name in names for size in (axes.get(name), record.get(name))]
    others = {name: v for name, v in axes.items() if name not in (*SIZE_AXES, *names)}
    series = ";".join(f"{name}={value}" for name, value in sorted(others.items()))
    return {
        "series": f"{record['benchmark']};{series}" if series else record["benchmark"],
        "size": next((size for size in sizes if isinstance(size, int)), None),
        "_axes": others,
    }


def _name(records: list[Record]) -> None:
    """Set `label` and `name` from the axes that vary within the benchmark."""
    values: dict[str, dict[str, set[Axis]]] = {}
    for record in records:
        seen = values.setdefault(record["benchmark"], {})
        for axis, value in record["_axes"].items():
            seen.setdefault(axis, set()).add(value)
    for record in records:
        axes = record.pop("_axes")
        varying = {a for a, found in values[record["benchmark"]].items() if len(found) > 1}
        pair = [_pair_name(axes, record)] if set(_PAIR) <= axes.keys() else []
        setting = _setting(axes, varying)
        record["label"] = printable(" ".join(pair + setting), 80) or None
        record["setting"] = printable(" ".join(setting), 400) or None
        record["name"] = _case_name(record)


def _order(record: Record) -> tuple[object, ...]:
    benchmark, size = record["benchmark"], record["size"]
    # The plan is shuffled; a reader is not.
    return (
        place_of(benchmark),
        benchmark,
        record["series"],
        -1 if size is None else size,
        record["launch"],
    )


def _setting(axes: Mapping[str, Axis], varying: set[str]) -> list[str]:
    """Return the words for all that distinguishes a case but its size and a pair of ranks."""
    gpus = [_gpus_name(axes)] if {*_GPUS} & axes.keys() else []
    shape = [f"{axes['k']} x {axes['n']}"] if {"k", "n"} <= axes.keys() else []
    named = [str(axes[axis]) for axis in _ALWAYS_NAMED if axis in axes]
    elsewhere = {axis for axis in _MEMORY if axes.get(axis, "host") != "host"}
    elsewhere_named = {"k", "n", *_ALWAYS_NAMED, *_PAIR, *_MEMORY, *_GPUS}
    others = sorted(varying - elsewhere_named - ({"pattern"} if {*_GPUS} & axes.keys() else set()))
    named += [_memory_name(axes)] if elsewhere or varying & {*_MEMORY} & axes.keys() else []
    named += [
        str(axes[axis]) if axis in _PLAIN_VALUES else f"{axis} {axes[axis]}"
        for axis in others
        if axis in axes
    ]
    return gpus + shape + named


def _memory_name(axes: Mapping[str, Axis]) -> str:
    """Return the kind of memory, or of that of both ends where they differ."""
    ends = [str(axes[axis]) for axis in _MEMORY if axes.get(axis, "same") != "same"]
    return " to ".join(ends)


def _gpus_name(axes: Mapping[str, Axis]) -> str:
    return " to ".join(f"GPU {axes[end]}" if end in axes else "all" for end in _GPUS)


def _pair_name(axes: Mapping[str, Axis], record: Record) -> str:
    """Return the two ends: hosts where each has one rank, else ranks as well."""
    src, dst = record.get("src"), record.get("dst")
    if not src or not dst:
        src, dst = (f"rank {axes[axis]}" for axis in _PAIR)
    elif record.get("ranks_per_node") == 1:
        src, dst = (host_of(end) for end in (src, dst))
    return f"{src} to {dst}"


def _case_name(record: Record) -> str:
    benchmark, label, size = printable(record["benchmark"]), record["label"], record["size"]
    axis = size_axis_of(record["benchmark"])
    if _is_product(record["benchmark"]):
        return f"{benchmark} {'?' if size is None else size} x {label or '?'}"
    return " ".join(filter(None, [benchmark, label, _size_text(axis, size)]))


def _is_product(benchmark: str) -> bool:
    """Return whether a case is known by the shape of its product: m x k x n."""
    known = MEASUREMENTS.get(benchmark)
    return known is not None and {axis.name for axis in known.axes} >= _PRODUCT


def _size_text(axis: str | None, size: int | None) -> str | None:
    """Return a size in words: bytes where nothing else is known."""
    if axis is None or axis == "bytes":
        return None if size is None else format_bytes(size)
    return f"{size or '?'} ranks" if axis == "ranks" else f"{axis} {size or '?'}"


def _joined(predictions: Iterable[Prediction]) -> dict[tuple[str, int], Record]:
    """Return one prediction per case and launch: the calibrated one where there is one."""
    found: dict[tuple[str, int], Record] = {}
    for prediction in predictions:
        key = (prediction.case, prediction.launch)
        if key in found and (found[key]["tier"] == "C" or prediction.tier == "D"):
            continue
        found[key] = {
            "predicted_s": prediction.seconds,
            "low_s": prediction.low_s,
            "high_s": prediction.high_s,
            "tier": prediction.tier,
            "formula": prediction.formula,
            "calibration_cases": prediction.calibration_cases,
            "frozen_at": prediction.frozen_at,
        }
    return found


def _proven(evidence: Iterable[Evidence]) -> dict[tuple[str, int], Record]:
    return {
        (one.case, one.launch): {
            "path_observed": one.path_observed,
            "path_level": one.level,
            "path_reason": one.reason,
            "path_ratio": one.ratio,
        }
        for one in evidence
    }


def _frame(records: list[Record]) -> pd.DataFrame:
    params = sorted({name for record in records for name in record if name.startswith(PARAM)})
    columns = {}
    for name in (*COLUMNS, *DERIVED, *PREDICTED, *EVIDENCE, *params):
        values = [record.get(name) for record in records]
        # A fixed type per column: pandas would guess another one for a run without that value.
        kind = "int64" if name in _COUNTED else "float64" if name in _NUMERIC else "object"
        columns[name] = pd.Series(values, dtype=kind)
    return pd.DataFrame(columns)
