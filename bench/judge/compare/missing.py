"""Why a case of one side has nothing to stand beside on the other, and launches that are lost."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.core.errors import printable
from bench.judge.cells import text


class Unmatched(NamedTuple):
    """A case that is not compared."""

    case: str
    name: str
    part: str | None
    reason: str
    is_common: bool
    """Whether both sides planned it."""


def find_unmatched(
    both: pd.DataFrame, lines: pd.DataFrame, labels: tuple[str, str]
) -> tuple[Unmatched, ...]:
    """Return every case that not both sides hold a time of, with the reason.

    Args:
        both: all lines of both sides, as `load` gives them, with `side`.
        lines: those of them that hold a time, with `key`, which is equal where a case is the same.
        labels: of both sides.
    """
    planned = both.groupby(["side", "case"], sort=False).indices
    timed = lines.groupby(["side", "case"], sort=False).indices
    sides = lines.groupby("key")["side"].nunique()
    lone = lines[lines["key"].isin(sides.index[sides == 1])].drop_duplicates("key")
    found = []
    for line in lone.to_dict("records"):
        other = 1 - line["side"]
        where = (other, line["case"])
        if where in timed:
            reason = f"measured {_where(lines.iloc[timed[where][0]].to_dict())} in {labels[other]}"
            found.append(_unmatched(line, f"{reason}, {_where(line)} in {labels[1 - other]}"))
        elif where in planned:
            why = _why(both.iloc[planned[where][0]].to_dict())
            found.append(_unmatched(line, f"no time in {labels[other]}: {why}"))
        else:
            found.append(_unmatched(line, f"only in {labels[1 - other]}", is_common=False))
    for line in both[~both["case"].isin(lines["case"])].drop_duplicates("case").to_dict("records"):
        is_common = all((side, line["case"]) in planned for side in range(len(labels)))
        where_not = "on both sides" if is_common else f"in {labels[line['side']]}, its only side"
        found.append(_unmatched(line, f"no time {where_not}: {_why(line)}", is_common=is_common))
    return tuple(found)


def tell_lost(both: pd.DataFrame, lines: pd.DataFrame, labels: tuple[str, str]) -> tuple[str, ...]:
    """Return a sentence about each side that lost launches of cases that are compared.

    Args:
        both: all lines of both sides.
        lines: those of them that are compared.
        labels: of both sides.
    """
    lost = both.drop(index=lines.index)
    lost = lost[lost["case"].isin(lines["case"])]
    found = []
    for side, label in enumerate(labels):
        own = lost[lost["side"] == side]
        if len(own):
            planned = (both["side"] == side) & both["case"].isin(lines["case"])
            found.append(
                f"{len(own)} of {int(planned.sum())} rows of {label} have no time, the first: "
                f"{_why(own.iloc[0].to_dict())}; those that have one may be the better ones"
            )
    return tuple(found)


def _unmatched(line: Mapping[Any, Any], reason: str, is_common: bool = True) -> Unmatched:
    return Unmatched(str(line["case"]), str(line["name"]), text(line["part"]), reason, is_common)


def _where(line: Mapping[Any, Any]) -> str:
    nodes, each, part = line["nodes"], line["ranks_per_node"], line["part"]
    if isinstance(part, str):
        return f"on {printable(part, 100)}"
    return f"on {nodes:.0f} nodes of {each:.0f} ranks"


def _why(line: Mapping[Any, Any]) -> str:
    """Return why a row has no time, in its own words."""
    reason = line["reason"]
    return printable(reason if isinstance(reason, str) else line["status"], 200)
