"""The samples behind rows, aggregated over ranks as there; of some cases without the others."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.contracts import Seconds
from bench.core.errors import RequestError, printable
from bench.core.records import Sample
from bench.store.folder import SAMPLES_FILE, RunFolder, read_csv
from bench.store.samples import Samples, find_samples, walk_samples
from bench.store.whole_rows import open_whole_rows

Key = tuple[str, int]
"""Case and launch."""

_MOST_SOUGHT = 8
"""Cases that are sought one by one; more are met by one walk through the file."""
_TYPES = {
    "case": "category",
    "launch": "int32",
    "sample": "int32",
    "rank": "int32",
    "seconds": "float64",
}


def load_samples(run: RunFolder) -> pd.DataFrame:
    """Return every sample of a run: case (a category), launch, sample, rank, seconds.

    Raises:
        RequestError: where the file is damaged.
    """
    path = run.path / SAMPLES_FILE
    try:
        with open_whole_rows(path) as file:
            return pd.read_csv(file, dtype=_TYPES, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in _TYPES.items()})
    except ValueError as error:
        # What is wrong with which line is for the strict reader to say.
        read_csv(path, Sample)
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}"
        ) from error


def samples_of(run: RunFolder, lines: pd.DataFrame) -> dict[Key, Seconds]:
    """Return the seconds of each sample behind these lines, in the order in which they were taken.

    As the row they are of the slowest rank at each sample (`rank_agg` is `max`), or of the first.

    Raises:
        RequestError: where the file cannot be read, or a line of these cases is damaged.
    """
    path = run.path / SAMPLES_FILE
    slowest = lines["rank_agg"] == "max"
    by_slowest = set(zip(lines["case"][slowest], lines["launch"][slowest], strict=True))
    wanted = set(zip(lines["case"], lines["launch"], strict=True))
    cases = dict.fromkeys(lines["case"])
    found: Iterable[tuple[str, Samples]] = walk_samples(path, cases)
    if len(cases) <= _MOST_SOUGHT:
        found = ((case, find_samples(path, case)) for case in cases)
    parts: dict[Key, list[Samples]] = {}
    for case, samples in found:
        for launch in np.unique(samples.launch).tolist():
            if (case, launch) in wanted:
                own = samples.launch == launch
                parts.setdefault((case, launch), []).append(
                    Samples(*(column[own] for column in samples))
                )
    return {key: _aggregate(several, key in by_slowest) for key, several in parts.items()}


def _aggregate(parts: list[Samples], by_slowest: bool) -> Seconds:
    """Return the seconds of each sample, of the slowest rank or of the first."""
    _, sample, rank, seconds = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not by_slowest:
        sample, seconds = sample[rank == 0], seconds[rank == 0]
    order = np.argsort(sample, kind="stable")
    starts = _starts(sample[order])
    return np.maximum.reduceat(seconds[order], starts) if len(starts) else seconds


def _starts(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where other values begin."""
    return np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
