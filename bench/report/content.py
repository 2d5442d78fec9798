"""What stands on the page, and in which order: the answer first, the evidence after it."""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from bench.core.records import Origin
from bench.core.units import format_seconds
from bench.judge.runs import join_tables
from bench.judge.score import GroupScore, format_percent, headline_text, steady_lines
from bench.judge.statistics import BETWEEN, WITHIN, summarise
from bench.judge.table import is_oversubscribed
from bench.predict.bounds.bound import is_ceiling
from bench.predict.model.conformal import COVERAGE
from bench.report import byhost, fleet
from bench.report.attention import attention
from bench.report.background import glossary, machine, method
from bench.report.beside import beside
from bench.report.data import RunData
from bench.report.numbers import numbers
from bench.report.page import Block, Fold, Page, Paragraph, Picture, Section, Table
from bench.report.result import headline_table
from bench.report.style import has_dots

_HEADLINE_NOTE = (
    "Each number is the median over launches of the case named beside it. The error is that of the "
    "prediction made before the case was measured; a calibration case is one that the model was "
    "fitted on, so an error would say nothing."
)
_SCORE_NOTE = (
    "Error: |predicted / measured - 1| on cases that the model had not seen, the median of them. "
    "Noise floor: how far a measurement is from itself; a model at the floor is finished. Bias is "
    "above zero where the model is too slow."
)

_COVERAGE_NOTE = (
    f"Intervals are meant to hold {format_percent(COVERAGE)} of cases: that share should lie "
    "between the bounds in brackets (95 %, Wilson), and the half-width, a factor to either side, "
    "should be small. Skill is 1 - error / error of a naive predictor that sees the same "
    "calibration cases, over the cases that both predict; below zero the model is worse than it."
)
_SPLIT_NOTE = "What a case differs in from every case that its prediction was fitted on."


def compose(runs: Sequence[RunData], pictures: Sequence[Picture]) -> Page:
    """Return the page of one run, or of several beside each other."""
    several = len(runs) > 1
    hosts = tuple(picture for picture in pictures if picture.name == byhost.NAME)
    places = tuple(picture for picture in pictures if picture.name == fleet.NAME)
    pictures = [picture for picture in pictures if picture not in (*hosts, *places)]
    names = sorted({run.meta.suite_name for run in runs})
    return Page(
        title=f"clusterbench: {', '.join(names)}",
        subtitle="; ".join(_subtitle(run, several) for run in runs),
        banners=tuple(_named(run, text, several) for run in runs for text in _banners(run)),
        sections=(
            Section("result", "Result", (headline_table(runs), Paragraph(_HEADLINE_NOTE))),
            Section("attention", "What to look at first", _each(runs, attention)),
            *_by_place(runs, places),
            *_by_host(runs, hosts),
            Section("figures", "Figures", (Paragraph(_figure_note(runs, pictures)), *pictures)),
            Section("predictions", "Predicted against measured", _each(runs, _scores)),
            Section("numbers", "All numbers", (*beside(runs), *_each(runs, numbers))),
            Section("machine", "The machine", _each(runs, machine)),
            Section("method", "How it was measured", _each(runs, method)),
            Section("units", "Units and words", (glossary(),)),
        ),
    )


def _by_place(runs: Sequence[RunData], pictures: tuple[Picture, ...]) -> Iterator[Section]:
    """Yield the section of nodes and GPUs, where several measured for themselves."""
    if pictures:
        blocks = (*pictures, *_each(runs, fleet.place_table))
        yield Section(fleet.NAME, "Node by node", blocks)


def _by_host(runs: Sequence[RunData], pictures: tuple[Picture, ...]) -> Iterator[Section]:
    """Yield the section of hosts, where pairs of them were measured."""
    if pictures:
        yield Section(byhost.NAME, "By host", (*pictures, *_each(runs, byhost.host_table)))


def _each(
    runs: Sequence[RunData], blocks: Callable[[RunData], Iterator[Block]]
) -> tuple[Block, ...]:
    """Return the blocks of every run, under its name where there are several."""
    if len(runs) == 1:
        return tuple(blocks(runs[0]))
    return tuple(block for run in runs for block in (Paragraph(f"Run {run.label}:"), *blocks(run)))


def _named(run: RunData, text: str, several: bool) -> str:
    return f"{run.label}: {text}" if several else text


def _subtitle(run: RunData, several: bool) -> str:
    count = run.table["launch"].nunique()
    launches = f"{count} launch{'' if count == 1 else 'es'}"
    hosts = f"{len(run.parts.nodes.hosts)} host{'' if len(run.parts.nodes.hosts) == 1 else 's'}"
    begin = f"run {run.meta.run}, {run.meta.suite_name}, started {run.meta.started_utc}"
    return _named(run, f"{begin}, {launches}, {hosts}", several)


def _banners(run: RunData) -> Iterator[str]:
    meta, table = run.meta, run.table
    if meta.origin is not Origin.MEASURED:
        yield f"The numbers of this run are {meta.origin.value}, not measured by it."
    planned, present = len(table), int((table["status"] == "ok").sum())
    if meta.outcome is None:
        yield (
            "The run has not ended, or was killed: "
            f"{present} of {planned} planned rows hold a number."
        )
    elif meta.outcome != "complete":
        yield f"The run is {meta.outcome}: {present} of {planned} planned rows hold a number."
    crowded = int(is_oversubscribed(table).sum())
    if crowded:
        yield (
            f"{crowded} rows were measured with more ranks than cores; "
            "they say little about the hardware and are no headline."
        )


def _figure_note(runs: Sequence[RunData], pictures: Sequence[Picture]) -> str:
    """Return how to read the marks, those alone that these figures have."""
    if not pictures:
        return "There is nothing to draw: no case was measured."
    points = summarise(join_tables({run.label: run.table for run in runs}))
    bars = [kind for kind in (BETWEEN, WITHIN) if points["interval"].isin([kind]).any()]
    notes = (
        (True, "Filled markers were measured, hollow ones measured and used to calibrate a model."),
        (
            points["predicted_s"].notna().any(),
            "Dashed lines with a band were predicted before the case was measured.",
        ),
        (points["bound_s"].notna().any(), _bounds_note(points)),
        (bars, f"Bars are 95 % intervals of the median {' or '.join(bars)}."),
        (has_dots(points).any(), "Small dots are single launches, too few for an interval."),
    )
    return " ".join(note for holds, note in notes if holds)


def _bounds_note(points: pd.DataFrame) -> str:
    measured = points.loc[points["bound_s"].notna(), "bound_source"].map(is_ceiling)
    if not measured.any():
        return "Dotted grey lines are bounds of the hardware."
    if measured.all():
        return "Dotted grey lines are ceilings that were measured beside the cases."
    return "Dotted grey lines are bounds of the hardware, or ceilings that were measured."


def _scores(run: RunData) -> Iterator[Block]:
    score = run.score
    if score.groups:
        yield Paragraph(_SCORE_NOTE)
        if score.median_of_strata is not None:
            headline = headline_text(score.median_of_strata, score.strata)
            yield Paragraph(f"{headline[0].upper()}{headline[1:]}.")
        yield _score_table(score.groups)
        yield Paragraph(_COVERAGE_NOTE)
        yield _skill_table(score.groups)
        yield from (Paragraph(f"{line}.") for line in steady_lines(score))
        yield Fold("Scores by size class", (_score_table(score.strata),))
        yield Fold(
            "Scores by what was held out", (Paragraph(_SPLIT_NOTE), _score_table(score.splits))
        )
        yield Fold("Scores by benchmark", (_score_table(score.benchmarks),))
        if score.series:
            yield Fold("Scores by curve", (_score_table(score.series),))
    for problem in score.problems:
        yield Paragraph(f"Not complete: {problem}.")
    if score.refused:
        rows = tuple((r.name, str(r.launch), r.reason) for r in score.refused)
        table = Table(("Case", "Launch", "Why it does not count"), rows, words=frozenset({0, 2}))
        yield Fold(f"{len(rows)} refused predictions", (table,))
    if score.unscored:
        counts = tuple((u.reason, str(u.count)) for u in score.unscored)
        yield Fold("Target cases without a score", (Table(("Why", "Cases"), counts),))


def _score_table(groups: Sequence[GroupScore]) -> Table:
    header = (
        "Group",
        "Error",
        "Noise floor",
        "P90",
        "Bias",
        "Count",
        "In interval",
        "Half-width",
        "Worst case",
    )
    return Table(header, tuple(_score_row(group) for group in groups), words=frozenset({0, 8}))


def _score_row(group: GroupScore) -> tuple[str, ...]:
    noise, coverage, worst = group.noise, group.coverage, group.worst
    floor = "unknown" if noise.median is None else f"{format_percent(noise.median)} {noise.kind}"
    inside, width = "no interval", "no interval"
    if coverage is not None:
        bounds = f"{format_percent(coverage.low)} to {format_percent(coverage.high)}"
        inside = f"{coverage.inside} of {coverage.count} ({bounds})"
        width = f"x{coverage.half_width:.3g}"
    return (
        group.name,
        format_percent(group.median_error),
        floor,
        format_percent(group.p90_error),
        group.bias_text,
        str(group.count),
        inside,
        width,
        f"{worst.name}: {format_seconds(worst.predicted_s)} predicted, "
        f"{format_seconds(worst.measured_s)} measured",
    )


def _skill_table(groups: Sequence[GroupScore]) -> Table:
    """Show what the model gains on naive predictors, and where it loses to one."""
    rows = []
    for group in groups:
        for skill in group.skills:
            gain = "none stated" if skill.skill is None else f"{skill.skill:+.2f}"
            loses = skill.skill is not None and skill.skill < 0
            rows.append(
                (
                    group.name,
                    skill.baseline,
                    format_percent(skill.median_error),
                    str(skill.count),
                    gain,
                    "the model is WORSE" if loses else "",
                )
            )
    header = ("Group", "Naive predictor", "Its error", "Count", "Skill", "Verdict")
    return Table(header, tuple(rows), words=frozenset({0, 1, 5}))
