"""What stands on the page of a comparison: the word first, the evidence after it."""

from collections.abc import Iterator, Sequence

from bench.core.errors import printable
from bench.core.hostnames import fold_hosts
from bench.core.records import Origin
from bench.core.verdict import Outcome
from bench.judge.changed.text import changes_text
from bench.judge.compare.comparison import Comparison, Held, Result, SideFacts
from bench.judge.compare.records import Aspect
from bench.judge.compare.words import (
    ASPECTS,
    case_text,
    change_text,
    count_text,
    effect_text,
    interval_text,
    percent_text,
    reasons_of,
    refusals_of,
    seen_by,
    tell,
    value_text,
)
from bench.report.beside import placement_text
from bench.report.page import Block, Fold, Page, Paragraph, Picture, Section, Table

_WORDS = (Outcome.SLOWER, Outcome.FASTER, Outcome.SAME, Outcome.CANNOT_TELL)
_MOST_REFUSALS = 3
"""Reasons beside the picture; the table has all."""
_MOST_CHANGES = 20
"""Differences that are shown without asking."""
_MOST_HOSTS = 200
"""Letters of the hosts of a side."""
_MEANINGS = (
    ("SLOWER, FASTER", "the interval of all cases at once lies wholly beyond the margin"),
    ("SAME", "the 95 % interval of the case alone lies wholly within the margin"),
    ("CANNOT TELL", "neither: more launches would tell"),
    (
        "Overall",
        "SLOWER if any case is; FASTER if any is and none is slower; SAME if at least 90 % of the "
        "cases are and none differs; else CANNOT TELL. A tail, or ranks, that changed counts too",
    ),
    (
        "Speed",
        "seconds of the baseline over those of the other: 1.05 is 1.05 times as fast; of tails and "
        "ranks it is the ratio itself, as in x1.05",
    ),
    ("Tail", "99th percentile of the samples of a launch over their median; less is better"),
    ("Ranks", "median of the slowest rank of a launch over that of the middle one; less is better"),
    (
        "Seen from",
        "the smallest change that these launches would have shown at the noise that they have",
    ),
)


def compose(comparison: Comparison, pictures: Sequence[Picture]) -> Page:
    """Return the page of a comparison."""
    sides = (comparison.baseline, *(held.side for held in comparison.held))
    return Page(
        title=_title(comparison),
        subtitle="clusterbench compare, "
        + ", ".join(dict.fromkeys(f"suite {side.suite}" for side in sides)),
        banners=tuple(_banners(sides)),
        sections=(
            *_each(comparison, pictures),
            Section("sides", "What was compared", (_sides(sides),)),
            Section("words", "What the words mean", (_meanings(comparison),)),
        ),
    )


def _title(comparison: Comparison) -> str:
    """Return the word on each side, which is what most people came for."""
    if len(comparison.held) == 1:
        (held,) = comparison.held
        return f"{held.outcome}: {held.side.label} against {comparison.baseline.label}"
    words = ", ".join(f"{held.side.label} {held.outcome}" for held in comparison.held)
    return f"Against {comparison.baseline.label}: {words}"


def _banners(sides: Sequence[SideFacts]) -> Iterator[str]:
    for side in sides:
        if side.origin is not Origin.MEASURED:
            yield f"The numbers of {side.label} are {side.origin.value}, not measured by it."


def _each(comparison: Comparison, pictures: Sequence[Picture]) -> Iterator[Section]:
    """Yield the sections of each side that was held against the baseline."""
    several = len(comparison.held) > 1
    for place, held in enumerate(comparison.held, start=1):
        own = [picture for picture in pictures if picture.title.startswith(f"{held.side.label} ")]
        end = f"-{place}" if several else ""
        of = f"{held.side.label}: " if several else ""
        blocks: tuple[Block, ...] = (
            Paragraph(f"{tell(comparison, held)}."),
            _counts(held),
            *own,
        )
        notes = (Paragraph(f"{text[0].upper()}{text[1:]}.") for text in _notes(held))
        yield Section(f"result{end}", f"{of}Result", (*blocks, *notes))
        yield Section(f"changed{end}", f"{of}What else changed", tuple(_changed(comparison, held)))
        yield Section(f"cases{end}", f"{of}Case by case", tuple(_cases(comparison, held)))


def _changed(comparison: Comparison, held: Held) -> Iterator[Block]:
    """Yield what else differs between both sides, the likeliest culprits first."""
    labels = (comparison.baseline.label, held.side.label)
    known = [one for one in held.changed if one.known]
    if known:
        header = ("Kind", "What", *labels, "Hosts")
        rows = tuple(
            (str(one.kind), one.what, one.a or "", one.b or "", fold_hosts(one.hosts) or "all")
            for one in known
        )
        table = Table(header, rows, frozenset(range(len(header))))
        yield Table(header, rows[:_MOST_CHANGES], table.words)
        if len(rows) > _MOST_CHANGES:
            yield Fold(f"All {len(rows)} differences", (table,))
        unknown = changes_text([one for one in held.changed if not one.known], labels)[1:]
    else:
        unknown = changes_text(held.changed, labels)
    yield from (Paragraph(text) for text in unknown)


def _counts(held: Held) -> Table:
    """Return how many cases got which word, and what could have been seen in them."""
    rows = []
    for aspect in Aspect:
        results = held.of(aspect)
        if results:
            counts = (str(len(held.of(aspect, word)) or "") for word in _WORDS)
            rows.append((ASPECTS[aspect], *counts, _seen(results)))
    header = ("", *(str(word) for word in _WORDS), "A change would have been seen from")
    return Table(header, tuple(rows))


def _notes(held: Held) -> Iterator[str]:
    """Yield what of both sides is not in the numbers."""
    yield from held.lost
    refusals = refusals_of(held)
    for reason, names in refusals[:_MOST_REFUSALS]:
        yield f"not compared: {count_text(len(names))}, {reason}"
    if len(refusals) > _MOST_REFUSALS:
        yield f"{len(refusals) - _MOST_REFUSALS} more reasons why cases are not compared are below"


def _seen(results: Sequence[Result]) -> str:
    seen = seen_by(results)
    if seen is None:
        return ""
    half, every = map(change_text, seen)
    return half if half == every else f"{half} in half, {every} in all"


def _cases(comparison: Comparison, held: Held) -> Iterator[Block]:
    """Yield the tables, what changed before what did not."""
    changed = sorted((one for one in held.results if one.is_changed), key=lambda one: -one.ratio)
    if changed:
        yield _table(comparison, held, changed)
    else:
        yield Paragraph("No case is known to have changed.")
    for aspect in Aspect:
        of = "" if aspect is Aspect.LEVEL else f", {ASPECTS[aspect]}"
        for outcome in (Outcome.SAME, Outcome.CANNOT_TELL):
            results = sorted(held.of(aspect, outcome), key=lambda one: -one.ratio)
            if results:
                title = f"{outcome}{of}: {count_text(len(results))}"
                yield Fold(title, (*_reasons(results), _table(comparison, held, results)))
    refusals = refusals_of(held)
    if refusals:
        rows = tuple((reason, str(len(names)), ", ".join(names)) for reason, names in refusals)
        table = Table(("Reason", "Cases", "Which"), rows, frozenset({0, 2}))
        yield Fold(f"Not compared: {count_text(len(held.refused))}", (table,))


def _reasons(results: Sequence[Result]) -> Iterator[Block]:
    """Yield why nothing can be told, where that is so."""
    if results[0].answer.outcome is Outcome.CANNOT_TELL:
        rows = tuple((reason, str(count)) for reason, count in reasons_of(results))
        yield Table(("Reason", "Cases"), rows)


def _table(comparison: Comparison, held: Held, results: Sequence[Result]) -> Table:
    """Return a line per case; columns that say nothing of any, or the same of all, are left out."""
    a, b = comparison.baseline.label, held.side.label
    columns = (
        ("Case", [case_text(one) for one in results]),
        ("Where", [placement_text(one.nodes, one.ranks_per_node) for one in results]),
        ("Of it", [ASPECTS[one.aspect] for one in results]),
        ("Word", [str(one.answer.outcome) for one in results]),
        (f"Speed of {b}", [effect_text(one) for one in results]),
        ("Between", [interval_text(one) for one in results]),
        (a, [value_text(one, one.a) for one in results]),
        (b, [value_text(one, one.b) for one in results]),
        ("Launches", [_launches(one) for one in results]),
        ("Seen from", [_change(one.answer.least_change) for one in results]),
        ("Launches needed", [_whole(one.answer.launches_needed) for one in results]),
    )
    words = {"Case", "Where", "Of it", "Word"}
    alike = {"Where", "Of it", "Word"}
    shown = [
        (title, cells)
        for title, cells in columns
        if any(cells) and not (title in alike and len(results) > 1 and len({*cells}) == 1)
    ]
    return Table(
        tuple(title for title, _ in shown),
        tuple(zip(*(cells for _, cells in shown), strict=True)),
        frozenset(place for place, (title, _) in enumerate(shown) if title in words),
    )


def _launches(one: Result) -> str:
    a, b = one.answer.launches_a, one.answer.launches_b
    return str(a) if a == b else f"{a}, {b}"


def _change(ratio: float | None) -> str:
    return "" if ratio is None else change_text(ratio)


def _whole(number: int | None) -> str:
    return "" if number is None else str(number)


def _sides(sides: Sequence[SideFacts]) -> Table:
    columns = (
        ("Runs", [", ".join(printable(run, 100) for run in side.runs) for side in sides]),
        ("Label", [side.kept_label or "" for side in sides]),
        ("Suite", [side.suite for side in sides]),
        ("Started", [side.started_utc for side in sides]),
        ("Launches", [str(side.launches) for side in sides]),
        ("MPI", [side.mpi or "" for side in sides]),
        ("Hosts", [printable(fold_hosts(side.hosts), _MOST_HOSTS) for side in sides]),
    )
    rows = tuple((title, *cells) for title, cells in columns if any(cells))
    header = ("", *(side.label for side in sides))
    return Table(header, rows, frozenset(range(len(header))))


def _meanings(comparison: Comparison) -> Table:
    rows = (
        *_MEANINGS,
        ("Margin", f"{percent_text(comparison.margin)}: changes up to this one do not matter"),
        (
            "Level",
            f"in {percent_text(comparison.level)} of comparisons of sides that do not differ any "
            "case at all is called changed",
        ),
    )
    return Table(("Word", "Meaning"), rows, frozenset({0, 1}))
