"""Captions: what a reader should see in a figure, with the numbers of the run at hand.

Where a figure holds several runs, only what holds for all of them is stated.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from bench.contracts import Figure
from bench.contracts.profile import CaptionNumbers
from bench.core.records import Stage
from bench.core.units import format_bytes, format_rate, format_seconds
from bench.judge.score import format_percent
from bench.judge.statistics import summarise
from bench.judge.table import is_back_to_back, is_standin
from bench.measure.profiles import profile_of
from bench.report.data import noisy_case
from bench.report.products import MOST_SHAPES
from bench.report.residuals import BAND
from bench.report.scatter import SamplesOfRuns, shown_samples


def declared(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str:
    """Return what to see in a figure, as declared, then the numbers that it asks for.

    Args:
        figure: as declared.
        members: the benchmarks in it, the first of which most numbers are of.
        table: of all runs.
    """
    text = figure.see
    if figure.draws in ("product times", "product rates"):
        text += _left_out(members, table)
    numbers = NUMBERS[figure.numbers](figure, members, table) if figure.numbers else None
    return text if numbers is None else f"{text} {numbers}"


def _flat_part(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """How long the smallest message takes, and up to which size that holds."""
    points = _points(table, members[0])
    if points is None or len(points) < 2:
        return None
    first, last = points.iloc[0], points.iloc[-1]
    flat = points[points["t_s"] < 2 * first["t_s"]].iloc[-1]
    return (
        f"{format_bytes(first['size'])} takes {format_seconds(first['t_s'])}; up to "
        f"{format_bytes(flat['size'])} the time stays below twice that, and at "
        f"{format_bytes(last['size'])} it is {format_seconds(last['t_s'])}. {figure.ending}"
    ).strip()


def _both_directions(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """What one way and both ways reach, and their ratio."""
    del figure
    found = {profile_of(name).part: _best(table, name, "gbytes_per_s") for name in members}
    one, both = found.get("window"), found.get("crossing")
    parts = []
    if one is not None:
        parts.append(f"One way reaches {_rate(one)} at {format_bytes(one['size'])}.")
    if both is not None:
        text = f"Both ways together reach {_rate(both)} at {format_bytes(both['size'])}"
        if one is not None:
            ratio = both["gbytes_per_s"] / one["gbytes_per_s"]
            text += f": {ratio:.1f} times one way, where 2 would be two free directions"
        parts.append(f"{text}.")
    return " ".join(parts) or None


def _best_point(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """The best rate."""
    del figure
    best = _best(table, members[0], "messages_per_s")
    if best is None:
        return None
    rate = format_rate(best["messages_per_s"], " messages/s")
    return f"Best: {rate} at {format_bytes(best['size'])}."


def _ends(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """How long the smallest and the largest take."""
    points = _points(table[~is_back_to_back(table)], members[0])
    if points is None:
        return None
    first, last = points.iloc[0], points.iloc[-1]
    return (
        f"{figure.subject} on {first['ranks']:.0f} ranks takes {format_seconds(first['t_s'])} "
        f"at {format_bytes(first['size'])} and {format_seconds(last['t_s'])} at "
        f"{format_bytes(last['size'])}."
    )


def _best_case(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """The best bus bandwidth of them all, and where."""
    del figure
    points = summarise(table[table["benchmark"].isin(members) & is_back_to_back(table)])
    rates = points["busbw_gbytes_per_s"]
    if points["run"].nunique() != 1 or rates.isna().all():
        return None
    best = points.iloc[int(rates.argmax())]
    return f"Best: {format_rate(rates.max() * 1e9, 'B/s')}, {best['name']}."


def _best_and_last(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """The best rate, and that of the largest size."""
    points = _points(table, members[0])
    if points is None or points["gbytes_per_s"].isna().all():
        return None
    best, last = points.iloc[int(points["gbytes_per_s"].argmax())], points.iloc[-1]
    return (
        f"{figure.subject} reaches {_rate(best)} at {format_bytes(best['size'])} and "
        f"{_rate(last)} at {format_bytes(last['size'])}."
    )


def _extremes(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """What the smallest and the largest cost."""
    del figure
    points = _points(table, members[0], several_series=True)
    if points is None:
        return None
    least, most = points.iloc[int(points["t_s"].argmin())], points.iloc[int(points["t_s"].argmax())]
    return (
        f"From {format_seconds(least['t_s'])} ({least['name']}) "
        f"to {format_seconds(most['t_s'])} ({most['name']})."
    )


def _step(figure: Figure, members: Sequence[str], table: pd.DataFrame) -> str | None:
    """How deep the deepest fall at the edge of a tile is."""
    del figure
    points = _points(table, members[0], several_series=True)
    if points is None:
        return None
    step = _deepest_step(points)
    if step is None:
        return "Here no fall of more than 5 % stands clear of its intervals."
    edge, beyond, change = step
    less = format_percent(-change)
    return f"Deepest here: {beyond['name']} reaches {less} less than {edge['name']}."


NUMBERS: dict[CaptionNumbers, Callable[[Figure, Sequence[str], pd.DataFrame], str | None]] = {
    "flat part": _flat_part,
    "both directions": _both_directions,
    "best": _best_point,
    "best case": _best_case,
    "ends": _ends,
    "best and last": _best_and_last,
    "extremes": _extremes,
    "step": _step,
}
"""By what a figure declares; None where one sentence cannot hold for all that is drawn."""


def _left_out(members: Sequence[str], table: pd.DataFrame) -> str:
    """Return a sentence on the shapes that the figures of products leave out."""
    shapes = table[table["benchmark"].isin(members)][["k", "n"]].drop_duplicates()
    if len(shapes) <= MOST_SHAPES:
        return ""
    return f" Of {len(shapes)} shapes the first {MOST_SHAPES} are drawn; the tables hold all."


def residuals(table: pd.DataFrame) -> str:
    """Return how many predictions lie within the band."""
    text = (
        "Error of every prediction that was frozen before its case was measured; above zero the "
        "model was too slow. Calibration cases are not shown."
    )
    points = summarise(table[(table["stage"] != Stage.CALIBRATE) & (table["tier"] == "C")])
    errors = (points["predicted_s"] / points["t_s"] - 1).dropna()
    inside = int((errors.abs() <= BAND / 100).sum())
    return f"{text} {inside} of {len(errors)} cases lie within the shaded {BAND} %."


def samples_in_order(table: pd.DataFrame, samples: SamplesOfRuns) -> str:
    """Return how many samples are near their median, and how far the slowest is."""
    lines = noisy_case(table)
    name = lines["name"].iloc[0] if len(lines) else "one case"
    text = (
        f"Every sample of {name}, in the order taken, and their distribution; nothing is removed. "
        "The line is the median of a launch."
    )
    launches = shown_samples(lines, samples)
    if not launches:
        return text
    ratios = np.concatenate([seconds / np.median(seconds) for seconds in launches])
    near = float(np.mean(np.abs(ratios - 1) <= 0.05))
    return (
        f"{text} {format_percent(near)} of the samples lie within 5 % of it; the slowest took "
        f"{ratios.max():.3g} times as long."
    )


def _points(
    table: pd.DataFrame, benchmark: str, several_series: bool = False
) -> pd.DataFrame | None:
    """Return the points of a benchmark by size, None where one caption cannot hold for all."""
    wanted = (table["benchmark"] == benchmark) & (table["size"] > 0) & ~is_standin(table)
    points = summarise(table[wanted])
    single = points["series"].nunique() == 1 or several_series
    if points.empty or points["run"].nunique() > 1 or not single:
        return None
    return points.sort_values(["series", "size"])


def _best(table: pd.DataFrame, benchmark: str, column: str) -> "pd.Series[float] | None":
    points = _points(table, benchmark)
    if points is None or points[column].isna().all():
        return None
    return points.iloc[int(points[column].argmax())]


def _rate(point: "pd.Series[float]") -> str:
    return format_rate(point["gbytes_per_s"] * 1e9, "B/s")


def _deepest_step(
    points: pd.DataFrame,
) -> tuple["pd.Series[float]", "pd.Series[float]", float] | None:
    """Return the multiple of 32 and the batch above it whose rate falls most, and the fall.

    None where none falls by more than 5 %, or where the intervals of the two overlap.
    """
    steps = []
    for _, curve in points.groupby("series", sort=False):
        by_batch = {int(line["size"]): line for _, line in curve.iterrows()}
        for batch, edge in by_batch.items():
            beyond = by_batch.get(batch + 1)
            if batch % 32 == 0 and beyond is not None and _is_clear(edge, beyond):
                steps.append((edge, beyond, float(beyond["tflops"] / edge["tflops"] - 1)))
    deep = (step for step in steps if step[2] < -0.05)
    return min(deep, key=lambda step: step[2], default=None)


def _is_clear(edge: "pd.Series[float]", beyond: "pd.Series[float]") -> bool:
    """Return whether the rate beyond the edge is lower even at the ends of the intervals."""
    slowest_edge = edge["tflops"] * edge["t_s"] / edge["t_high_s"]
    fastest_beyond = beyond["tflops"] * beyond["t_s"] / beyond["t_low_s"]
    # Too few launches for an interval compare as NaN, and are taken as they are.
    return not fastest_beyond >= slowest_edge
