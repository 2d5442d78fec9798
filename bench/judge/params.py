"""The pairs of the `params` column, each axis as a column of its own."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.records import CONTROL, parse_params
from bench.judge.columns import Columns, Values, join, pick_texts, spread

PARAM = "param_"
"""Prefix of the columns that hold the pairs of `params`."""


class Params:
    """The pairs of lines, kept once for all lines that have the same ones."""

    def __init__(self, kinds: int) -> None:
        self.of = np.zeros(0, np.int64)
        """Of each line, its kind; -1 where it has no pairs."""
        self.values: dict[str, Values] = {}
        """By axis, the value of each kind; None where it has none."""
        self._kinds = kinds
        self._shared: dict[str, str] = {}

    def set(self, kind: int, name: str, value: str) -> None:
        """Set a pair of a kind of lines."""
        column = self.values.get(name)
        if column is None:
            column = self.values[name] = np.full(self._kinds + 1, None, dtype=object)
        column[kind] = self._shared.setdefault(value, value)

    def column(self, name: str) -> Values:
        """Return the values of one axis of all lines."""
        if name not in self.values:
            return spread(None, len(self.of))
        # Behind the last kind stands None, for lines of none.
        return self.values[name][self.of]


def take_controls_out(rows: Columns) -> tuple[Columns, Params]:
    """Return the rows that are no control runs, and their pairs."""
    of, texts = pd.factorize(rows["params"])
    params = Params(len(texts))
    is_control = np.zeros(len(texts) + 1, np.bool_)
    for kind, text in enumerate(texts):
        pairs = parse_params(text)
        is_control[kind] = CONTROL in pairs
        if not is_control[kind]:
            for name, value in pairs.items():
                params.set(kind, name, value)
    params.of = of
    # One text for all rows that have it.
    rows["params"] = pick_texts(texts, of)
    if is_control.any():
        kept: NDArray[np.bool_] = ~is_control[of]
        params.of = of[kept]
        rows = {name: column[kept] for name, column in rows.items()}
    return rows, params


def join_params(rows: Params, missing: Params) -> Columns:
    """Return a column for each axis in `params`, of the rows and then of what has none."""
    names = {*rows.values, *missing.values}
    return {PARAM + name: join([rows.column(name), missing.column(name)]) for name in names}
