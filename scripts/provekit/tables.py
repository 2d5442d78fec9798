"""What every part prints: errors by group, skill against naive predictors, and verdicts."""

import math
from collections.abc import Mapping, Sequence

from bench.judge.accuracy import Accuracy, Miss, judge
from bench.judge.score import format_percent


def print_errors(what: str, groups: Mapping[str, Sequence[Miss]]) -> Accuracy:
    """Print the errors of each group and of all, and what naive predictors do, in Markdown."""
    pooled = judge([miss for misses in groups.values() for miss in misses])
    print(
        f"| {what} | n | median error | bias | P90 | worst | inside 80 % interval | half-width |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    found = {name: judge(misses) for name, misses in groups.items()} | {"all": pooled}
    for name, accuracy in found.items():
        print(f"| {name} | {' | '.join(_cells(accuracy))} |")
    print(f"\n| {what} | naive predictor | its median error | n | skill |\n|---|---|---|---|---|")
    for name, accuracy in found.items():
        _print_skills(name, accuracy)
    print()
    return pooled


def print_verdict(text: str, met: bool) -> bool:
    """Print one target, and return whether it was met."""
    print(f"- {'met' if met else 'MISSED'}: {text}", flush=True)
    return met


def print_error_verdict(what: str, median_error: float, most: float) -> bool:
    """Print the target of a median error, and return whether it was met."""
    reached, wanted = format_percent(median_error), format_percent(most)
    return print_verdict(f"{what}: median error {reached}, wanted at most {wanted}",
                         median_error <= most)  # fmt: skip


def _cells(found: Accuracy) -> tuple[str, ...]:
    inside = width = "no interval"
    if found.coverage is not None:
        c = found.coverage
        share = format_percent(c.inside / c.count)
        inside = f"{share} ({format_percent(c.low)} to {format_percent(c.high)})"
        width = f"x{c.half_width:.3f}"
    return (
        str(found.count),
        format_percent(found.median_error),
        format_percent(math.expm1(found.bias_ln), signed=True),
        format_percent(found.p90_error),
        f"{found.worst.name}: {format_percent(found.worst.error, signed=True)}",
        inside,
        width,
    )


def _print_skills(name: str, found: Accuracy) -> None:
    for skill in found.skills:
        gain = "none stated" if skill.skill is None else f"{skill.skill:+.2f}"
        if skill.skill is not None and skill.skill < 0:
            gain += ", the model is WORSE"
        error = format_percent(skill.median_error)
        print(f"| {name} | {skill.baseline} | {error} | {skill.count} | {gain} |")
