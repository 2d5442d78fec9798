"""The few numbers that a reader remembers, each with the case it was reached in."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import pandas as pd

from bench.contracts import Headline as Declared
from bench.contracts.profile import HeadlinePick, RateColumn
from bench.core.records import Stage
from bench.core.units import format_rate, format_seconds
from bench.judge.statistics import summarise
from bench.judge.table import is_on_shared_gpu, is_oversubscribed, is_standin
from bench.measure import MEASUREMENTS

SMALL_MESSAGE_BYTES = 8
"""The message whose latency is quoted everywhere; the smallest one where it was not sent."""

Unit = Literal["s", "B/s", "messages/s", "FLOP/s"]


class Headline(msgspec.Struct, frozen=True):
    """One number of a run."""

    what: str
    value: float
    unit: Unit
    case: str
    name: str
    """The case that it was reached in, for people."""
    error: float | None
    """Predicted / measured - 1; None where the case was not predicted."""
    calibration: bool
    """True where the case served to calibrate the model, so that its error would mean nothing."""
    nodes: int | None = None
    ranks_per_node: int | None = None

    @property
    def text(self) -> str:
        """The value with three significant digits and its unit."""
        if self.unit == "s":
            return format_seconds(self.value)
        if self.unit == "messages/s":
            return format_rate(self.value, " messages/s").replace("  ", " ")
        return format_rate(self.value, self.unit)


def headlines(table: pd.DataFrame) -> list[Headline]:
    """Return the numbers of one run, none from more ranks than cores or GPUs, or from no device."""
    apart = is_oversubscribed(table) | is_on_shared_gpu(table) | is_standin(table)
    points = summarise(table[~apart])
    found: list[Headline] = []
    for benchmark, measurement in MEASUREMENTS.items():
        declared = measurement.profile.headline
        if declared is not None:
            lines = points[points["benchmark"] == benchmark]
            found += PICKS[declared.pick](lines, declared)
    return found


def _small_message(lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    for label, curve in _curves(lines, declared):
        exact = curve[curve["size"] == SMALL_MESSAGE_BYTES]
        point = exact.iloc[0] if len(exact) else curve.iloc[int(curve["size"].argmin())]
        yield from _headline(f"{declared.what}{label}", point, declared)


def _best_of_each_curve(lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    for label, curve in _curves(lines, declared):
        yield from _best(f"{declared.what}{label}", curve, declared)


def _best_of_all(lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    yield from _best(declared.what, lines, declared)


def _best_of_each_dtype(lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    for dtype, curve in lines.groupby("dtype", sort=True):
        yield from _best(f"{declared.what} {dtype}", curve, declared)


def _largest_of_each_curve(lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    """The largest size stands for memory: a smaller one may stay in a cache."""
    for label, curve in _curves(lines, declared):
        point = curve.iloc[int(curve["size"].argmax())]
        yield from _headline(f"{declared.what}{label} at the largest size", point, declared)


def _most_ranks(lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    """The most ranks: what waits for all takes longer the more have to come."""
    lines = lines[lines["size"].notna()]
    lines = lines[lines["size"] == lines["size"].max()]
    for _, line in lines.drop_duplicates("series").iterrows():
        what = f"{declared.what} of {line['size']:.0f} ranks{_in_brackets(line['label'])}"
        yield from _headline(what, line, declared)


def _ends_of_pairs(lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    """The slowest and the fastest pair at the largest messages: a reader wants both ends.

    Pairs are compared where they differ in nothing but their ranks.
    """
    lines = lines[_values(lines, declared).notna()]
    for setting, group in lines.groupby(lines["setting"].fillna(""), sort=False):
        pairs = group[group["size"] == group["size"].max()]
        values = _values(pairs, declared)
        for which, place in (("slowest", values.argmin()), ("fastest", values.argmax())):
            what = f"{declared.what}, {which} of {len(pairs)} pairs{_in_brackets(setting)}"
            yield from _headline(what, pairs.iloc[int(place)], declared)


PICKS: dict[HeadlinePick, Callable[[pd.DataFrame, Declared], Iterator[Headline]]] = {
    "small message": _small_message,
    "best of each curve": _best_of_each_curve,
    "best": _best_of_all,
    "best of each dtype": _best_of_each_dtype,
    "largest of each curve": _largest_of_each_curve,
    "most ranks": _most_ranks,
    "ends of pairs": _ends_of_pairs,
}
"""By what a benchmark declares; each takes its points."""

RATES: dict[RateColumn, tuple[float, Unit]] = {
    "gbytes_per_s": (1e9, "B/s"),
    "busbw_gbytes_per_s": (1e9, "B/s"),
    "messages_per_s": (1.0, "messages/s"),
    "tflops": (1e12, "FLOP/s"),
}
"""Factor and unit of the columns that hold rates."""
_SECONDS: tuple[float, Unit] = (1.0, "s")


def _values(lines: pd.DataFrame, declared: Declared) -> "pd.Series[float]":
    """Return what is compared: rates, or the inverse of times, so that more is faster."""
    return 1 / lines["t_s"] if declared.rate is None else lines[declared.rate]


def _curves(lines: pd.DataFrame, declared: Declared) -> Iterator[tuple[str, pd.DataFrame]]:
    for _, curve in lines[lines["size"].notna()].groupby("series", sort=False):
        label = curve["label"].iloc[0]
        if declared.label in (label or ""):
            yield _in_brackets(label), curve


def _in_brackets(label: object) -> str:
    return f" ({label})" if label else ""


def _best(what: str, lines: pd.DataFrame, declared: Declared) -> Iterator[Headline]:
    values = _values(lines, declared)
    if values.notna().any():
        yield from _headline(what, lines.iloc[int(values.argmax())], declared)


def _headline(what: str, point: "pd.Series[float]", declared: Declared) -> Iterator[Headline]:
    """Yield the headline of a point, nothing where it has no such rate."""
    factor, unit = _SECONDS if declared.rate is None else RATES[declared.rate]
    value = factor * float(point["t_s" if declared.rate is None else declared.rate])
    if not math.isfinite(value):
        return
    predicted_s = float(point["predicted_s"])
    calibration = str(point["stage"]) == Stage.CALIBRATE
    error = predicted_s / float(point["t_s"]) - 1 if math.isfinite(predicted_s) else None
    yield Headline(
        what=what,
        value=value,
        unit=unit,
        case=str(point["case"]),
        name=str(point["name"]),
        error=None if calibration else error,
        calibration=calibration,
        nodes=_count(point["nodes"]),
        ranks_per_node=_count(point["ranks_per_node"]),
    )


def _count(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
