"""What to look at first: what was found before the run, and what its rows give away."""

from collections.abc import Iterator

import pandas as pd

from bench.core.errors import printable
from bench.core.records import Status
from bench.judge.findings import (
    BEATEN_ADVICE,
    BEATS_BOUND,
    BEATS_CEILING,
    MOST_FRACTION,
    beaten_text,
)
from bench.judge.score import format_percent
from bench.judge.table import NOT_MEASURED, measured
from bench.predict.bounds.bound import is_ceiling
from bench.report.about import describe_about
from bench.report.data import RunData
from bench.report.page import Block, Item, Items, Paragraph

MOST_REASONS = 8
"""Reasons listed for one status; the table of rows without a number has them all."""
_LEVELS = ("stop", "warning", "note")
_GRAVITY = {Status.FAILED.value: "warning", NOT_MEASURED: "warning", Status.SKIPPED.value: "note"}
_ADVICE = {
    Status.FAILED.value: "read logs/ in the run folder: what the ranks said is there",
    NOT_MEASURED: "run the suite again and let it end",
    Status.SKIPPED.value: None,
}


def attention(run: RunData) -> Iterator[Block]:
    """Yield how the planned rows ended, and what needs a person, the gravest first."""
    counts = run.table["status"].value_counts()
    words = [Status.OK.value, *_GRAVITY]
    ended = ", ".join(f"{counts.get(word, 0)} {word}" for word in words)
    yield Paragraph(f"{len(run.table)} rows planned: {ended}.")
    items = [*_findings(run), *_reasons(run.table), *_doubts(run)]
    if items:
        yield Items(tuple(sorted(items, key=lambda item: _LEVELS.index(item.level))))
    else:
        yield Paragraph("Nothing stands out.")


def _findings(run: RunData) -> Iterator[Item]:
    for finding in run.parts.findings:
        # Found in the rows, whose bounds may have been worked out again.
        if finding.name not in (BEATS_BOUND, BEATS_CEILING):
            about = describe_about(finding)
            yield Item(finding.level, finding.text, finding.advice, about)


def _reasons(table: pd.DataFrame) -> Iterator[Item]:
    """Yield one item for each reason why rows hold no number, with a count and an example."""
    for status, level in _GRAVITY.items():
        lines = table[table["status"] == status]
        reasons = lines.groupby(lines["reason"].fillna("no reason given"), sort=False)
        for place, (reason, group) in enumerate(reasons):
            if place == MOST_REASONS:
                yield Item(level, f"{len(reasons) - place} more reasons why rows are {status}")
                break
            rows = "1 row" if len(group) == 1 else f"{len(group)} rows"
            text = f"{rows} {status}: {reason} (first: {group['name'].iloc[0]})"
            yield Item(level, text, _ADVICE[status])


def _doubts(run: RunData) -> Iterator[Item]:
    if run.changed:
        names = ", ".join(printable(name) for name in run.changed[:MOST_REASONS])
        yield Item(
            "warning",
            f"{len(run.changed)} of the files are not what the run left, by their SHA-256: {names}",
            "find out who changed them, or report a copy that was not",
        )
    lines = measured(run.table)
    beyond = lines[lines["fraction_of_bound"] > MOST_FRACTION]
    for measured_ones, group in beyond.groupby(beyond["bound_source"].map(is_ceiling)):
        worst = group.iloc[int(group["fraction_of_bound"].argmax())]
        yield Item(
            "note" if measured_ones else "warning",
            f"{beaten_text(len(group), bool(measured_ones))}; {worst['name']} reaches "
            f"{format_percent(worst['fraction_of_bound'])} of it "
            f"({worst['bound_source'] or 'no source'})",
            BEATEN_ADVICE[bool(measured_ones)],
        )
    if run.score.refused:
        yield Item(
            "warning",
            f"{len(run.score.refused)} predictions were refused and are not in the score",
            "their reasons are under Predicted against measured",
        )
    restless = int((lines["converged"] == 0).sum())
    if restless:
        yield Item(
            "note",
            f"{restless} of {len(lines)} rows still varied more than their rule allows when their "
            "time was up",
            "calm the machine, or raise cap_s in the suite",
        )
    if len(lines) and lines["launch"].nunique() == 1:
        yield Item(
            "note",
            "one launch: what changes from launch to launch is not in these intervals",
            "measure with `--launches 10` before comparing anything",
        )
