"""The noise floor: how far a measurement is from itself, which no honest model can beat."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from bench.judge.places import middle_places
from bench.judge.statistics import BETWEEN, WITHIN

LEAST_HALF = 3
"""Samples that each half of a launch must have for its median to mean something."""

Key = tuple[str, int]
"""Case and launch."""


class NoiseFloor:
    """How far each case of a run is from itself, launch by launch.

    Over two launches or more: |t / median of the other launches - 1|. Within one launch: the
    difference of the medians of its halves, which cannot see what differs between launches.
    """

    def __init__(self, table: pd.DataFrame, samples: pd.DataFrame) -> None:
        """Take the measured lines of one run, and its samples."""
        self._between = _between(table)
        self._within = _within(table, samples)

    def of(self, keys: Collection[Key]) -> tuple[float | None, str | None, int]:
        """Return the median over these cases, its kind, and how many of them gave a number."""
        for kind, known in ((BETWEEN, self._between), (WITHIN, self._within)):
            found = [known[key] for key in keys if key in known]
            if found:
                return float(np.median(found)), kind, len(found)
        return None, None, 0


def _between(table: pd.DataFrame) -> dict[Key, float]:
    cases: dict[str, list[tuple[int, float]]] = {}
    table = middle_places(table)
    columns = (table["case"], table["launch"], table["t_median_s"])
    for case, launch, seconds in zip(*columns, strict=True):
        cases.setdefault(case, []).append((launch, seconds))
    return {
        (case, launch): abs(
            seconds / float(np.median([t for other, t in times if other != launch])) - 1
        )
        for case, times in cases.items()
        if len(times) > 1
        for launch, seconds in times
    }


def _within(table: pd.DataFrame, samples: pd.DataFrame) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for key, seconds in aggregate(table, samples).items():
        half = len(seconds) // 2
        if half >= LEAST_HALF:
            first, second = np.median(seconds[:half]), np.median(seconds[half:])
            found[key] = abs(float(first / second) - 1)
    return found


def aggregate(table: pd.DataFrame, samples: pd.DataFrame) -> dict[Key, list[float]]:
    """Return the seconds of each sample, in order, aggregated over ranks as in the row.

    `rank_agg` is `max` (per sample the slowest rank) or `rank0`. Where several places have a line,
    the seconds are those of the slowest rank of the middle one.
    """
    several = table.duplicated(["case", "launch"], keep=False)
    middle = middle_places(table[several])
    alone = {
        (case, launch): rank
        for case, launch, rank in zip(
            middle["case"], middle["launch"], middle["slowest_rank"], strict=True
        )
    }
    if alone:
        columns = (samples["case"], samples["launch"], samples["rank"])
        told = (
            alone.get((c, launch), rank) == rank for c, launch, rank in zip(*columns, strict=True)
        )
        samples = samples[np.fromiter(told, dtype=np.bool_, count=len(samples))]
    slowest = table[table["rank_agg"] == "max"]
    by_slowest = set(zip(slowest["case"], slowest["launch"], strict=True))
    keys = zip(samples["case"], samples["launch"], strict=True)
    of_all_ranks = np.fromiter((key in by_slowest for key in keys), dtype=bool, count=len(samples))
    taken = samples[of_all_ranks | (samples["rank"] == 0).to_numpy()]
    # Sorted by case, launch and sample: the order in which they were taken.
    ordered = taken.groupby(["case", "launch", "sample"], as_index=False)[["seconds"]].max()
    found: dict[Key, list[float]] = {}
    columns = (ordered["case"], ordered["launch"], ordered["seconds"])
    for case, launch, seconds in zip(*columns, strict=True):
        found.setdefault((case, launch), []).append(seconds)
    return found
