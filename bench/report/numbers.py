"""The full tables: one line per case that was measured, and one per case that was not.

Where the path of messages is in question, a row has beside its rate which path was proven.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bench.core.records import Stage
from bench.core.units import format_rate, format_seconds
from bench.judge.places import middle_places
from bench.judge.score import format_percent
from bench.judge.statistics import SAME, summarise
from bench.judge.table import measured
from bench.report.data import RunData
from bench.report.page import Block, Fold, Table
from bench.report.roofs import bounds

_RATES = (("tflops", 1e12, "FLOP/s"), ("gbytes_per_s", 1e9, "B/s"))
_HEADER = (
    "Case",
    "Stage",
    "Launches",
    "Median",
    "95 % interval",
    "Least",
    "P99",
    "Rate",
    "Of bound",
    "Predicted",
    "Off by",
)
_PROVEN = "Path proven"
_SHOWN = [
    *("name", "stage", "launches", "t_s", "t_low_s", "t_high_s", "least_s", "p99_s", "bound_s"),
    *("predicted_s", "messages_per_s", "tflops", "gbytes_per_s", "busbw_gbytes_per_s"),
]
"""Columns that a row of the tables is made of."""


def numbers(run: RunData) -> Iterator[Block]:
    """Yield the bounds, a table per benchmark, and one of the rows without a number."""
    yield from bounds(run)
    points = summarise(run.table)
    lines = measured(run.table)
    paths = _paths(lines)
    # In the order of the points, which are of the same lines.
    middle = middle_places(lines).assign(part=None)
    launches = middle.groupby(SAME, sort=False, dropna=False)
    points["least_s"] = launches["t_min_s"].min().to_numpy()
    points["p99_s"] = launches["t_p99_s"].max().to_numpy()
    for benchmark, group in points.groupby("benchmark", sort=False):
        rows = tuple(_row(point) for point in group[_SHOWN].to_dict("records"))
        header: tuple[str, ...] = _HEADER
        if group["case"].isin(paths).any():
            header = (*_HEADER, _PROVEN)
            proven = [paths.get(case, "") for case in group["case"]]
            rows = tuple((*row, path) for row, path in zip(rows, proven, strict=True))
        table = Table(header, rows, frozenset({0, 1, len(_HEADER)}))
        yield Fold(f"{benchmark}: {len(rows)} cases", (table,))
    if paths:
        yield _reasons(lines)
    others = run.table.drop(index=lines.index)
    if len(others):
        columns = ["name", "launch", "status", "reason"]
        rows = tuple(tuple(str(v) for v in line) for line in others[columns].to_numpy())
        table = Table(("Case", "Launch", "Status", "Reason"), rows, frozenset({0, 2, 3}))
        yield Fold(f"Without a number: {len(rows)} rows", (table,))


def _paths(lines: pd.DataFrame) -> dict[str, str]:
    """Return what was proven of the path of each case, such as `STAGED (E2)`."""
    found: dict[str, str] = {}
    for case, group in lines[lines["path_observed"].notna()].groupby("case", sort=False):
        observed = sorted(set(zip(group["path_observed"], group["path_level"], strict=True)))
        words = [f"{path} ({level})" for path, level in observed]
        # Launches that took different paths are not one number.
        found[str(case)] = words[0] if len(words) == 1 else f"launches differ: {', '.join(words)}"
    return found


def _reasons(lines: pd.DataFrame) -> Fold:
    """Return why each row's path was judged so."""
    proven = lines[lines["path_observed"].notna()]
    rows = tuple(
        (
            str(line["name"]),
            str(line["launch"]),
            f"{line['path_observed']} ({line['path_level']})",
            f"{line['path_ratio']:.2f}" if pd.notna(line["path_ratio"]) else "",
            str(line["path_reason"]),
        )
        for _, line in proven.iterrows()
    )
    header = ("Case", "Launch", _PROVEN, "Forbidden / as it is", "How it is known")
    return Fold(
        f"Paths of messages: {len(rows)} rows", (Table(header, rows, frozenset({0, 2, 4})),)
    )


def _row(point: Mapping[Any, Any]) -> tuple[str, ...]:
    interval = [_seconds(point[end]) for end in ("t_low_s", "t_high_s")]
    held_out = str(point["stage"]) != Stage.CALIBRATE
    predicted = point["predicted_s"] if held_out else float("nan")
    off = predicted / point["t_s"] - 1
    return (
        str(point["name"]),
        str(point["stage"] or ""),
        str(point["launches"]),
        _seconds(point["t_s"]),
        " to ".join(interval) if all(interval) else "",
        _seconds(point["least_s"]),
        _seconds(point["p99_s"]),
        _rate(point),
        format_percent(point["bound_s"] / point["t_s"]) if pd.notna(point["bound_s"]) else "",
        _seconds(predicted),
        format_percent(off, signed=True) if pd.notna(off) else "",
    )


def _seconds(seconds: float) -> str:
    return format_seconds(seconds) if pd.notna(seconds) else ""


def _rate(point: Mapping[Any, Any]) -> str:
    if pd.notna(point["messages_per_s"]):
        return format_rate(point["messages_per_s"], " messages/s").replace("  ", " ")
    for column, factor, unit in _RATES:
        if pd.notna(point[column]):
            text = format_rate(point[column] * factor, unit)
            bus = point["busbw_gbytes_per_s"]
            return f"{text}, bus {format_rate(bus * 1e9, 'B/s')}" if pd.notna(bus) else text
    return ""
