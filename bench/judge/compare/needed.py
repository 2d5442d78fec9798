"""How many launches a question takes, and what a number of launches can show.

Before a run from the noise that is expected, after it from the noise that was seen.
"""

import math
from collections.abc import Callable

from scipy.special import ndtri, stdtrit

from bench.judge.compare.looks import LEAST_LAUNCHES, share_at
from bench.judge.compare.records import LEVEL, MARGIN
from bench.judge.compare.spread import LEAST_SPREAD

MOST_LAUNCHES = 10_000
"""Nobody waits for more."""
NO_CHANGE_LEVEL = 0.1
"""A change is called where a world without any would give it this part as often as the level."""
SAME_LEVEL = 0.05
"""SAME lies within the margin with the 95 % interval of the case alone."""
FOUND = 0.9
"""A change counts as one that launches show where 9 of 10 comparisons would."""


def launches_to_see(
    change: float,
    spread: float,
    cases: int,
    margin: float = MARGIN,
    level: float = LEVEL,
    least: int = LEAST_LAUNCHES,
) -> int | None:
    """Return the launches of each side that show a change in 9 of 10 comparisons.

    Args:
        change: relative, of the seconds: 0.05 for 5 % more.
        spread: standard deviation of the logarithms of launch medians (1.48 MAD is one).
        cases: that are compared at once.
        margin: changes within it count as none.
        level: chance that the whole comparison calls any case changed that is not.
        least: launches that are asked for anyway.

    None where it is within the margin, or more launches are needed than anybody waits for.
    """
    log_change = abs(math.log1p(change))
    return _first(lambda n: seen_change(n, spread, cases, margin, level) <= log_change, least)


def launches_to_be_same(
    log_ratio: float,
    spread: float,
    margin: float = MARGIN,
    least: int = LEAST_LAUNCHES,
) -> int | None:
    """Return the launches of each side that show a difference to be within the margin."""
    room = math.log1p(margin) - abs(log_ratio)

    def shows(n: int) -> bool:
        error = max(spread, LEAST_SPREAD) * math.sqrt(2 / n)
        return bool(room / error >= -stdtrit(2 * n - 2, SAME_LEVEL / 2) + ndtri(FOUND))

    return _first(shows, least) if room > 0 else None


def seen_change(
    launches: int, spread: float, cases: int, margin: float = MARGIN, level: float = LEVEL
) -> float:
    """Return the logarithm of the smallest change that so many launches of each side show."""
    error = max(spread, LEAST_SPREAD) * math.sqrt(2 / launches)
    part = level / (2 * cases) * share_at(launches)
    return float(least_seen(error, 2.0 * launches - 2, part, margin))


def least_seen(error: float, degrees: float, part: float, margin: float) -> float:
    """Return the logarithm of the smallest change that is called in 9 of 10 comparisons.

    The error is known from so many degrees of freedom only, and so is by chance larger, too.

    Args:
        error: standard error of the difference of logarithms.
        degrees: of freedom of it.
        part: of the level, for one side of one case at this number of launches.
        margin: changes within it count as none.
    """
    return max(
        edge + error * (quantile + ndtri(FOUND) * math.sqrt(1 + quantile**2 / (2 * degrees)))
        for edge, quantile in (
            (math.log1p(margin), -float(stdtrit(degrees, part))),
            (0.0, -float(stdtrit(degrees, part * NO_CHANGE_LEVEL))),
        )
    )


def _first(shows: Callable[[int], bool], least: int) -> int | None:
    """Return the least number that shows it, by halving: more launches show more."""
    if shows(least):
        return least
    low, high = least, 2 * least
    while not shows(high):
        low, high = high, 2 * high
        if low > MOST_LAUNCHES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high if high <= MOST_LAUNCHES else None
