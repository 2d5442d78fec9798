"""When cases changed, and the verdict on where they stand."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from bench.core.errors import printable
from bench.core.records import About
from bench.core.verdict import Outcome, Verdict
from bench.judge.changed.changes import find_changes
from bench.judge.compare.records import LEVEL, MARGIN
from bench.judge.history.change_points import (
    ChangePoint,
    count_pairs,
    draw_outliers,
    find_change_points,
    least_runs,
)
from bench.judge.history.records import CaseHistory, Change, History, PastRun
from bench.judge.history.series import Past, Series, read_past
from bench.judge.history.text import Differences
from bench.judge.score import format_percent
from bench.store.folder import RunFolder

_SEEN = 0.95
"""How often the least change that is told would have shown."""
_MOST_LOG = 50.0
"""A change beyond which nobody asks how large."""


def find_history(
    folder: Path, margin: float = MARGIN, level: float = LEVEL
) -> tuple[History, tuple[RunFolder, ...]]:
    """Return when each case of the runs in a folder changed, and these runs.

    Args:
        folder: that holds run folders.
        margin: the share up to which a change is none that matters.
        level: how often any case may be said to have changed where none did.

    Raises:
        RequestError: where there is no run in the folder.
    """
    past = read_past(folder)
    return _judge_cases(past, margin, level), past.runs


def find_differences(history: History, runs: Sequence[RunFolder]) -> Differences:
    """Return what else differs between the runs before and after each moment of change.

    Raises:
        RequestError: where a file of such a run is damaged.
    """
    by_name = {run.meta.run: run for run in runs}
    return {
        (before, after): find_changes(by_name[before], by_name[after])
        for before, after in history.moments()
    }


def judge_history(history: History) -> Verdict:
    """Return the verdict: SLOWER where the latest state of a case is slower than the one before."""
    told = [one for one in history.cases if one.outcome is not Outcome.CANNOT_TELL]
    outcome = _weigh(told)
    decisive = [one for one in told if one.outcome is outcome]
    return Verdict(
        claim="no case is slower than before its last change",
        outcome=outcome,
        reason=_tell(history, told, outcome),
        about=About(cases=tuple(dict.fromkeys(one.case for one in decisive if one.changes))),
    )


def _judge_cases(past: Past, margin: float, level: float) -> History:
    long_enough = sum(len(one.log_s) >= least_runs(level) for one in past.series)
    error_rate = level / max(1, long_enough)
    names = [run.meta.run for run in past.runs]
    return History(
        margin=margin,
        level=level,
        runs=tuple(_describe(run) for run in past.runs),
        left_out=past.left_out,
        cases=tuple(_judge_case(one, names, margin, error_rate) for one in past.series),
    )


def _judge_case(
    series: Series, names: Sequence[str], margin: float, error_rate: float
) -> CaseHistory:
    runs = [names[place] for place in series.runs]
    needed = least_runs(error_rate)
    found: list[ChangePoint] = []
    least = None
    if len(runs) < needed:
        outcome = Outcome.CANNOT_TELL
    elif found := find_change_points(series.log_s, math.log1p(margin), error_rate):
        outcome = Outcome.SLOWER if found[-1].change > 0 else Outcome.FASTER
    else:
        least = _least_change(series, margin, error_rate)
        outcome = Outcome.SAME if least <= (1 + margin) ** 2 else Outcome.CLEAR
    return CaseHistory(
        case=series.case,
        name=series.name,
        part=series.part,
        nodes=series.nodes,
        ranks_per_node=series.ranks_per_node,
        runs=tuple(runs),
        seconds=tuple(np.exp(series.log_s).tolist()),
        outcome=outcome,
        changes=tuple(
            Change(
                place=one.place,
                before=runs[one.place - 1],
                after=runs[one.place],
                ratio=math.exp(one.change),
                probability=one.probability,
            )
            for one in found
        ),
        least_change=least,
        runs_needed=needed if outcome is Outcome.CANNOT_TELL else None,
    )


def _least_change(series: Series, margin: float, error_rate: float) -> float:
    """Return the smallest change, as a ratio, that half of the runs would have shown mostly."""
    count = len(series.log_s)
    scatter = float(draw_outliers(series.log_s).std(ddof=1))
    freedom = count - 2
    limit = stats.t.isf(error_rate / (2 * count_pairs(count)), freedom)
    steps = float(limit + stats.t.isf(1 - _SEEN, freedom))
    return (1 + margin) * math.exp(min(steps * scatter * 2 / math.sqrt(count), _MOST_LOG))


def _weigh(told: Sequence[CaseHistory]) -> Outcome:
    """Return the overall word: of a case that is slower, else of the first that fits."""
    outcomes = {one.outcome for one in told}
    for outcome in (Outcome.SLOWER, Outcome.FASTER, Outcome.CLEAR, Outcome.SAME):
        if outcome in outcomes:
            return outcome
    return Outcome.CANNOT_TELL


def _tell(history: History, told: Sequence[CaseHistory], outcome: Outcome) -> str:
    runs, cases = len(history.runs), len(history.cases)
    if not told:
        needed = min(one.runs_needed or 0 for one in history.cases)
        return (
            f"{runs} run{'' if runs == 1 else 's'}; a change shows from {needed} runs of a case on"
        )
    untold = cases - len(told)
    rest = f"; of {untold} more nothing can be told, in too few runs" if untold else ""
    if outcome in (Outcome.SLOWER, Outcome.FASTER):
        last = [one for one in told if one.outcome is outcome]
        worst = next(one for one in history.changed() if one in last)
        is_, their = ("is", "its") if len(last) == 1 else ("are", "their")
        return (
            f"{len(last)} of {len(told)} cases {is_} {str(outcome).lower()} since {their} last "
            f"change, most {worst.full_name}: {worst.changes[-1].speed_text} times as fast from "
            f"{printable(worst.changes[-1].after)} on{rest}"
        )
    seen = sorted(one.least_change or 1.0 for one in told)
    return (
        f"no case of {len(told)} is known to have changed over {runs} runs; changes from "
        f"{format_percent(seen[len(seen) // 2] - 1)} on would have shown in half of them{rest}"
    )


def _describe(run: RunFolder) -> PastRun:
    meta = run.meta
    return PastRun(run=meta.run, suite=meta.suite_name, started_utc=meta.started_utc)
