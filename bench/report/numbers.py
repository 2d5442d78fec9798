"""The full tables: one line per case that was measured, and one per case that was not."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.analysis.score import format_percent
from bench.analysis.statistics import summarise
from bench.analysis.table import measured
from bench.record import Stage
from bench.report.data import RunData
from bench.report.page import Block, Fold, Table
from bench.units import format_rate, format_seconds

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
    "Predicted",
    "Off by",
)


def numbers(run: RunData) -> Iterator[Block]:
    """Yield a table per benchmark, and one of the rows without a number."""
    points = summarise(run.table)
    lines = measured(run.table)
    extremes = lines.groupby("case").agg({"t_min_s": "min", "t_p99_s": "max"})
    for benchmark, group in points.groupby("benchmark", sort=False):
        rows = tuple(_row(line, extremes) for _, line in group.iterrows())
        yield Fold(f"{benchmark}: {len(rows)} cases", (Table(_HEADER, rows, frozenset({0, 1})),))
    others = run.table[~run.table.index.isin(lines.index)]
    if len(others):
        columns = ["name", "launch", "status", "reason"]
        rows = tuple(tuple(str(v) for v in line) for line in others[columns].to_numpy())
        table = Table(("Case", "Launch", "Status", "Reason"), rows, frozenset({0, 2, 3}))
        yield Fold(f"Without a number: {len(rows)} rows", (table,))


def _row(point: "pd.Series[Any]", extremes: pd.DataFrame) -> tuple[str, ...]:
    least_s, p99_s = extremes.loc[point["case"], ["t_min_s", "t_p99_s"]].tolist()
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
        _seconds(least_s),
        _seconds(p99_s),
        _rate(point),
        _seconds(predicted),
        format_percent(off, signed=True) if pd.notna(off) else "",
    )


def _seconds(seconds: float) -> str:
    return format_seconds(seconds) if pd.notna(seconds) else ""


def _rate(point: "pd.Series[Any]") -> str:
    if pd.notna(point["messages_per_s"]):
        return format_rate(point["messages_per_s"], " messages/s").replace("  ", " ")
    for column, factor, unit in _RATES:
        if pd.notna(point[column]):
            return format_rate(point[column] * factor, unit)
    return ""
