"""Captions: what a reader should see in a figure, with the numbers of the run at hand.

Where a figure holds several runs, only what holds for all of them is stated.
"""

import pandas as pd

from bench.core.records import Stage
from bench.core.units import format_bytes, format_rate, format_seconds
from bench.judge.noise import aggregate
from bench.judge.score import format_percent
from bench.judge.statistics import summarise
from bench.judge.table import is_back_to_back, is_standin
from bench.report.products import MOST_SHAPES
from bench.report.residuals import BAND
from bench.report.scatter import noisy_case


def latency(table: pd.DataFrame) -> str:
    """Return how long the smallest message takes, and up to which size that holds."""
    text = "Half a round trip of one message; lower is better."
    points = _points(table, "latency")
    if points is None or len(points) < 2:
        return text
    first, last = points.iloc[0], points.iloc[-1]
    flat = points[points["t_s"] < 2 * first["t_s"]].iloc[-1]
    return (
        f"{text} {format_bytes(first['size'])} takes {format_seconds(first['t_s'])}; up to "
        f"{format_bytes(flat['size'])} the time stays below twice that, and at "
        f"{format_bytes(last['size'])} it is {format_seconds(last['t_s'])}. A step between two "
        "sizes is where the MPI library changes its protocol."
    )


def bandwidth(table: pd.DataFrame) -> str:
    """Return what one way and both ways reach, and their ratio."""
    text = "Bytes per second with a window of messages in flight; higher is better."
    one, both = (
        _best(table, "bandwidth", "gbytes_per_s"),
        _best(table, "bibandwidth", "gbytes_per_s"),
    )
    if one is not None:
        text += f" One way reaches {_rate(one)} at {format_bytes(one['size'])}."
    if both is not None:
        text += f" Both ways together reach {_rate(both)} at {format_bytes(both['size'])}"
        if one is not None:
            ratio = both["gbytes_per_s"] / one["gbytes_per_s"]
            text += f": {ratio:.1f} times one way, where 2 would be two free directions"
        text += "."
    return text


def message_rate(table: pd.DataFrame) -> str:
    """Return the best rate, and what a flat curve means."""
    text = (
        "Messages per second with a window in flight; higher is better. The curve is flat as long "
        "as the cost of a message decides, and falls where its bytes do."
    )
    best = _best(table, "message_rate", "messages_per_s")
    if best is None:
        return text
    rate = format_rate(best["messages_per_s"], " messages/s")
    return f"{text} Best: {rate} at {format_bytes(best['size'])}."


def collectives(table: pd.DataFrame) -> str:
    """Return what a time is, and how long the smallest allreduce takes."""
    text = (
        "One collective call: the ranks start together, and the slowest is the time; lower is "
        "better. A block is what one rank gives, or what is its own of the result."
    )
    points = _points(table[~is_back_to_back(table)], "allreduce")
    if points is None:
        return text
    first, last = points.iloc[0], points.iloc[-1]
    return (
        f"{text} An allreduce on {first['ranks']:.0f} ranks takes {format_seconds(first['t_s'])} "
        f"at {format_bytes(first['size'])} and {format_seconds(last['t_s'])} at "
        f"{format_bytes(last['size'])}."
    )


def collective_rates(table: pd.DataFrame) -> str:
    """Return what bus bandwidth is, and the best one."""
    text = (
        "Collective calls that follow each other between two looks at the clock; higher is better. "
        "Bus bandwidth is bytes / time with the factor of each call (busbw_factor in the rows), so "
        "that it compares with the rate of a link."
    )
    points = summarise(table[is_back_to_back(table)])
    rates = points["busbw_gbytes_per_s"]
    if points["run"].nunique() != 1 or rates.isna().all():
        return text
    best = points.iloc[int(rates.argmax())]
    return f"{text} Best: {format_rate(rates.max() * 1e9, 'B/s')}, {best['name']}."


def memory(table: pd.DataFrame) -> str:
    """Return what the fall from left to right is."""
    text = (
        "Bytes per second of memory copies and of the STREAM kernels; higher is better. A fall "
        "towards the right is where the bytes no longer fit in a cache."
    )
    points = _points(table, "memcpy")
    if points is None or points["gbytes_per_s"].isna().all():
        return text
    best, last = points.iloc[int(points["gbytes_per_s"].argmax())], points.iloc[-1]
    return (
        f"{text} A copy reaches {_rate(best)} at {format_bytes(best['size'])} and "
        f"{_rate(last)} at {format_bytes(last['size'])}."
    )


def product_time(table: pd.DataFrame) -> str:
    """Return what flat and rising parts mean, and what the smallest and largest batch cost."""
    text = (
        "Time of one product of a batch x K matrix with a K x N matrix; lower is better. Where "
        "the curve is flat, more rows are free; where it doubles with the batch, every row costs."
    )
    text += _left_out(table)
    points = _points(table, "matmul", several_series=True)
    if points is None:
        return text
    least, most = points.iloc[int(points["t_s"].argmin())], points.iloc[int(points["t_s"].argmax())]
    return (
        f"{text} From {format_seconds(least['t_s'])} ({least['name']}) "
        f"to {format_seconds(most['t_s'])} ({most['name']})."
    )


def product_rate(table: pd.DataFrame) -> str:
    """Return how deep the deepest fall at the edge of a tile is."""
    text = (
        "The same products as work per second; higher is better. The lower panel sets the batches "
        "on both sides of a multiple of 32 side by side: a fall just beyond it is a new tile that "
        "is mostly empty."
    ) + _left_out(table)
    points = _points(table, "matmul", several_series=True)
    if points is None:
        return text
    step = _deepest_step(points)
    if step is None:
        return f"{text} Here no fall of more than 5 % stands clear of its intervals."
    edge, beyond, change = step
    less = format_percent(-change)
    return f"{text} Deepest here: {beyond['name']} reaches {less} less than {edge['name']}."


def _left_out(table: pd.DataFrame) -> str:
    """Return a sentence on the shapes that the figures of products leave out."""
    shapes = table[table["benchmark"] == "matmul"][["k", "n"]].drop_duplicates()
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


def samples_in_order(table: pd.DataFrame, samples: pd.DataFrame) -> str:
    """Return how many samples are near their median, and how far the slowest is."""
    lines = noisy_case(table)
    name = lines["name"].iloc[0] if len(lines) else "one case"
    text = (
        f"Every sample of {name}, in the order taken, and their distribution; nothing is removed. "
        "The line is the median of a launch."
    )
    wanted = samples["run"].isin(lines["run"]) & samples["case"].isin(lines["case"])
    launches = aggregate(lines, samples[wanted].reset_index(drop=True)).values()
    ratios = [t / pd.Series(seconds).median() for seconds in launches for t in seconds]
    if not ratios:
        return text
    near = sum(abs(ratio - 1) <= 0.05 for ratio in ratios) / len(ratios)
    return (
        f"{text} {format_percent(near)} of the samples lie within 5 % of it; the slowest took "
        f"{max(ratios):.3g} times as long."
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
