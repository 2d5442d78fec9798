"""The headline numbers, of one run or of several beside each other."""

from collections.abc import Sequence

from bench.judge.headline import Headline, headlines
from bench.judge.score import format_percent
from bench.report.beside import placement_text
from bench.report.data import RunData
from bench.report.page import Block, Paragraph, Table


def headline_table(runs: Sequence[RunData]) -> Block:
    """Return the headlines of each run; runs share a line where the placement is the same."""
    found = [headlines(run.table) for run in runs]
    if not any(found):
        return Paragraph("Nothing was measured that a headline could be made of.")
    if len(runs) > 1:
        return Table(("What", *(run.label for run in runs)), tuple(_rows(found)))
    rows = tuple((h.what, h.text, h.name, _error_text(h)) for h in found[0])
    header = ("What", "Measured", "Reached in", "Prediction off by")
    return Table(header, rows, words=frozenset({0, 2}))


def _rows(found: Sequence[Sequence[Headline]]) -> list[tuple[str, ...]]:
    """Return a line for each headline and placement, with the cell of each run."""
    runs = [{(h.what, placement_text(h.nodes, h.ranks_per_node)): h for h in own} for own in found]
    placements: dict[str, dict[str, None]] = {}
    for own in runs:
        for what, placement in own:
            placements.setdefault(what, {})[placement] = None
    return [
        (
            # Named where it tells lines apart: on other nodes it is another number.
            f"{what}, {placement}" if len(several) > 1 else what,
            *(_cell(own.get((what, placement))) for own in runs),
        )
        for what, several in placements.items()
        for placement in several
    ]


def _cell(headline: Headline | None) -> str:
    return "not measured" if headline is None else f"{headline.text} ({headline.name})"


def _error_text(headline: Headline) -> str:
    if headline.calibration:
        return "calibration case"
    return (
        "no prediction" if headline.error is None else format_percent(headline.error, signed=True)
    )
