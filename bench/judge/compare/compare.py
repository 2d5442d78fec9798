"""Sides held against the first of them, case by case, and the verdict on each."""

from collections.abc import Sequence

import pandas as pd

from bench.core.errors import RequestError
from bench.core.records import About
from bench.core.verdict import Outcome, Verdict
from bench.judge.changed.changes import find_changes
from bench.judge.changed.records import Difference
from bench.judge.compare.answer import answer_cases
from bench.judge.compare.comparison import Comparison, Held, Result, SideFacts, describe_side
from bench.judge.compare.line_up import Compared, LinedUp, line_up
from bench.judge.compare.overall import overall
from bench.judge.compare.records import LEVEL, MARGIN, Aspect, CaseAnswer
from bench.judge.compare.sides import Side, load_side
from bench.judge.compare.words import tell
from bench.judge.table import measured
from bench.judge.verdicts import MOST_ROWS, sum_up


def compare_runs(sides: Sequence[Side], margin: float = MARGIN, level: float = LEVEL) -> Comparison:
    """Hold every other side against the first one.

    Args:
        sides: two at least.
        margin: the share up to which a change is none that matters.
        level: how often any case of all sides together may be called changed where none is.

    Raises:
        RequestError: where a side has no case in common with the first one, or a file of a run is
            damaged.
    """
    tables = [load_side(side) for side in sides]
    lined = [
        _line_up(sides[0], side, tables[0], table)
        for side, table in zip(sides[1:], tables[1:], strict=True)
    ]
    facts = [
        describe_side(side, _count_launches(table))
        for side, table in zip(sides, tables, strict=True)
    ]
    # Apart, each with its part of the level: the baseline's launches are not two sets of them.
    part = level / len(lined)
    held = tuple(
        _hold(pair, margin, part, side=side, changed=find_changes(sides[0].runs[0], other.runs[0]))
        for side, pair, other in zip(facts[1:], lined, sides[1:], strict=True)
    )
    return Comparison(margin=margin, level=level, baseline=facts[0], held=held)


def judge_comparison(comparison: Comparison) -> Verdict:
    """Return the verdict on a comparison; of several sides the gravest is that of all."""
    verdicts = [_judge(comparison, held) for held in comparison.held]
    claim = f"nothing is slower than {comparison.baseline.label}"
    return verdicts[0] if len(verdicts) == 1 else sum_up(claim, verdicts)


def _line_up(a: Side, b: Side, a_lines: pd.DataFrame, b_lines: pd.DataFrame) -> LinedUp:
    lined = line_up(a, b, a_lines, b_lines)
    if not lined.compared and not any(one.is_common for one in lined.refused):
        raise RequestError(
            f"{a.label} ({a.runs[0].meta.suite_name}) and {b.label} "
            f"({b.runs[0].meta.suite_name}) have no case in common: compare runs of one suite"
        )
    return lined


def _hold(
    pair: LinedUp,
    margin: float,
    level: float,
    side: SideFacts,
    changed: tuple[Difference, ...],
) -> Held:
    answers = answer_cases([one.sides for one in pair.compared], margin, level)
    results = tuple(_result(*both) for both in zip(pair.compared, answers, strict=True))
    return Held(
        side=side,
        outcome=_weigh(results),
        results=results,
        refused=pair.refused,
        lost=pair.lost,
        changed=changed,
    )


def _count_launches(table: pd.DataFrame) -> int:
    return len(measured(table)[["run", "launch"]].drop_duplicates())


def _result(one: Compared, answer: CaseAnswer) -> Result:
    return Result(
        case=one.sides.case,
        name=one.name,
        part=one.sides.part,
        nodes=one.nodes,
        ranks_per_node=one.ranks_per_node,
        benchmark=one.benchmark,
        aspect=one.sides.aspect,
        a=one.a,
        b=one.b,
        answer=answer,
    )


def _weigh(results: Sequence[Result]) -> Outcome:
    """Return the overall word.

    A tail, or ranks, that changed counts as any case does; one of which nothing can be told, as is
    most often so, does not keep levels that are the same from being that.
    """
    counted = [r.answer for r in results if r.aspect is Aspect.LEVEL or r.is_changed]
    return overall(counted) if counted else Outcome.CANNOT_TELL


def _judge(comparison: Comparison, held: Held) -> Verdict:
    changed = sorted(
        (one for one in held.results if one.answer.outcome is held.outcome and one.is_changed),
        key=lambda one: one.ratio,
        reverse=held.outcome is Outcome.SLOWER,
    )
    worst = changed[0] if changed else None
    return Verdict(
        claim=f"{held.side.label} is not slower than {comparison.baseline.label}",
        outcome=held.outcome,
        reason=tell(comparison, held),
        about=About(
            cases=tuple(dict.fromkeys(one.case for one in changed))[:MOST_ROWS],
            parts=tuple(dict.fromkeys(one.part for one in changed if one.part))[:MOST_ROWS],
        ),
        value=worst.ratio if worst else None,
        low=worst.answer.low if worst else None,
        high=worst.answer.high if worst else None,
        limit=1 + comparison.margin if held.outcome is Outcome.SLOWER else 1 - comparison.margin,
        unit="ratio",
    )
