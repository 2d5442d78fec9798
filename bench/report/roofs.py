"""What the hardware allows beside what was reached: a line per benchmark and kind of bound."""

from collections.abc import Iterator

import pandas as pd

from bench.judge.score import format_percent
from bench.judge.statistics import summarise
from bench.predict.bounds.bound import DETAIL, NONE, bound_kind, is_ceiling
from bench.report.data import RunData
from bench.report.page import Block, Fold, Paragraph, Table

_FACTS = (
    "A bound is the least time that facts of the hardware allow. Of it: bound over measured; at "
    "100 % nothing is left to gain."
)
_CEILINGS = (
    "A measured ceiling is no fact of the hardware: it is the best that compiled loops reached in "
    "this run, on the same cores and beside the cases. Of it: ceiling over measured."
)


def bounds(run: RunData) -> Iterator[Block]:
    """Yield where bounds are from, how near a run came, and once why there is none."""
    points = summarise(run.table)
    lines = points[points["bound_source"].notna()]
    kinds = lines["bound_source"].map(bound_kind)
    rows = [
        (str(benchmark), *_line(str(kind), group))
        for (benchmark, kind), group in lines.groupby([lines["benchmark"], kinds], sort=False)
    ]
    if rows:
        header = ("Benchmark", "Cases", "Of it, least", "most", "Bound, or why there is none")
        measured = int(lines.loc[lines["bound_s"].notna(), "bound_source"].map(is_ceiling).sum())
        known = int(lines["bound_s"].notna().sum()) - measured
        notes = [note for count, note in ((known, _FACTS), (measured, _CEILINGS)) if count]
        table = Table(header, tuple(rows), frozenset({0, 4}))
        yield Fold(_title(len(lines), known, measured), (*map(Paragraph, notes), table))


def _title(cases: int, known: int, measured: int) -> str:
    """Return how many cases have a bound of the hardware, a measured ceiling, or neither."""
    counts = (
        (known, "have one from facts of the hardware"),
        (measured, "have a measured ceiling"),
        (cases - known - measured, "have neither, and the reason"),
    )
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"Bounds of {cases} cases: {told}"


def _line(kind: str, group: pd.DataFrame) -> tuple[str, str, str, str]:
    reached = (group["bound_s"] / group["t_s"]).dropna()
    least, most = (format_percent(end) if len(reached) else "" for end in _ends(reached))
    text = f"No bound: {kind.removeprefix(NONE)}." if kind.startswith(NONE) else kind
    details = sorted({found[1] for one in group["bound_source"] if (found := DETAIL.search(one))})
    if is_ceiling(kind) and details:
        more = f", and {len(details) - 1} more" if len(details) > 1 else ""
        text = f"{kind} ({details[0]}{more})"
    return str(len(group)), least, most, text


def _ends(values: "pd.Series[float]") -> tuple[float, float]:
    return float(values.min()), float(values.max())
