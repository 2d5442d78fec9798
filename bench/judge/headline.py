"""The few numbers that a reader remembers, each with the case it was reached in."""

import math
from collections.abc import Iterator
from typing import Literal

import msgspec
import pandas as pd

from bench.core.records import Stage
from bench.core.units import format_rate, format_seconds
from bench.judge.statistics import summarise
from bench.judge.table import COLLECTIVES, is_oversubscribed, is_standin

SMALL_MESSAGE_BYTES = 8
"""The message whose latency is quoted everywhere; the smallest one where it was not sent."""


class Headline(msgspec.Struct, frozen=True):
    """One number of a run."""

    what: str
    value: float
    unit: Literal["s", "B/s", "messages/s", "FLOP/s"]
    case: str
    name: str
    """The case that it was reached in, for people."""
    error: float | None
    """Predicted / measured - 1; None where the case was not predicted."""
    calibration: bool
    """True where the case served to calibrate the model, so that its error would mean nothing."""

    @property
    def text(self) -> str:
        """The value with three significant digits and its unit."""
        if self.unit == "s":
            return format_seconds(self.value)
        if self.unit == "messages/s":
            return format_rate(self.value, " messages/s").replace("  ", " ")
        return format_rate(self.value, self.unit)


def headlines(table: pd.DataFrame) -> list[Headline]:
    """Return the numbers of one run, none from more ranks than cores or a device that is none."""
    points = summarise(table[~is_oversubscribed(table) & ~is_standin(table)])
    found: list[Headline] = []
    for pick in (
        _latency,
        _bandwidth,
        _message_rate,
        _pairs,
        _collectives,
        _barrier,
        _memory,
        _matmul,
    ):
        found += pick(points)
    return found


def _latency(points: pd.DataFrame) -> Iterator[Headline]:
    for label, curve in _curves(points, "latency"):
        exact = curve[curve["size"] == SMALL_MESSAGE_BYTES]
        point = exact.iloc[0] if len(exact) else curve.iloc[int(curve["size"].argmin())]
        yield _headline(f"Small-message latency{label}", point, "s", point["t_s"])


def _bandwidth(points: pd.DataFrame) -> Iterator[Headline]:
    ways = {"bandwidth": "one way", "bibandwidth": "both ways together"}
    for benchmark, way in ways.items():
        for label, curve in _curves(points, benchmark):
            yield from _best(f"Peak bandwidth, {way}{label}", curve, "gbytes_per_s", 1e9, "B/s")


def _message_rate(points: pd.DataFrame) -> Iterator[Headline]:
    for label, curve in _curves(points, "message_rate"):
        yield from _best(f"Message rate{label}", curve, "messages_per_s", 1.0, "messages/s")


def _pairs(points: pd.DataFrame) -> Iterator[Headline]:
    """The slowest and the fastest pair at the largest messages: a reader wants both ends."""
    lines = points[(points["benchmark"] == "pairs_bandwidth") & points["gbytes_per_s"].notna()]
    if lines.empty:
        return
    lines = lines[lines["size"] == lines["size"].max()]
    rates = lines["gbytes_per_s"]
    for what, place in (("slowest", rates.argmin()), ("fastest", rates.argmax())):
        point = lines.iloc[int(place)]
        rate = point["gbytes_per_s"] * 1e9
        yield _headline(f"Bandwidth one way, {what} of {len(lines)} pairs", point, "B/s", rate)


def _collectives(points: pd.DataFrame) -> Iterator[Headline]:
    for collective in COLLECTIVES:
        lines = points[points["benchmark"] == collective]
        what = f"{collective.replace('_', ' ').capitalize()}, bus bandwidth"
        yield from _best(what, lines, "busbw_gbytes_per_s", 1e9, "B/s")


def _barrier(points: pd.DataFrame) -> Iterator[Headline]:
    """The most ranks: a barrier takes longer the more have to come."""
    lines = points[(points["benchmark"] == "barrier") & points["size"].notna()]
    lines = lines[lines["size"] == lines["size"].max()]
    for _, line in lines.drop_duplicates("series").iterrows():
        label = f" ({line['label']})" if line["label"] else ""
        yield _headline(f"Barrier of {line['size']:.0f} ranks{label}", line, "s", line["t_s"])


def _memory(points: pd.DataFrame) -> Iterator[Headline]:
    """The largest size stands for memory: a smaller one may stay in a cache."""
    names = {"memcpy": "Memory copy bandwidth", "stream": "Memory bandwidth"}
    for benchmark, what in names.items():
        for label, curve in _curves(points, benchmark):
            if benchmark == "stream" and "triad" not in label:
                continue
            point = curve.iloc[int(curve["size"].argmax())]
            rate = point["gbytes_per_s"] * 1e9
            yield _headline(f"{what}{label} at the largest size", point, "B/s", rate)


def _matmul(points: pd.DataFrame) -> Iterator[Headline]:
    lines = points[points["benchmark"] == "matmul"]
    for dtype, curve in lines.groupby("dtype", sort=True):
        yield from _best(f"Matrix product, best {dtype}", curve, "tflops", 1e12, "FLOP/s")


def _curves(points: pd.DataFrame, benchmark: str) -> Iterator[tuple[str, pd.DataFrame]]:
    lines = points[(points["benchmark"] == benchmark) & points["size"].notna()]
    for _, curve in lines.groupby("series", sort=False):
        label = curve["label"].iloc[0]
        yield f" ({label})" if label else "", curve


def _best(
    what: str,
    curve: pd.DataFrame,
    column: str,
    factor: float,
    unit: Literal["B/s", "messages/s", "FLOP/s"],
) -> Iterator[Headline]:
    present = curve[curve[column].notna()]
    if len(present):
        point = present.iloc[int(present[column].argmax())]
        yield _headline(what, point, unit, point[column] * factor)


def _headline(
    what: str,
    point: "pd.Series[float]",
    unit: Literal["s", "B/s", "messages/s", "FLOP/s"],
    value: float,
) -> Headline:
    predicted_s = float(point["predicted_s"])
    calibration = str(point["stage"]) == Stage.CALIBRATE
    error = predicted_s / float(point["t_s"]) - 1 if math.isfinite(predicted_s) else None
    return Headline(
        what=what,
        value=float(value),
        unit=unit,
        case=str(point["case"]),
        name=str(point["name"]),
        error=None if calibration else error,
        calibration=calibration,
    )
