"""The samples behind rows, aggregated over ranks as there; of some cases without the others."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from bench.contracts import Seconds
from bench.core.errors import RequestError, printable
from bench.core.records import Sample
from bench.judge.places import middle_places
from bench.store.files import SAMPLES_FILE
from bench.store.folder import RunFolder
from bench.store.samples import Samples, find_samples
from bench.store.tables import read_csv
from bench.store.whole_rows import open_whole_rows

Key = tuple[str, int]
"""Case and launch."""

_MOST_SOUGHT = 8
"""Cases that are sought one by one; for more, the whole file is read piece by piece."""
_AT_A_TIME = 1 << 20
"""Samples that are read in one piece."""
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
    frames = list(_read(run))
    if len(frames) == 1:
        return frames[0]
    cases = union_categoricals([frame["case"] for frame in frames])
    numbers = pd.concat([frame.drop(columns="case") for frame in frames], ignore_index=True)
    numbers.insert(0, "case", pd.Series(cases))
    return numbers


def samples_of(run: RunFolder, lines: pd.DataFrame) -> dict[Key, Seconds]:
    """Return the seconds of each sample behind these lines, in the order in which they were taken.

    As the row they are of the slowest rank at each sample (`rank_agg` is `max`), or of the first.
    Where several places have a line, they are those of the slowest rank of the middle one.

    Raises:
        RequestError: where the file cannot be read, or a line of these cases is damaged.
    """
    several = lines.duplicated(["case", "launch"], keep=False)
    one_rank = dict(_slowest_ranks(middle_places(lines[several])))
    slowest = lines["rank_agg"] == "max"
    by_slowest = set(zip(lines["case"][slowest], lines["launch"][slowest], strict=True))
    wanted = set(zip(lines["case"], lines["launch"], strict=True))
    parts: dict[Key, list[Samples]] = {}
    for key, samples in _find(run, list(dict.fromkeys(lines["case"]))):
        if key in wanted:
            parts.setdefault(key, []).append(samples)
    return {
        key: _aggregate(pieces, key in by_slowest, one_rank.get(key))
        for key, pieces in parts.items()
    }


def _slowest_ranks(lines: pd.DataFrame) -> Iterator[tuple[Key, int]]:
    columns = (lines["case"], lines["launch"], lines["slowest_rank"])
    for case, launch, rank in zip(*columns, strict=True):
        if rank == rank:  # NaN where a row has none
            yield (case, int(launch)), int(rank)


def _read(run: RunFolder) -> Iterator[pd.DataFrame]:
    """Yield all samples, some at a time."""
    path = run.path / SAMPLES_FILE
    try:
        with open_whole_rows(path) as file:
            yield from pd.read_csv(file, dtype=_TYPES, keep_default_na=False, chunksize=_AT_A_TIME)
    except pd.errors.EmptyDataError:
        yield pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in _TYPES.items()})
    except ValueError as error:
        # What is wrong with which line is for the strict reader to say.
        read_csv(path, Sample)
        raise RequestError(
            f"{printable(path, 400)} cannot be read: {printable(error, 200)}"
        ) from error


def _find(run: RunFolder, cases: Sequence[str]) -> Iterator[tuple[Key, Samples]]:
    """Yield the samples of these cases by case and launch, in pieces that stand together."""
    if len(cases) <= _MOST_SOUGHT:
        for case in cases:
            yield from _split(find_samples(run.path / SAMPLES_FILE, case), case)
        return
    for frame in _read(run):
        of_cases = frame[frame["case"].isin(cases)]
        codes = of_cases["case"].cat.codes.to_numpy()
        samples = Samples(*(of_cases[name].to_numpy() for name in Samples._fields))
        ends = [*np.flatnonzero(np.diff(codes)) + 1, len(codes)]
        for start, end in zip([0, *ends], ends, strict=False):
            if start < end:
                case = of_cases["case"].cat.categories[codes[start]]
                yield from _split(samples.between(start, end), case)


def _split(samples: Samples, case: str) -> Iterator[tuple[Key, Samples]]:
    """Yield samples of one case by launch."""
    ends = [*np.flatnonzero(np.diff(samples.launch)) + 1, len(samples.launch)]
    for start, end in zip([0, *ends], ends, strict=False):
        if start < end:
            yield (case, int(samples.launch[start])), samples.between(start, end)


def _aggregate(parts: list[Samples], by_slowest: bool, one_rank: int | None) -> Seconds:
    """Return the seconds of each sample: of one rank, else of the slowest or of the first."""
    _, sample, rank, seconds = (np.concatenate(column) for column in zip(*parts, strict=True))
    if one_rank is not None or not by_slowest:
        own = rank == (one_rank or 0)
        sample, seconds = sample[own], seconds[own]
    order = np.argsort(sample, kind="stable")
    starts = _starts(sample[order])
    return np.maximum.reduceat(seconds[order], starts) if len(starts) else seconds


def _starts(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where other values begin."""
    return np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
