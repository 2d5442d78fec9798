"""The tables of scripts/prove-compare, and whether each demand is met."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from comparekit.false_alarms import (
    LOOKS,
    ONCE,
    Alarms,
    count_alarms,
    count_others,
)
from comparekit.other_rules import RULES
from comparekit.power import NOISES, OURS, Found, find_change, of_spread
from comparekit.worlds import CASES, all_worlds, quiet_recorded

ALLOWED = 4
"""Of 1,000 comparisons of a set-up with itself, those with any case called changed."""
UNSEEN = ("recorded, A then B",)
"""What no comparison of a run with a later one can see: shown, and not demanded."""
DEMANDS = (
    (0.25, 6, 0.02, 0.99),
    (0.08, 10, 0.02, 0.95),
    (0.05, 20, 0.02, 0.95),
    (0.05, 10, 0.01, 0.95),
)
"""Change, launches a side, spread (1.48 MAD of the logarithms), and the part to be found."""
OTHERS_ON = (
    "recorded, drawn",
    "gaussian",
    "two modes, half each",
    "drift: a random walk, A then B",
)


def show(root: Path, comparisons: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the tables, each with whether it breaks no demand."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from _show_alarms(pool, root, comparisons, seed)
        yield from _show_others(pool, root, comparisons // 5, seed)
        yield from _show_found(pool, root, max(20, comparisons // 10), seed)
        yield from _show_margin(pool, max(20, comparisons // 10), seed)


def _show_alarms(
    pool: ProcessPoolExecutor, root: Path, comparisons: int, seed: int
) -> Iterator[tuple[str, bool]]:
    yield f"Nothing changes; comparisons of {CASES} cases with any case called changed:\n", True
    yield (
        f"| launches | {ONCE} a side, one look "
        f"| {len(LOOKS)} looks, {LOOKS[0]} to {LOOKS[-1]} a side | cases the same |",
        True,
    )
    yield "|---|---|---|---|", True
    names = list(all_worlds(root))
    for name, found in zip(
        names, pool.map(partial(_alarms, root, comparisons, seed), names), strict=True
    ):
        most = max(ALLOWED * comparisons // 1000, 1)
        yield (
            f"| {name} | {found.once} of {comparisons} | {found.ever} of {comparisons} "
            f"| {found.same:.0%} |",
            name in UNSEEN or (found.once <= most and found.ever <= most),
        )
    yield "", True


def _show_others(
    pool: ProcessPoolExecutor, root: Path, comparisons: int, seed: int
) -> Iterator[tuple[str, bool]]:
    yield (
        "By other rules, on the same launches; comparisons with any case called changed:\n",
        True,
    )
    yield (
        f"| launches | {' | '.join(f'{rule}, one look, {len(LOOKS)} looks' for rule in RULES)} |",
        True,
    )
    yield "|---|" + "---|" * len(RULES), True
    for name, counts in zip(
        OTHERS_ON, pool.map(partial(_others, root, comparisons, seed), OTHERS_ON), strict=True
    ):
        cells = [f"{once / comparisons:.0%}, {ever / comparisons:.0%}" for once, ever in counts]
        yield f"| {name} | {' | '.join(cells)} |", True
    yield "", True


def _show_found(
    pool: ProcessPoolExecutor, root: Path, comparisons: int, seed: int
) -> Iterator[tuple[str, bool]]:
    yield "B is slower in all cases; the part of the cases that were found slower:\n", True
    rules = [OURS, *RULES]
    yield (
        f"| launches, spread | change, launches a side | {' | '.join(rules)} "
        "| called faster by compare |",
        True,
    )
    yield "|---|---|" + "---|" * (len(rules) + 1), True
    tasks = [(noise, *demand) for demand in DEMANDS for noise in (*NOISES, "recorded")]
    done = pool.map(partial(_found, root, comparisons, seed), tasks)
    for (noise, change, count, spread, wanted), found in zip(tasks, done, strict=True):
        cells = [f"{found.right[rule]:.1%}" for rule in rules]
        scatter = f"at most {spread:.0%}" if noise == "recorded" else f"{spread:.0%}"
        met = found.right[OURS] >= wanted or noise != "gaussian"
        yield (
            f"| {noise}, {scatter} | {change:.0%}, {count} | {' | '.join(cells)} "
            f"| {found.wrong[OURS]:.1%} |",
            met and found.wrong[OURS] == 0,
        )
    yield "", True


def _show_margin(
    pool: ProcessPoolExecutor, comparisons: int, seed: int
) -> Iterator[tuple[str, bool]]:
    yield "At the margin, gaussian launches of 1 % spread, ten a side; parts of the cases:\n", True
    yield "| change | margin | the same | slower |\n|---|---|---|---|", True
    tasks = [(0.0, 0.02), (0.0, 0.01), (0.01, 0.02), (0.02, 0.02), (0.03, 0.02)]
    done = pool.map(partial(_at_margin, comparisons, seed), tasks)
    for (change, margin), found in zip(tasks, done, strict=True):
        enough = found.same >= 0.95 if (change, margin) == (0.0, 0.02) else True
        few = found.same <= 0.04 if change >= margin else True
        yield (
            f"| {change:.0%} | {margin:.0%} | {found.same:.1%} | {found.right[OURS]:.2%} |",
            enough and few,
        )


def _alarms(root: Path, comparisons: int, seed: int, name: str) -> Alarms:
    return count_alarms(all_worlds(root)[name], comparisons, seed)


def _others(root: Path, comparisons: int, seed: int, name: str) -> list[tuple[int, int]]:
    return count_others(all_worlds(root)[name], comparisons, seed)


def _found(
    root: Path, comparisons: int, seed: int, task: tuple[str, float, int, float, float]
) -> Found:
    noise, change, count, spread, _ = task
    draw = quiet_recorded(root, spread) if noise == "recorded" else of_spread(noise, spread)
    return find_change(draw, change, count, comparisons, seed)


def _at_margin(comparisons: int, seed: int, task: tuple[float, float]) -> Found:
    change, margin = task
    return find_change(of_spread("gaussian", 0.01), change, ONCE, comparisons, seed, margin)
