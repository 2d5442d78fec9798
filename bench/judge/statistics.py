"""Statistics over launches: one median per launch, then the median of those.

Samples inside one launch are not independent (the launch itself is a factor), so an interval for
comparisons is one over launches, and it takes six of them.
"""

import math

import numpy as np
import pandas as pd

from bench.contracts import Seconds
from bench.core.orderstats import median_interval
from bench.judge.places import middle_places
from bench.judge.table import measured
from bench.predict.bounds.bound import bound_kind

WITHIN = "within one launch"
BETWEEN = "over launches"

SAME = ["run", "case", "arm", "part"]
"""Columns in which lines are equal that differ in their launch alone."""
_RATES = ["gbytes_per_s", "busbw_gbytes_per_s", "tflops", "messages_per_s"]
_MEDIANS = ["t_median_s", "predicted_s", "low_s", "high_s"]
_BOUND = ["bound_s", "bound_source"]
_Z95 = 1.959963984540054


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line per run and case that was measured, in the order of the table.

    `t_s` is the median over launches of the medians of launches, `t_low_s` and `t_high_s` its
    95 % order-statistics interval: over launches from six launches on, within the launch where
    there is one launch alone, else missing. `interval` names which. `launches` counts them.
    Of several nodes or GPUs the middle one of each launch stands for all.
    Predictions are medians over launches; rates belong to `t_s`. Of bounds of one kind the least
    stands, since a ceiling may have been measured in a slow moment, of several kinds the largest.
    """
    return _summarise(middle_places(measured(table)).assign(part=None))


def summarise_places(table: pd.DataFrame) -> pd.DataFrame:
    """Return the same with a line for each node or GPU that has rows of its own, by `part`."""
    return _summarise(measured(table))


def _summarise(lines: pd.DataFrame) -> pd.DataFrame:
    # A copy: columns are added to it, and those of the table stand apart in memory.
    points = lines.drop_duplicates(SAME).reset_index(drop=True).copy()
    groups = lines.groupby(SAME, sort=False, dropna=False)
    # Work is the same in every launch: a rate scales with the inverse of time.
    first_s = points["t_median_s"].to_numpy()
    medians = groups[_MEDIANS].median().to_numpy()
    points[_MEDIANS] = medians
    points["t_s"] = medians[:, 0]
    if len(lines) > len(points):
        points[_BOUND] = _choose_bounds(lines, points)
    for rate in _RATES:
        points[rate] = points[rate] * first_s / points["t_s"]
    points["launches"] = groups.size().to_numpy()
    times = [group.to_numpy() for _, group in groups["t_median_s"]]
    ends = zip(points["t_ci_low_s"], points["t_ci_high_s"], strict=True)
    intervals = [_interval(t, low, high) for t, (low, high) in zip(times, ends, strict=True)]
    columns = ["t_low_s", "t_high_s", "interval"]
    return points.join(pd.DataFrame(intervals, columns=columns, index=points.index))


def _choose_bounds(lines: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return bound and source of each point, from one line of it."""
    known = lines[lines["bound_s"].notna()]
    kinds = known["bound_source"].map(bound_kind)
    least = known.loc[known.groupby([*SAME, kinds], dropna=False)["bound_s"].idxmin()]
    chosen = least.loc[least.groupby(SAME, dropna=False)["bound_s"].idxmax()]
    found = points[SAME].merge(chosen[[*SAME, *_BOUND]], how="left", on=SAME)
    found.index = points.index
    return found[_BOUND].where(found["bound_s"].notna(), points[_BOUND])


def _interval(times: Seconds, low: float, high: float) -> tuple[float, float, str | None]:
    over_launches = median_interval(np.sort(times))
    if over_launches is not None:
        return *over_launches, BETWEEN
    if len(times) == 1 and math.isfinite(low) and math.isfinite(high):
        return low, high, WITHIN
    return math.nan, math.nan, None


def wilson_bounds(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % Wilson bounds of a share of `count` independent cases, at least one.

    Unlike the normal approximation they stay within 0 and 1 for few cases (Wilson, 1927).
    """
    spread = _Z95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)
