"""The page of a history: a picture of each case that changed, and when and what beside."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.core.errors import printable
from bench.core.units import format_seconds
from bench.core.verdict import Outcome, Verdict
from bench.judge.history.records import CaseHistory, History
from bench.judge.history.text import Differences, differences_text
from bench.judge.score import format_percent
from bench.report.beside import placement_text
from bench.report.page import Block, Code, Fold, Page, Paragraph, Picture, Section, Table
from bench.report.style import GREY, PALETTE, WIDTH_IN, render
from bench.report.write import write_page

STEM = "history"
MOST_SHOWN = 6
"""Pictures that are seen at once; as many as `MOST_PICTURES` open on demand."""
MOST_PICTURES = 30
_HEIGHT_IN = 2.2
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))
_WORDS = {Outcome.CLEAR: "no change seen"}


def build_history(
    history: History, verdict: Verdict, differences: Differences, folder: Path
) -> Path:
    """Write `history.html`, `history.md` and the figures to `folder`; return the page's path.

    Raises:
        OSError: where the folder cannot be written.
    """
    pictures = [*_draw(history)]
    first, last = history.runs[0], history.runs[-1]
    page = Page(
        title=f"{verdict.outcome}: {len(history.runs)} runs",
        subtitle=f"clusterbench compare --history, {printable(first.started_utc[:10])} to "
        f"{printable(last.started_utc[:10])}",
        banners=(),
        sections=(
            Section("result", "Result", tuple(_result(history, verdict, pictures))),
            Section("when", "What changed when", tuple(_moments(history, differences))),
            Section("cases", "Case by case", (Fold("All cases", (_cases(history),)),)),
            Section("runs", "Runs", tuple(_runs(history))),
        ),
    )
    return write_page(page, pictures, folder, STEM)


def _draw(history: History) -> Iterator[Picture]:
    numbers = {one.run: place for place, one in enumerate(history.runs, start=1)}
    for place, case in enumerate(history.changed()[:MOST_PICTURES], start=1):
        drawn = render(partial(draw_case, case, numbers))
        if drawn is not None:
            caption = "; ".join(
                f"{change.speed_text} times as fast from {change.after} on"
                for change in case.changes
            )
            yield Picture(f"{STEM}-{place}", case.full_name, f"{caption}.", *drawn)


def draw_case(case: CaseHistory, numbers: dict[str, int]) -> Figure:
    """Draw the runs of a case in order, by their numbers, and its states as lines."""
    figure = Figure(figsize=(WIDTH_IN, _HEIGHT_IN), layout="constrained")
    axes = figure.subplots()
    at = np.array([numbers[run] for run in case.runs])
    seconds = np.array(case.seconds)
    factor, unit = next(one for one in _UNITS if seconds.max() >= one[0])
    times = seconds / (factor or 1e-9)
    axes.plot(at, times, "o", color=GREY, ms=3.5, zorder=3)
    edges = [0, *(change.place for change in case.changes), len(at)]
    for state, (begin, end) in enumerate(pairwise(edges)):
        slower = bool(state) and case.changes[state - 1].ratio > 1
        colour = PALETTE[1] if slower else PALETTE[0]
        level = float(np.exp(np.log(times[begin:end]).mean()))
        ends = (at[begin] - 0.5, at[end - 1] + 0.5)
        axes.hlines(level, *ends, color=colour, lw=2, zorder=2)
    for change in case.changes:
        axes.axvline(at[change.place] - 0.5, color=GREY, lw=0.8, ls=":", zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, len(numbers) + 1)
    axes.set_ylim(bottom=min(0.0, times.min()) if times.max() > 2 * times.min() else None)
    axes.set_xlabel("run, in the order in which they were measured")
    axes.set_ylabel(f"time in {unit}")
    return figure


def _result(history: History, verdict: Verdict, pictures: list[Picture]) -> Iterator[Block]:
    yield Paragraph(f"{printable(verdict.text, 600)}.")
    if pictures:
        yield Paragraph(
            "In the pictures a point is a run, the median of its launches, and a line the mean of "
            "a state; one that is slower than the state before it is orange."
        )
    yield from pictures[:MOST_SHOWN]
    if pictures[MOST_SHOWN:]:
        count = len(pictures) - MOST_SHOWN
        yield Fold(f"{count} more cases that changed", tuple(pictures[MOST_SHOWN:]))
    more = len(history.changed()) - len(pictures)
    if more:
        yield Paragraph(f"{more} more changed; the table below has them.")


def _moments(history: History, differences: Differences) -> Iterator[Block]:
    moments = history.moments()
    if not moments:
        yield Paragraph("No case is known to have changed.")
    for (before, after), changed in moments.items():
        yield Paragraph(f"From {after} on, the run before it being {before}:")
        rows = tuple(
            (case.full_name, change.speed_text, f"{change.probability:.1g}")
            for case, change in changed
        )
        yield Table(("Case", "Times as fast", "By chance at most"), rows)
        yield Paragraph("What else differs between these two runs:")
        yield Code("\n".join(differences_text(differences, before, after)))


def _cases(history: History) -> Table:
    rows = tuple(
        (
            one.full_name,
            placement_text(one.nodes, one.ranks_per_node),
            _WORDS.get(one.outcome, str(one.outcome)),
            str(len(one.runs)),
            format_seconds(one.seconds[0]),
            format_seconds(one.seconds[-1]),
            str(len(one.changes) or ""),
            "" if one.least_change is None else format_percent(one.least_change - 1),
            str(one.runs_needed or ""),
        )
        for one in history.cases
    )
    header = ("Case", "Where", "Last change", "Runs", "First run", "Last run", "Changes")
    return Table((*header, "Seen from", "Runs needed"), rows, frozenset({0, 1, 2}))


def _runs(history: History) -> Iterator[Block]:
    rows = tuple(
        (str(place), one.run, one.suite, one.started_utc[:19])
        for place, one in enumerate(history.runs, start=1)
    )
    yield Fold("All runs", (Table(("", "Run", "Suite", "Started"), rows, frozenset({1, 2, 3})),))
    if history.left_out:
        why = tuple((one.folder, one.reason) for one in history.left_out)
        yield Paragraph("Left out:")
        yield Table(("Folder", "Why"), why, frozenset({0, 1}))
