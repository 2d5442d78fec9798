"""Everything on the page about one run, read once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from bench.contracts import Seconds
from bench.judge.samples import samples_of
from bench.judge.score import Score, score_table
from bench.judge.table import load, measured
from bench.measure.profiles import profile_of
from bench.store.folder import RunFolder
from bench.store.meta import RunMeta
from bench.store.parts import Parts


class RunData(NamedTuple):
    """A run as the page needs it."""

    meta: RunMeta
    parts: Parts
    table: pd.DataFrame
    samples: Sequence[Seconds]
    """Those of one case, that of `noisy_case`, launch by launch, in the order taken."""
    changed: list[str]
    """Files that are no longer what the run left."""
    score: Score
    label: str
    """The letter that figures and tables call the run by where there are several."""


def read_run(run: RunFolder, label: str) -> RunData:
    """Read a run.

    Raises:
        RequestError: where a file of the run is damaged.
    """
    table = load(run)
    score = score_table(run, table)
    samples = tuple(samples_of(run, noisy_case(table)).values())
    # Two copies of a run on one page are two runs: the letter distinguishes them, the id does not.
    table["run"] = label
    return RunData(run.meta, run.parts, table, samples, run.changed(), score, label)


def noisy_case(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of the case whose samples are shown: the smallest message, or the fastest.

    Of several runs it is a case of the first.
    """
    lines = measured(table)
    first = lines[lines["run"].isin(lines["run"].head(1))]
    small = first[first["benchmark"].isin(_quoting_a_small_message(first["benchmark"].unique()))]
    order = small if len(small) else first.sort_values("t_median_s")
    return first[first["case"].isin(order["case"].head(1))]


def _quoting_a_small_message(benchmarks: Iterable[str]) -> list[str]:
    profiles = {name: profile_of(name).headline for name in benchmarks}
    return [name for name, one in profiles.items() if one and one.pick == "small message"]
