"""How much of the level an answer may use at each number of launches, however often one looks.

People look at a comparison as its launches accrue, and stop where they like what they see. Were
each look to use the whole level, 30 of them would raise 5 % of false alarms to 29 %. So each number
of launches has its own share of the level; what is used up over all looks was worked out by
numerical integration (Armitage, McPherson and Rowe, 1969) and is tested. Few launches get little,
since changes that matter there are many standard errors large (O'Brien and Fleming, 1979).
"""

LEAST_LAUNCHES = 6
"""Of each side; below it nothing is answered."""
LEAST_LAUNCHES_OF_TWO_MODES = 10
"""With fewer, all launches of a side fall into one of two modes by chance: with six of each side
and equal modes once in 2,000 cases."""

_MOST = 0.25
_MOST_AT = 20.0
"""Launches a side that get the largest share."""
_LEAST = 0.04
_FALL = 1.25
"""Shares fall with this power of the launches, so that their sum stays finite."""


def share_at(launches: float) -> float:
    """Return the share of the level that an answer from this many launches a side may use."""
    part = launches / _MOST_AT
    return max(_LEAST, _MOST * part**2) if part < 1 else _MOST * part**-_FALL


def even_launches(launches_a: int, launches_b: int) -> float:
    """Return how many launches on both sides would tell as much (their harmonic mean)."""
    return 2 * launches_a * launches_b / (launches_a + launches_b)
