"""How far the ranks of a launch are apart: one slow rank stands behind many a slow job."""

import numpy as np
import pandas as pd

from bench.judge.compare.sides import Side
from bench.judge.samples import load_samples

LAUNCH = ["run", "case", "launch"]


def load_spreads(side: Side, cases: "pd.Series[str]") -> pd.DataFrame:
    """Return `run`, `case`, `launch` and `spread` of launches of which several ranks took samples.

    The spread is the natural logarithm of the slowest rank's median over the middle rank's, of two
    the faster one's.

    Args:
        side: whose samples are read.
        cases: ids of those that are wanted.

    Raises:
        RequestError: where the samples of a run are damaged.
    """
    found = [_spreads(side, place, cases) for place in range(len(side.runs))]
    return pd.concat(found, ignore_index=True)


def _spreads(side: Side, place: int, cases: "pd.Series[str]") -> pd.DataFrame:
    samples = load_samples(side.runs[place])
    samples = samples[samples["case"].isin(cases) & (samples["seconds"] > 0)]
    by_rank = samples.groupby(["case", "launch", "rank"], observed=True)["seconds"].median()
    launches = by_rank.groupby(level=["case", "launch"], observed=True)
    several = launches.size() > 1
    # "lower": of an even number of ranks the faster of the two in the middle.
    middle = launches.quantile(0.5, interpolation="lower")
    ratio = (launches.max() / middle)[several]
    table = ratio.reset_index(name="ratio")
    return pd.DataFrame(
        {
            "run": place,
            "case": table["case"].astype(object),
            "launch": table["launch"],
            "spread": np.log(table["ratio"]),
        }
    )
