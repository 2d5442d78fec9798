"""The cases of several runs beside each other, where id and placement are the same."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.core.units import format_seconds
from bench.judge.runs import join_tables, side_by_side
from bench.report.data import RunData
from bench.report.page import Block, Fold, Paragraph, Table

_NOTE = (
    "Medians over launches, in a line only where case, nodes and ranks on each node are the same. "
    "Whether a difference is one, this table does not say."
)


def beside(runs: Sequence[RunData]) -> Iterator[Block]:
    """Yield a table of the cases that two runs or more have measured, for several runs."""
    if len(runs) < 2:
        return
    labels = [run.label for run in runs]
    cases = side_by_side(join_tables({run.label: run.table for run in runs}))
    shared = cases[cases[labels].notna().sum(axis=1) > 1]
    if shared.empty:
        yield Paragraph("No case was measured in two of the runs on as many nodes and ranks.")
        return
    columns = (shared[name] for name in ("name", "part", "nodes", "ranks_per_node", *labels))
    rows = tuple(
        (
            str(name),
            placement_text(nodes, ranks_per_node, part),
            *(format_seconds(one) if pd.notna(one) else "not measured" for one in seconds),
        )
        for name, part, nodes, ranks_per_node, *seconds in zip(*columns, strict=True)
    )
    table = Table(("Case", "Where", *labels), rows, frozenset({0, 1}))
    title = f"Runs side by side: {len(shared)} of {len(cases)} cases are in two or more"
    yield Fold(title, (Paragraph(_NOTE), table))


def placement_text(
    nodes: float | None, ranks_per_node: float | None, part: str | None = None
) -> str:
    """Return in words where a case was measured, such as `2 nodes of 4 ranks`."""
    if nodes is None or ranks_per_node is None or pd.isna(nodes) or pd.isna(ranks_per_node):
        where = "placement unknown"
    else:
        where = (
            f"{nodes:.0f} node{'' if nodes == 1 else 's'} of {ranks_per_node:.0f} "
            f"rank{'' if ranks_per_node == 1 else 's'}"
        )
    return f"{part}, {where}" if part else where
