"""The order of a crossover: disjoint pairs of hosts, half of which run A while the others run B.

After a period the halves change, so every pair runs both sides in periods that follow each other.
What all pairs have in common at a time, such as a fabric that others load, then stands in as many
launches of A as of B. No two jobs share a host, and so no adapter.

Pairs are drawn once and stay: every pair is its own baseline, whatever its cables are worth, and
each has a ratio of its own. Which half begins with A is drawn anew in every round.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from bench.core.placement import place_ranks
from bench.core.records import Job

LEAST_HOSTS = 4
"""Two pairs: while one runs A, another has to run B."""
NODES = 2
"""Of a job that runs on a pair."""

Pair = tuple[str, str]


class PairLaunch(NamedTuple):
    """One launch of one side on one pair."""

    side: str
    """`a` or `b`."""
    launch: int
    """Counts those of a side; both launches of a pair in a round have the same number."""
    block: int
    """Of all launches on pairs that ran opposite sides at the same times: two pairs, and a third
    where pairs are odd in number. Within it drift and pairs weigh the same on both sides."""
    period: int
    """Launches of one period run at once; two periods are a round."""
    hosts: Pair


class Crossover(NamedTuple):
    """Who runs what, and when."""

    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    """The host that no other was left for."""
    launches: tuple[PairLaunch, ...]
    """In the order of their periods."""


def why_not_crossed(jobs: Sequence[Job], hosts: Sequence[str]) -> str | None:
    """Return why jobs cannot cross over between pairs of hosts, in words; None where they can."""
    if (count := len(set(hosts))) < LEAST_HOSTS:
        return f"a crossover takes four hosts or more, of which there are {count}"
    for job in jobs:
        nodes = place_ranks(job.ranks, hosts).nodes
        if nodes > NODES:
            return f"a job of {job.ranks} ranks runs on {nodes} nodes, and a pair has two"
    return None


def plan_crossover(hosts: Sequence[str], rounds: int, seed: int) -> Crossover:
    """Return the order of a crossover; with more rounds, what comes first stays as it was.

    Args:
        hosts: at least four, each once.
        rounds: launches of each side on every pair.
        seed: of pairs and of who begins with A; the same one gives the same order.
    """
    pairs, left_out = draw_pairs(hosts, seed)
    launches = [launch for number in range(rounds) for launch in _round(pairs, number, seed)]
    return Crossover(pairs, left_out, tuple(launches))


def draw_pairs(hosts: Sequence[str], seed: int) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Return disjoint pairs, and the host that is left where hosts are odd in number.

    A pair names its hosts in the order of `hosts`, and so do the pairs their first ones.
    """
    order = random.Random(f"{seed}/pairs")  # noqa: S311 - an order, not a secret
    drawn = order.sample(range(len(hosts)), len(hosts))
    even = len(hosts) - len(hosts) % 2
    places = sorted(
        (min(pair), max(pair)) for pair in zip(drawn[0:even:2], drawn[1:even:2], strict=True)
    )
    pairs = tuple((hosts[first], hosts[second]) for first, second in places)
    return pairs, tuple(hosts[place] for place in drawn[even:])


def _round(pairs: Sequence[Pair], number: int, seed: int) -> list[PairLaunch]:
    """Return two periods: each pair runs one side, then the other."""
    order = random.Random(f"{seed}/round {number}")  # noqa: S311 - an order, not a secret
    drawn = order.sample(range(len(pairs)), len(pairs))
    # Where pairs are odd in number, the larger half begins with either side.
    half = (len(pairs) + order.randrange(2)) // 2
    halves = {"a": drawn[:half], "b": drawn[half:]}
    blocks = len(pairs) // 2
    first_side, block_of = {}, {}
    for side, members in halves.items():
        for place, pair in enumerate(members):
            first_side[pair] = side
            block_of[pair] = number * blocks + min(place, blocks - 1)
    return [
        PairLaunch(
            side=first_side[pair] if turn == 0 else _other(first_side[pair]),
            launch=number * len(pairs) + pair,
            block=block_of[pair],
            period=2 * number + turn,
            hosts=pairs[pair],
        )
        for turn in range(2)
        for pair in range(len(pairs))
    ]


def _other(side: str) -> str:
    return "b" if side == "a" else "a"
