"""Lines that several nodes or GPUs have of one case, and the one that stands for all of them."""

import pandas as pd

_KEY = ["run", "case", "arm", "launch"]


def middle_places(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line of each case and launch: of several places the middle one, the faster of two.

    Places without a time count only where no place has one. The order of the table stays.
    """
    if not table.duplicated(_KEY).any():
        return table
    timed = (table["status"] == "ok") & (table["t_median_s"] > 0)
    # Those without a time sort last, and count for nothing.
    seconds = table["t_median_s"].where(timed)
    ordered = table.assign(_seconds=seconds, _timed=timed).sort_values("_seconds", kind="stable")
    groups = ordered.groupby(_KEY, sort=False, dropna=False)
    place = groups.cumcount()
    middle = (groups["_timed"].transform("sum") - 1).clip(lower=0) // 2
    kept = ordered.index[place == middle]
    return table[table.index.isin(kept)]
