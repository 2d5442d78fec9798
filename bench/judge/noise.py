"""The noise floor: how far a measurement is from itself, which no honest model can beat."""

from collections.abc import Collection
from functools import cached_property

import numpy as np
import pandas as pd

from bench.judge.places import middle_places
from bench.judge.samples import Key, samples_of
from bench.judge.statistics import BETWEEN, WITHIN
from bench.store.folder import RunFolder

LEAST_HALF = 3
"""Samples that each half of a launch must have for its median to mean something."""


class NoiseFloor:
    """How far each case of a run is from itself, launch by launch.

    Over two launches or more: |t / median of the other launches - 1|. Within one launch: the
    difference of the medians of its halves, which cannot see what differs between launches; only
    then are samples read.
    """

    def __init__(self, table: pd.DataFrame, run: RunFolder) -> None:
        """Take measured lines of one run: those that will be asked for."""
        self._table = table
        self._run = run
        self._between = _between(table)

    def of(self, keys: Collection[Key]) -> tuple[float | None, str | None, int]:
        """Return the median over these cases, its kind, and how many of them gave a number.

        Raises:
            RequestError: where the samples are damaged.
        """
        found = [self._between[key] for key in keys if key in self._between]
        if found:
            return float(np.median(found)), BETWEEN, len(found)
        found = [self._within[key] for key in keys if key in self._within]
        if found:
            return float(np.median(found)), WITHIN, len(found)
        return None, None, 0

    @cached_property
    def _within(self) -> dict[Key, float]:
        found: dict[Key, float] = {}
        for key, seconds in samples_of(self._run, self._table).items():
            half = len(seconds) // 2
            if half >= LEAST_HALF:
                first, second = np.median(seconds[:half]), np.median(seconds[half:])
                found[key] = abs(float(first / second) - 1)
        return found


def _between(table: pd.DataFrame) -> dict[Key, float]:
    """Return by how much each launch is off the median of the other ones, worked out in one sort.

    Without one of its values, a sorted list has its middle one place further on.
    """
    table = middle_places(table)
    cases = table.groupby(["case", "arm"], sort=False, dropna=False).ngroup().to_numpy()
    times = table["t_median_s"].to_numpy()
    order = np.lexsort((times, cases))
    rank, values = cases[order], times[order]
    starts = np.searchsorted(rank, rank)
    place = np.arange(len(rank)) - starts
    others = np.bincount(rank)[rank] - 1
    known = others > 0
    middles = np.zeros(len(rank))
    for half in ((others - 1) // 2, others // 2):
        at = starts + half + (half >= place)
        middles[known] += values[at[known]] / 2
    off = np.abs(values[known] / middles[known] - 1)
    lines = order[known]
    keys = zip(table["case"].to_numpy()[lines], table["launch"].to_numpy()[lines], strict=True)
    return {(case, int(launch)): float(one) for (case, launch), one in zip(keys, off, strict=True)}
