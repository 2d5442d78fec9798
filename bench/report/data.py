"""Everything on the page about one run, read once."""

from typing import NamedTuple

import pandas as pd

from bench.judge.score import Score, score_table
from bench.judge.table import load, load_samples
from bench.store.folder import RunFolder
from bench.store.meta import RunMeta
from bench.store.parts import Parts


class RunData(NamedTuple):
    """A run as the page needs it."""

    meta: RunMeta
    parts: Parts
    table: pd.DataFrame
    samples: pd.DataFrame
    """As `load_samples` returns them, with the run's id."""
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
    table, samples = load(run), load_samples(run)
    score = score_table(run, table, samples)
    # Two copies of a run on one page are two runs: the letter distinguishes them, the id does not.
    table["run"] = samples["run"] = label
    return RunData(run.meta, run.parts, table, samples, run.changed(), score, label)
