"""What must be alike on both sides before two times of a case may be compared.

A case has one id wherever it is measured; what it came down to on a machine may still differ, and
then a ratio would be of two things that were never meant to be one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from bench.core.errors import printable
from bench.judge.table import PARAM, is_on_shared_gpu, is_oversubscribed, is_standin

_MOST_VALUES = 3
_WRONG = "wrong answers"


class Check(NamedTuple):
    """Something that must be alike; what nobody knows differs from nothing."""

    what: str
    """In words, before the values of both sides."""
    values: Callable[[pd.DataFrame], "pd.Series[Any]"]
    """Of lines, None or NaN where it is not known."""


def _column(name: str, default: str | None = None) -> Callable[[pd.DataFrame], "pd.Series[Any]"]:
    """Return what reads a column, with what an empty one means."""

    def values(lines: pd.DataFrame) -> "pd.Series[Any]":
        if name not in lines:
            return pd.Series(default, index=lines.index, dtype=object)
        column = lines[name].astype(object)
        return column if default is None else column.where(column.notna(), default)

    return values


def _either(
    holds: Callable[[pd.DataFrame], "pd.Series[bool]"], yes: str, no: str
) -> Callable[[pd.DataFrame], "pd.Series[Any]"]:
    return lambda lines: holds(lines).map({True: yes, False: no}).astype(object)


def _observed(lines: pd.DataFrame) -> "pd.Series[Any]":
    paths = lines["path_observed"].astype(object)
    return paths.where(paths != "UNKNOWN")


CHECKS = (
    Check("origin", _column("origin")),
    *(
        Check(f"other work, {column.replace('_', ' ')}", _column(column))
        for column in (
            *("benchmark", "bytes", "bytes_per_rank", "bytes_total", "batch", "m", "n", "k"),
            *("dtype", "direction", "window", "pairs"),
        )
    ),
    Check("path asked for", _column("path")),
    Check("path proven", _observed),
    Check("buffers of a window", _column(f"{PARAM}buffers", "own")),
    Check("memory", _either(is_standin, "the host's in place of a device's", "as asked for")),
    Check("timing layer", _column("timing_layer")),
    Check("statistic", _column("statistic", "median")),
    Check("summary of ranks", _column("rank_agg")),
    Check("cores", _either(is_oversubscribed, "fewer than ranks", "enough")),
    Check("GPUs", _either(is_on_shared_gpu, "shared by ranks", "one each")),
)
"""In the order in which a reader should hear of them."""


def find_refused(lines: pd.DataFrame, labels: tuple[str, str]) -> dict[int, str]:
    """Return by `key` why a case is not compared, in words; none where it may be.

    Args:
        lines: measured ones of both sides: as `load` gives them, with `side` (0 or 1) and `key`.
        labels: of both sides.
    """
    reasons: dict[int, str] = {}
    for check in CHECKS:
        values = check.values(lines)
        if values.nunique() < 2:
            continue
        kinds = values.groupby(lines["key"]).nunique()
        differing = lines["key"].isin(kinds.index[kinds > 1])
        told = pd.DataFrame({"value": values, "side": lines["side"]})[differing]
        for key, own in told.groupby(lines["key"][differing]):
            reasons.setdefault(int(key), _reason(check.what, own, labels))
    return reasons


def find_wrong(lines: pd.DataFrame, label: str) -> dict[str, str]:
    """Return by case which answers of a side were wrong, whether its rows hold a time or not."""
    wrong = lines[lines["bytes_wrong"] > 0]
    counts = wrong.groupby("case", sort=False)["bytes_wrong"].agg(["size", "max"])
    return {
        str(case): f"{_WRONG}: {size} launch{'' if size == 1 else 'es'} of {label} with up to "
        f"{most:.0f} bytes wrong"
        for case, size, most in counts.itertuples()
    }


def _reason(what: str, told: pd.DataFrame, labels: tuple[str, str]) -> str:
    values = (_list(told["value"][told["side"] == side]) for side in range(len(labels)))
    return f"{what}: " + ", ".join(
        f"{shown} in {label}" for shown, label in zip(values, labels, strict=True)
    )


def _list(values: "pd.Series[Any]") -> str:
    found = [_show(value) for value in values.dropna().unique()] or ["not known"]
    more = len(found) - _MOST_VALUES
    return " and ".join(found[:_MOST_VALUES]) + (f" and {more} more" if more > 0 else "")


def _show(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return printable(value, 60)
