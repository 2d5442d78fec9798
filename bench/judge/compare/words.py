"""A comparison in words: ratios as people say them, and one sentence for who reads no further."""

from collections import Counter
from collections.abc import Iterator, Sequence

from bench.core.errors import printable
from bench.core.units import format_number, format_seconds
from bench.core.verdict import Outcome
from bench.judge.compare.comparison import CHANGED, Comparison, Held, Result
from bench.judge.compare.records import Aspect
from bench.judge.score import format_percent

ASPECTS = {
    Aspect.LEVEL: "time",
    Aspect.TAIL: "tail (p99 / median)",
    Aspect.RANKS: "ranks (slowest / middle)",
}
"""What of a case is compared, for people."""


def format_speed(ratio: float) -> str:
    """Return how many times as fast B is, from its seconds over those of A."""
    speed = 1 / ratio
    return f"{speed:.3f}" if 0.5 < speed < 2 else format_number(speed)


def effect_text(result: Result) -> str:
    """Return what became of B: of a level its speed, else its ratio to A, such as `x1.30`."""
    return _effect(result, result.ratio)


def interval_text(result: Result) -> str:
    """Return between what that lies; empty where nobody knows."""
    low, high = result.answer.low, result.answer.high
    if low is None or high is None:
        return ""
    ends = (high, low) if result.aspect is Aspect.LEVEL else (low, high)
    return " to ".join(_effect(result, end) for end in ends)


def _effect(result: Result, ratio: float) -> str:
    return format_speed(ratio) if result.aspect is Aspect.LEVEL else f"x{format_number(ratio)}"


def percent_text(share: float) -> str:
    """Return a share as a percentage, as short as it can be said."""
    return f"{format_number(100 * share).rstrip('0').rstrip('.') if share else 0} %"


def change_text(ratio: float) -> str:
    """Return a change in words, from a ratio above 1: a percentage, or how many times."""
    return format_percent(ratio - 1) if ratio < 2 else f"{format_number(ratio)} times"


def value_text(result: Result, value: float) -> str:
    """Return what a side has: seconds, or a ratio within its launches."""
    return format_seconds(value) if result.aspect is Aspect.LEVEL else f"{value:.3f}"


def case_text(result: Result) -> str:
    """Return what people call a case, and of several parts which."""
    return f"{result.name}, {printable(result.part, 100)}" if result.part else result.name


def count_text(number: int, one: str = "case", several: str = "cases") -> str:
    """Return a number of things."""
    return f"{number} {one if number == 1 else several}"


def tell(comparison: Comparison, held: Held) -> str:
    """Return in a sentence what became of a side held against the baseline."""
    return f"{held.side.label} against {comparison.baseline.label}: {_tell(comparison, held)}"


def needed_text(results: Sequence[Result]) -> str:
    """Return how many launches would tell; empty where nobody knows, or all is told."""
    needed = needed_by(results)
    if needed is None:
        return ""
    half, most = needed
    if half == most:
        return f"it takes at least {most} launches a side"
    return f"it takes {half} launches a side to tell half of them, {most} to tell all"


def needed_by(results: Sequence[Result]) -> tuple[int, int] | None:
    """Return the launches a side after which half of these, and all, would be told."""
    known = sorted(n for one in results if (n := one.answer.launches_needed) is not None)
    return (known[(len(known) - 1) // 2], known[-1]) if known else None


def seen_by(results: Sequence[Result]) -> tuple[float, float] | None:
    """Return the smallest change that would have been seen in half of these, and in all."""
    known = sorted(r for one in results if (r := one.answer.least_change) is not None)
    return (known[(len(known) - 1) // 2], known[-1]) if known else None


def reasons_of(results: Sequence[Result]) -> list[tuple[str, int]]:
    """Return the reasons of answers, the most frequent first, each with its number."""
    return Counter(printable(one.answer.reason, 300) for one in results).most_common()


def refusals_of(held: Held) -> list[tuple[str, list[str]]]:
    """Return why cases were not compared, the most frequent reason first, each with their names."""
    found: dict[str, list[str]] = {}
    for one in held.refused:
        part = f", {printable(one.part, 100)}" if one.part else ""
        found.setdefault(printable(one.reason, 300), []).append(f"{one.name}{part}")
    return sorted(found.items(), key=lambda pair: -len(pair[1]))


def _tell(comparison: Comparison, held: Held) -> str:
    if not held.results:
        reason, names = refusals_of(held)[0]
        return f"nothing can be compared; {count_text(len(names))}: {reason}"
    levels = held.of(Aspect.LEVEL)
    clauses = list(_clauses(held))
    if not held.of(Aspect.LEVEL, Outcome.SLOWER):
        clauses += ["none is slower"] if clauses else ["none is known to have changed"]
    same = held.of(Aspect.LEVEL, Outcome.SAME)
    if same or held.outcome is Outcome.SAME:
        margin = percent_text(comparison.margin)
        are = "is" if len(same) == 1 else "are"
        clauses.append(f"{len(same)} of {count_text(len(levels))} {are} the same within {margin}")
    left_open = held.of(Aspect.LEVEL, Outcome.CANNOT_TELL)
    if held.outcome is Outcome.CANNOT_TELL and left_open:
        reason, _ = reasons_of(left_open)[0]
        clauses.append(f"{len(left_open)} of {count_text(len(levels))} cannot be told: {reason}")
        clauses.append(needed_text(left_open))
    return "; ".join(filter(None, clauses))


def _clauses(held: Held) -> Iterator[str]:
    """Yield what changed, first what the overall word stands for."""
    order = CHANGED if held.outcome is Outcome.SLOWER else CHANGED[::-1]
    for aspect in Aspect:
        every = len(held.of(aspect))
        for outcome in order:
            changed = held.of(aspect, outcome)
            if not changed:
                continue
            is_worse = outcome is Outcome.SLOWER
            most = (max if is_worse else min)(changed, key=lambda one: one.ratio)
            end = "at worst" if is_worse else "at best"
            shown = (
                format_speed(most.ratio) + " times as fast"
                if aspect is Aspect.LEVEL
                else format_number(most.ratio) + " times"
            )
            noun, *words = _CLAUSES[aspect]
            verb = "is" if len(changed) == 1 else "are"
            yield (
                f"{len(changed)} of {every} {noun} {verb} {words[not is_worse]}, {end} {shown} "
                f"({case_text(most)})"
            )


_CLAUSES = {
    Aspect.LEVEL: ("cases", "slower", "faster"),
    Aspect.TAIL: ("tails (p99 / median)", "longer", "shorter"),
    Aspect.RANKS: ("spreads of ranks (slowest / middle)", "wider", "narrower"),
}
"""What there is of an aspect, and what becomes of it."""
