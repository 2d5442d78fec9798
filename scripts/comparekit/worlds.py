"""Launches of sixty cases in worlds where nothing changes, recorded and simulated.

A world gives logarithms of launch medians, cases by moments, and which side each moment belongs to.
Spreads, modes and drifts are drawn anew for each comparison, small and large ones alike, since a
margin of 1 % forgives nothing where launches scatter by 20 %.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.judge.compare.records import Aspect, CaseSides, Launches
from comparekit import record

RECORD = Path("results/reference/launches-x86-2-cores-openmpi/launches.csv.gz")
CASES, KINDS = 60, 3
MOST = 35
"""Launches of each side, of the last look."""
SLOW = math.log(3.4)
"""From 104 to 354 ns, as seen of one command."""
EVERY_S = 60.0

Floats = NDArray[np.float64]


class Drawn(NamedTuple):
    """One comparison's launches, moments in the order in which they come."""

    values: Floats
    """Cases by moments."""
    begun_s: Floats | None
    """Of each moment; None where the order says nothing."""
    kinds: Sequence[str]
    interleaved: bool = True
    """Whether the sides take turns, else B comes after all of A."""
    order: NDArray[np.bool_] | None = None
    """Of each pair of moments, whether A comes first."""


World = Callable[[np.random.Generator], Drawn]


def sides_at(drawn: Drawn, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return values of A and of B, and when they began, as of `count` launches of each."""
    if drawn.order is not None:
        pairs = np.arange(count)
        first, second = 2 * pairs, 2 * pairs + 1
        a = np.where(drawn.order[:count], first, second)
        b = np.where(drawn.order[:count], second, first)
    else:
        a, b = np.arange(count), count + np.arange(count)
    begun = drawn.begun_s
    when = (np.full(count, math.nan),) * 2 if begun is None else (begun[a], begun[b])
    return drawn.values[:, a], drawn.values[:, b], *when


def cases_of(drawn: Drawn, count: int, change: float = 0.0) -> list[CaseSides]:
    """Return the cases, B slower by a relative change, as of `count` launches of each side."""
    a, b, begun_a, begun_b = sides_at(drawn, count)
    # Turns are what `ab` takes, and it says which launches are neighbours.
    taken = drawn.order is not None and drawn.begun_s is not None
    block = np.arange(count) if taken else np.zeros(count, dtype=np.int64)
    b = b + math.log1p(change)
    return [
        CaseSides(
            f"{i}",
            None,
            Aspect.LEVEL,
            kind,
            Launches(a[i], block, begun_a),
            Launches(b[i], block, begun_b),
        )
        for i, kind in enumerate(drawn.kinds)
    ]


def all_worlds(root: Path) -> dict[str, World]:
    """Return every world by its name."""
    recorded = {case: np.log(rows[:, 1]) for case, rows in _recorded(root).items()}
    short = min(map(len, recorded.values()))
    table = np.stack([values[:short] for values in recorded.values()])
    kinds = [case.partition("/")[0] for case in recorded]
    drifts: Mapping[str, Callable[[np.random.Generator], Floats]] = {
        "a line": _line,
        "a random walk": _walk,
        "a sine": _sine,
    }
    return {
        "recorded, drawn": lambda random: _drawn(random, table, kinds),
        "recorded, in turns": lambda random: _window(random, table, kinds, True),
        "recorded, A then B": lambda random: _window(random, table, kinds, False),
        "gaussian": lambda random: _still(_spreads(random) * random.standard_normal(_SHAPE)),
        "skewed": lambda random: _still(_spreads(random) * _skewed(random)),
        "heavy tails": lambda random: _still(_spreads(random) * random.standard_t(3, _SHAPE)),
        "two modes, half each": lambda random: _still(_modes(random, 0.5, common=False)),
        "two modes of all, half each": lambda random: _still(_modes(random, 0.5, common=True)),
        "a slow mode, 1 of 10": lambda random: _still(_modes(random, 0.1, common=False)),
        "a slow mode of all, 1 of 10": lambda random: _still(_modes(random, 0.1, common=True)),
    } | {
        f"drift: {name}, {order}": _drifting(drift, order == "in turns")
        for name, drift in drifts.items()
        for order in ("in turns", "A then B")
    }


def quiet_recorded(root: Path, most: float) -> World:
    """Return a world of whole recorded launches, of those cases that scatter by at most this.

    By 1.48 MAD of the logarithms.
    """
    recorded = {case: np.log(rows[:, 1]) for case, rows in _recorded(root).items()}
    quiet = {
        case: values
        for case, values in recorded.items()
        if 1.4826 * np.median(np.abs(values - np.median(values))) <= most
    }
    short = min(map(len, quiet.values()))
    table = np.stack([values[:short] for values in quiet.values()])
    kinds = [case.partition("/")[0] for case in quiet]
    return lambda random: _drawn(random, table, kinds)


_SHAPE = (CASES, 2 * MOST)


def _recorded(root: Path) -> dict[str, Floats]:
    return record.by_case(record.read_record(root / RECORD))


def _kinds() -> list[str]:
    return [f"kind {i % KINDS}" for i in range(CASES)]


def _still(values: Floats) -> Drawn:
    return Drawn(values, None, _kinds(), order=np.ones(MOST, dtype=bool))


def _drawn(random: np.random.Generator, table: Floats, kinds: Sequence[str]) -> Drawn:
    """Whole launches, so that what disturbs all of its cases stays together."""
    chosen = random.permutation(table.shape[1])[: 2 * MOST]
    return Drawn(table[:, chosen], None, kinds, order=np.ones(MOST, dtype=bool))


def _window(random: np.random.Generator, table: Floats, kinds: Sequence[str], turns: bool) -> Drawn:
    """Launches one after the other, as they were recorded."""
    start = random.integers(table.shape[1] - 2 * MOST + 1)
    values = table[:, start : start + 2 * MOST]
    return Drawn(values, _begun(), kinds, turns, _order(random) if turns else None)


def _spreads(random: np.random.Generator) -> Floats:
    """Of each case: from 1 to 30 % over comparisons, cases of a kind within a third or so."""
    middle = math.log(0.01) + random.uniform() * math.log(30)
    kinds = np.tile(random.normal(middle, 0.5, KINDS), CASES // KINDS)
    spreads: Floats = np.exp(kinds + random.normal(0, 0.3, CASES))[:, None]
    return spreads


def _skewed(random: np.random.Generator) -> Floats:
    """Lognormal, of deviation 1: a tail on the slow side of what are logarithms already."""
    values = np.exp(0.8 * random.standard_normal(_SHAPE))
    deviation = math.exp(0.32) * math.sqrt(math.expm1(0.64))
    return np.asarray(values / deviation)


def _modes(random: np.random.Generator, share: float, common: bool) -> Floats:
    """Launches of 1 % spread, a share of them slower by up to 3.4."""
    slow = random.uniform(size=(1 if common else CASES, 2 * MOST)) < share
    apart = SLOW if common else SLOW * random.choice([0.1, 0.3, 1.0])
    return np.asarray(apart * slow + 0.01 * random.standard_normal(_SHAPE))


def _drifting(drift: Callable[[np.random.Generator], Floats], turns: bool) -> World:
    """The same drift in all cases, some more than others; from far below noise to far above."""

    def draw(random: np.random.Generator) -> Drawn:
        noise = 0.01 * np.exp(random.normal(0, 0.3, CASES))[:, None]
        gain = np.exp(random.normal(0, 0.3, CASES))[:, None]
        strength = 0.01 * math.exp(random.uniform(math.log(0.03), math.log(30)))
        values = noise * random.standard_normal(_SHAPE) + gain * strength * drift(random)
        return Drawn(values, _begun(), _kinds(), turns, _order(random) if turns else None)

    return draw


def _line(random: np.random.Generator) -> Floats:
    return np.linspace(0, random.choice([-5, 5]), 2 * MOST)


def _walk(random: np.random.Generator) -> Floats:
    return np.cumsum(random.standard_normal(2 * MOST))


def _sine(random: np.random.Generator) -> Floats:
    period = math.exp(random.uniform(math.log(4), math.log(4 * MOST)))
    return np.sin(2 * math.pi * (np.arange(2 * MOST) / period + random.uniform()))


def _begun() -> Floats:
    return EVERY_S * np.arange(2 * MOST)


def _order(random: np.random.Generator) -> NDArray[np.bool_]:
    return random.uniform(size=MOST) < 0.5
