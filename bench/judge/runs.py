"""Tables of several runs as one: cases stand beside each other only where they are the same."""

import string
from collections.abc import Mapping, Sequence

import pandas as pd

from bench.judge.statistics import summarise_places
from bench.judge.table import load
from bench.store.folder import RunFolder

PLACEMENT = ("nodes", "ranks_per_node")
"""A case on other nodes, or with other ranks on them, is another case, whatever its id."""
SAME_CASE = ["case", "arm", *PLACEMENT, "part"]
"""Columns in which lines of the same case are equal in all runs."""


def label_runs(count: int, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a label for each of several runs, no two of them alike.

    Args:
        count: of runs.
        wanted: what they are to be called, a number behind those that would be alike; letters if
            nothing is wanted, since the id of a run fits no legend.
    """
    letters = string.ascii_uppercase
    labels = list(wanted) or [
        letters[place] if place < len(letters) else str(place + 1) for place in range(count)
    ]
    found: list[str] = []
    for label in labels:
        number, own = 1, label
        while own in found or (number == 1 and labels.count(label) > 1):
            own, number = f"{label} {number}", number + 1
        found.append(own)
    return tuple(found)


def load_runs(runs: Sequence[RunFolder], wanted: Sequence[str] = ()) -> pd.DataFrame:
    """Return the lines of several runs as `load` does; `run` holds the label of each.

    Args:
        runs: two copies of one are two runs.
        wanted: labels, as for `label_runs`.

    Raises:
        RequestError: where a file of a run is damaged.
    """
    labels = label_runs(len(runs), wanted)
    return join_tables(dict(zip(labels, map(load, runs), strict=True)))


def join_tables(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of runs one below the other; `run` holds the label of each."""
    labelled = [table.assign(run=label) for label, table in tables.items()]
    return labelled[0] if len(labelled) == 1 else pd.concat(labelled, ignore_index=True)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line per case that was measured in any run, with the seconds of each run.

    The same case has the same id, arm and placement, and of a case with a row for each node or GPU
    the same `src`. Columns are those, `name`, and one for each run by its label, NaN where the case
    was not measured there.

    Args:
        table: of several runs, as `load_runs` returns it.
    """
    points = summarise_places(table)
    cases = points.groupby(SAME_CASE, sort=False, dropna=False)
    found = points.loc[~points.duplicated(SAME_CASE), [*SAME_CASE, "name"]].reset_index(drop=True)
    place = cases.ngroup()
    for label in table["run"].unique():
        own = points["run"] == label
        seconds = points["t_s"][own]
        seconds.index = place[own]
        found[label] = seconds.reindex(found.index)
    return found
