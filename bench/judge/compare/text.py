"""A comparison as lines for a terminal: the word first, then what changed, then the rest folded."""

from collections.abc import Iterator, Sequence

from bench.core.errors import printable
from bench.core.verdict import Outcome
from bench.judge.changed.text import changes_text
from bench.judge.compare.comparison import Comparison, Held, Result, SideFacts
from bench.judge.compare.records import Aspect
from bench.judge.compare.words import (
    case_text,
    change_text,
    count_text,
    effect_text,
    interval_text,
    needed_text,
    percent_text,
    reasons_of,
    refusals_of,
    seen_by,
    tell,
    value_text,
)

_MOST_CHANGED = 40
"""Changed cases that are listed; the page has all."""
_MOST_ELSE = 12
"""Lines of what else changed."""
_MOST_REASONS = 5
_MOST_NAMES = 3
_SHORT = {Aspect.LEVEL: "", Aspect.TAIL: "tail of ", Aspect.RANKS: "ranks of "}


def comparison_text(comparison: Comparison) -> list[str]:
    """Return a comparison as lines, each side against the baseline."""
    lines = []
    for held in comparison.held:
        lines += [f"{held.outcome}: {printable(tell(comparison, held), 900)}", ""]
        lines += _sides(comparison, held)
        lines += _else_changed(comparison, held)
        lines += _changed(comparison, held)
        lines += _folded(comparison, held)
        lines += [""]
    return lines[:-1]


def _sides(comparison: Comparison, held: Held) -> Iterator[str]:
    for side in (comparison.baseline, held.side):
        yield f"{side.label}: {side_text(side)}"


def side_text(side: SideFacts) -> str:
    """Return in words which runs a side is made of."""
    runs = printable(side.runs[0], 100)
    more = f" and {len(side.runs) - 1} more" if len(side.runs) > 1 else ""
    kept = f", label {printable(side.kept_label, 40)}" if side.kept_label else ""
    return f"{runs}{more}{kept}, {count_text(side.launches, 'launch', 'launches')}"


def _else_changed(comparison: Comparison, held: Held) -> Iterator[str]:
    """Yield what else differs between both sides, since it may be what changed a case."""
    yield "what else changed:"
    found = changes_text(held.changed, (comparison.baseline.label, held.side.label))
    for line in found[:_MOST_ELSE]:
        yield f"  {printable(line, 300)}"
    if len(found) > _MOST_ELSE:
        yield f"  and {len(found) - _MOST_ELSE} more, on the page"
    yield ""


def _changed(comparison: Comparison, held: Held) -> Iterator[str]:
    changed = sorted(
        (one for one in held.results if one.is_changed), key=lambda one: one.ratio, reverse=True
    )
    if not changed:
        return
    a, b = comparison.baseline.label, held.side.label
    yield f"{'':<7}{'speed':>8}  {'between':<17}{a:>10}{b:>10}  case"
    # The worst and the best of very many: those between them are on the page.
    half = _MOST_CHANGED // 2
    shown = changed if len(changed) <= _MOST_CHANGED else [*changed[:half], *changed[-half:]]
    for place, one in enumerate(shown):
        if len(shown) < len(changed) and place == half:
            yield f"... {len(changed) - len(shown)} more"
        yield _line(one)


def _line(one: Result) -> str:
    return (
        f"{one.answer.outcome:<7}{effect_text(one):>8}  {interval_text(one):<17}"
        f"{value_text(one, one.a):>10}{value_text(one, one.b):>10}  "
        f"{_SHORT[one.aspect]}{case_text(one)}"
    )


def _folded(comparison: Comparison, held: Held) -> Iterator[str]:
    same = held.of(Aspect.LEVEL, Outcome.SAME)
    if same:
        margin = percent_text(comparison.margin)
        yield f"SAME within {margin}: {count_text(len(same))}{_seen(same)}"
    left_open = held.of(Aspect.LEVEL, Outcome.CANNOT_TELL)
    if left_open:
        needed = needed_text(left_open)
        yield f"CANNOT TELL: {count_text(len(left_open))}{_seen(left_open)}" + (
            f"; {needed}" if needed else ""
        )
        reasons = reasons_of(left_open)
        for reason, count in reasons[:_MOST_REASONS]:
            yield f"  {count}: {reason}"
        yield from _more(len(reasons))
    refusals = refusals_of(held)
    if refusals:
        yield f"not compared: {count_text(len(held.refused))}"
        for reason, names in refusals[:_MOST_REASONS]:
            yield f"  {len(names)}: {reason} ({_names(names)})"
        yield from _more(len(refusals))
    yield from held.lost


def _seen(results: Sequence[Result]) -> str:
    """Return the smallest change that these launches would have shown."""
    seen = seen_by(results)
    if seen is None:
        return ""
    half, every = map(change_text, seen)
    most = "" if half == every else f" in half of them, of {every} in all"
    return f"; a change of {half} would have been seen{most}"


def _more(count: int) -> Iterator[str]:
    if count > _MOST_REASONS:
        yield f"  and {count - _MOST_REASONS} more reasons, on the page"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
