"""What becomes of several verdicts, and the verdicts on a run and on its score."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.core.errors import printable
from bench.core.hostnames import host_of
from bench.core.records import About, Finding, Row, Status
from bench.core.verdict import Gravity, Outcome, RowKey, Verdict

if TYPE_CHECKING:
    from bench.judge.score import Score

MOST_ROWS = 100
"""Rows that a verdict names; its reason has their number."""
MOST_REASONS = 3
"""Reasons that a verdict on several gives in words."""
ROWS_FAILED = "rows-failed"

_MEASURED = "every planned row was measured, or skipped with a reason"
_SCORED = "the predictions of this run can be held against what was measured"


def weigh(outcome: Outcome) -> tuple[Gravity, int]:
    """Return a key by which the outcome that decides is the largest."""
    return outcome.gravity, list(Outcome).index(outcome)


def sum_up(claim: str, verdicts: Sequence[Verdict]) -> Verdict:
    """Return the one verdict on several: bad beats failed beats undecided beats good.

    Nothing judged is not measured: silence never passes. What speaks against the claim is told,
    the gravest first.
    """
    if not verdicts:
        return Verdict(claim=claim, outcome=Outcome.NOT_MEASURED, reason="nothing was judged")
    ordered = sorted(verdicts, key=lambda verdict: weigh(verdict.outcome), reverse=True)
    outcome = ordered[0].outcome
    # Where all is well, all of them say so.
    told = [v for v in ordered if v.outcome.gravity or not outcome.gravity]
    reasons = list(dict.fromkeys(verdict.reason for verdict in told))
    more = len(reasons) - MOST_REASONS
    shown = reasons[:MOST_REASONS] + ([f"and {more} more"] if more > 0 else [])
    return Verdict(
        claim=claim,
        outcome=outcome,
        reason="; ".join(shown),
        about=_join(verdict.about for verdict in told),
        findings=tuple(dict.fromkeys(f for verdict in told for f in verdict.findings)),
        rows=tuple(dict.fromkeys(r for verdict in told for r in verdict.rows))[:MOST_ROWS],
        parts=tuple(verdicts),
    )


def _join(parts: Iterable[About]) -> About:
    every = list(parts)
    return About(
        cases=tuple(dict.fromkeys(case for about in every for case in about.cases)),
        hosts=tuple(dict.fromkeys(host for about in every for host in about.hosts)),
        parts=tuple(dict.fromkeys(part for about in every for part in about.parts)),
    )


def judge_rows(rows: Sequence[Row], missing: Sequence[RowKey]) -> Verdict:
    """Return the verdict on how the planned rows of a run ended.

    Args:
        rows: those that are there.
        missing: those that are planned and are not there.
    """
    planned = len(rows) + len(missing)
    failed = [row for row in rows if row.status is Status.FAILED]
    verdicts = []
    if failed:
        verdicts.append(_failed(failed, planned))
    if missing or not planned:
        reason = f"{len(missing)} of {_count(planned, 'planned row')} not measured"
        verdicts.append(
            Verdict(
                claim=_MEASURED,
                outcome=Outcome.NOT_MEASURED,
                reason=reason if planned else "no row was planned",
                rows=tuple(missing[:MOST_ROWS]),
                value=len(missing),
                limit=0,
                unit="rows",
            )
        )
    if verdicts:
        return verdicts[0] if len(verdicts) == 1 else sum_up(_MEASURED, verdicts)
    skipped = sum(row.status is Status.SKIPPED for row in rows)
    reason = f"{_count(planned - skipped, 'row')} measured"
    reason += f", {skipped} skipped with a reason" if skipped else ""
    return Verdict(claim=_MEASURED, outcome=Outcome.PASS, reason=reason)


def _failed(failed: Sequence[Row], planned: int) -> Verdict:
    first = failed[0]
    return Verdict(
        claim=_MEASURED,
        outcome=Outcome.FAILED_ROWS,
        reason=f"{len(failed)} of {_count(planned, 'planned row')} failed; the first is "
        f"{printable(first.case, 100)}: {printable(first.reason, 300)}",
        findings=tuple(_reasons(failed)),
        rows=tuple(key_of(row) for row in failed[:MOST_ROWS]),
        value=len(failed),
        limit=0,
        unit="rows",
    )


def _reasons(failed: Sequence[Row]) -> Iterable[Finding]:
    """Yield a finding for each of the first reasons."""
    by_reason: dict[str, list[Row]] = {}
    for row in failed:
        by_reason.setdefault(row.reason or "no reason given", []).append(row)
    for reason, rows in list(by_reason.items())[:MOST_ROWS]:
        ends = (end for row in rows for end in (row.src, row.dst) if end)
        yield Finding(
            name=ROWS_FAILED,
            level="warning",
            text=f"{_count(len(rows), 'row')} failed: {printable(reason, 300)}",
            advice="read logs/ in the run folder: what the ranks said is there",
            about=About(
                cases=tuple(dict.fromkeys(row.case for row in rows))[:MOST_ROWS],
                hosts=tuple(dict.fromkeys(map(host_of, ends))),
            ),
            value=len(rows),
            unit="rows",
        )


def key_of(row: Row) -> RowKey:
    """Return the name of a row."""
    return RowKey(case=row.case, launch=row.launch, arm=row.arm, src=row.src)


def judge_score(score: "Score") -> Verdict:
    """Return the verdict on a score: it says how far off predictions were, not that it is little.

    A prediction that was refused leaves it open whether the others were chosen.
    """
    scored = sum(group.count for group in score.groups)
    return Verdict(
        claim=_SCORED,
        outcome=Outcome.PASS if score.complete else Outcome.CANNOT_TELL,
        reason="; ".join(score.problems) or f"{_count(scored, 'prediction')} scored, none refused",
        rows=tuple(RowKey(case=r.case, launch=r.launch) for r in score.refused[:MOST_ROWS]),
        value=score.median_of_strata,
        unit=None if score.median_of_strata is None else "ratio",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
