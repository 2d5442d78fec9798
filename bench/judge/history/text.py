"""A history as lines for a terminal: where it stands, then what changed when, the last first."""

from collections.abc import Iterator, Mapping, Sequence

from bench.core.errors import printable
from bench.core.verdict import Verdict
from bench.judge.changed.records import Difference
from bench.judge.changed.text import changes_text
from bench.judge.history.records import CaseHistory, Change, History

Differences = Mapping[tuple[str, str], tuple[Difference, ...]]
"""By the runs before and after a moment, what else differs between the two."""
_MOST_MOMENTS = 10
_MOST_CASES = 8
_MOST_LINES = 8
"""Of what else differs."""


def history_text(history: History, verdict: Verdict, differences: Differences) -> list[str]:
    """Return a history as lines, each safe to print."""
    first, last = history.runs[0], history.runs[-1]
    lines = [
        printable(verdict.text, 600),
        "",
        f"{len(history.runs)} runs from {printable(first.started_utc[:10])} to "
        f"{printable(last.started_utc[:10])}, {len(history.cases)} cases",
        *(
            f"left out: {printable(one.folder, 100)}, {printable(one.reason, 300)}"
            for one in history.left_out
        ),
    ]
    moments = history.moments()
    for (before, after), changed in [*moments.items()][:_MOST_MOMENTS]:
        lines += ["", f"from {printable(after, 100)} on (before: {printable(before, 100)})"]
        lines += _changed(changed)
        beside = differences_text(differences, before, after)
        lines += [f"  {printable(line, 300)}" for line in beside[:_MOST_LINES]]
        if len(beside) > _MOST_LINES:
            lines.append(f"  and {len(beside) - _MOST_LINES} more lines on the page")
    if len(moments) > _MOST_MOMENTS:
        lines += ["", f"{len(moments) - _MOST_MOMENTS} earlier moments are on the page"]
    return lines


def differences_text(differences: Differences, before: str, after: str) -> tuple[str, ...]:
    """Return a line for each thing that differs between the runs beside a moment."""
    return changes_text(differences.get((before, after), ()), ("before", "after"))


def _changed(changed: Sequence[tuple[CaseHistory, Change]]) -> Iterator[str]:
    for case, change in changed[:_MOST_CASES]:
        yield f"  {change.speed_text:>6} times as fast: {printable(case.full_name, 120)}"
    if len(changed) > _MOST_CASES:
        yield f"  and {len(changed) - _MOST_CASES} more cases"
