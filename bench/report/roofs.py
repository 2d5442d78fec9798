"""What the hardware allows beside what was reached: a line per benchmark and kind of bound."""

from collections.abc import Iterator

import pandas as pd

from bench.judge.score import format_percent
from bench.judge.statistics import summarise
from bench.report.data import RunData
from bench.report.page import Block, Fold, Paragraph, Table

_NONE = "none: "
_NOTE = (
    "A bound is the least time that facts of the hardware allow. Of it: bound over measured; at "
    "100 % nothing is left to gain."
)


def bounds(run: RunData) -> Iterator[Block]:
    """Yield where bounds are from, how near a run came, and once why there is none."""
    points = summarise(run.table)
    lines = points[points["bound_source"].notna()]
    rows = [
        (str(benchmark), *_line(str(source), group))
        for (benchmark, source), group in lines.groupby(["benchmark", "bound_source"], sort=False)
    ]
    if rows:
        header = ("Benchmark", "Cases", "Of it, least", "most", "Bound, or why there is none")
        found = int(lines["bound_s"].notna().sum())
        title = f"Bounds: {found} of {len(lines)} cases have one"
        table = Table(header, tuple(rows), frozenset({0, 4}))
        yield Fold(title, (Paragraph(_NOTE), table))


def _line(source: str, group: pd.DataFrame) -> tuple[str, str, str, str]:
    reached = (group["bound_s"] / group["t_s"]).dropna()
    least, most = (format_percent(end) if len(reached) else "" for end in _ends(reached))
    text = f"No bound: {source.removeprefix(_NONE)}." if source.startswith(_NONE) else source
    return str(len(group)), least, most, text


def _ends(values: "pd.Series[float]") -> tuple[float, float]:
    return float(values.min()), float(values.max())
