"""The places of each benchmark whose nodes or GPUs measured for themselves: what each reached."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from bench.contracts.profile import RateColumn
from bench.core.hostnames import host_of
from bench.judge.fleet import LEAST_PLACES, Point, Standing, Time, compare_places, find_slower
from bench.judge.fleet import memory_text as memory_of
from bench.judge.headline import RATES, Unit
from bench.judge.table import measured
from bench.measure.profiles import profile_of

_RATES: tuple[RateColumn, ...] = ("tflops", "gbytes_per_s")


class Reached(NamedTuple):
    """What one place reached, in base units per second: medians over launches."""

    place: str
    median: float
    """With the median of its samples."""
    mean: float
    """With their mean."""
    low: float
    """Ends of the 95 % interval of the median within the one launch; NaN where unknown."""
    high: float


class Fleet(NamedTuple):
    """The places of one benchmark in one kind of memory."""

    run: str
    benchmark: str
    memory: str
    name: str
    """The case that is shown, for people."""
    unit: Unit
    reached: tuple[Reached, ...]
    """In the case that is shown, the slowest on average first."""
    standings: Mapping[Time, Mapping[str, Standing]]
    """By place, over all its cases; none where there are fewer than three places."""
    slower: tuple[str, ...]
    """The places that stand out, the slowest first."""


def fleets(table: pd.DataFrame) -> list[Fleet]:
    """Return the fleet of each benchmark that several places of a run have lines of."""
    lines = measured(table)
    of_places = lines["benchmark"].map(lambda name: profile_of(name).rows == "place").astype(bool)
    lines = lines[of_places & lines["src"].notna()]
    if lines.empty:
        return []
    ends = zip(lines["src"], lines["dst"], lines["src_host"], strict=True)
    places = [
        str(src) if pd.isna(dst) else host_of(str(src)) if pd.isna(host) else str(host)
        for src, dst, host in ends
    ]
    memory = [
        memory_of(*(None if pd.isna(end) else str(end) for end in both))
        for both in zip(lines["src_memory"], lines["dst_memory"], strict=True)
    ]
    lines = lines.assign(place=places, memory=memory)
    return [
        fleet
        for (run, benchmark, kind), group in lines.groupby(
            ["run", "benchmark", "memory"], sort=False
        )
        for fleet in _fleet(str(run), str(benchmark), str(kind), group)
    ]


def _fleet(run: str, benchmark: str, memory: str, lines: pd.DataFrame) -> Iterator[Fleet]:
    """Yield the fleet, nothing where one place is alone."""
    column = next((rate for rate in _RATES if lines[rate].notna().any()), None)
    shown = _shown_case(benchmark, lines)
    if column is None or shown["place"].nunique() < 2:
        return
    factor, unit = RATES[column]
    columns = (lines["place"], lines["case"], lines["launch"])
    times = (lines["t_median_s"], lines["t_mean_s"].fillna(lines["t_median_s"]))
    points = [Point(*point) for point in zip(*columns, *times, strict=True)]
    whichever: tuple[Time, Time] = ("median", "mean")
    yield Fleet(
        run=run,
        benchmark=benchmark,
        memory=memory,
        name=str(shown["name"].iloc[0]),
        unit=unit,
        reached=_reached(shown, column, factor),
        standings={
            which: {one.place: one for one in compare_places(points, which)} for which in whichever
        },
        slower=tuple(find_slower(points)) if len({*lines["place"]}) >= LEAST_PLACES else (),
    )


def _shown_case(benchmark: str, lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of the case that most places have, of those the largest."""
    declared = profile_of(benchmark).headline
    label = declared.label if declared is not None else ""
    wanted = lines[lines["label"].fillna("").str.contains(label, regex=False)]
    wanted = lines if wanted.empty else wanted
    cases = wanted.groupby("case", sort=False).agg(
        places=("place", "nunique"), size=("size", "max")
    )
    cases = cases.sort_values(["places", "size"], ascending=False, kind="stable")
    return wanted[wanted["case"].isin(cases.index[:1])]


def _reached(lines: pd.DataFrame, column: str, factor: float) -> tuple[Reached, ...]:
    # Rates derive from the time that `statistic` names: this work is the same for all of them.
    of_mean = lines["statistic"] == "mean"
    rated_s = lines["t_mean_s"].where(of_mean, lines["t_median_s"])
    work = factor * lines[column] * rated_s
    rates = pd.DataFrame(
        {
            "place": lines["place"],
            "median": work / lines["t_median_s"],
            "mean": work / lines["t_mean_s"].fillna(lines["t_median_s"]),
            "low": work / lines["t_ci_high_s"],
            "high": work / lines["t_ci_low_s"],
        }
    )
    groups = rates.groupby("place", sort=False)
    found = groups.median()
    found.loc[groups.size() > 1, ["low", "high"]] = float("nan")
    ordered = found.sort_values("mean", kind="stable")
    return tuple(
        Reached(str(place), *(float(value) for value in values))
        for place, values in zip(ordered.index, ordered.to_numpy(), strict=True)
    )
