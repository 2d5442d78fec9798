"""The order of a crossover: one pair of hosts runs A while another one runs B, then they change.

What both have in common at a time, such as a fabric that others load, is in a launch of A and in
one of B; what sets the pairs apart is in both sides too, one time each. The launches that run at
once have the same number, so that they measure their cases in the same order, and no host, so that
they share no adapter.

Pairs are drawn once and stay: each is its own baseline, whatever its cables are worth.
"""

import itertools
import random
from collections.abc import Iterator, Sequence

from bench.core.placement import place_ranks
from bench.core.records import Job
from bench.run.ab.schedule import FIRST_BLOCK
from bench.store.ab import SIDES, Slot

LEAST_HOSTS = 4
"""Two pairs: while one runs A, another has to run B."""
NODES = 2
"""Of a job that runs on a pair."""
MOST_PAIRS = 4
"""How far apart pairs are is learned from the launches, and each further pair takes some of what
they know of the sides: of ten launches, one in ten."""

Pair = tuple[str, str]


def why_not_crossed(
    jobs: Sequence[Job], hosts: Sequence[str], counts: Sequence[int | None] = ()
) -> str | None:
    """Return why jobs cannot cross over between pairs of hosts, in words; None where they can.

    Args:
        jobs: of one launch.
        hosts: that they run on otherwise.
        counts: the most ranks of each, where there are any.
    """
    if (count := len(set(hosts))) < LEAST_HOSTS:
        return f"a crossover takes four hosts or more, of which there are {count}"
    for job in jobs:
        nodes = place_ranks(job.ranks, hosts, counts).nodes
        if nodes > NODES:
            return f"a job of {job.ranks} ranks runs on {nodes} nodes, and a pair has two"
    return None


def draw_pairs(hosts: Sequence[str], seed: int) -> tuple[Pair, ...]:
    """Return two to four disjoint pairs; each names its hosts in the order of `hosts`.

    Args:
        hosts: at least four, each once; whoever is left over stays out.
        seed: the same one draws the same pairs.
    """
    order = random.Random(f"{seed}/pairs")  # noqa: S311 - an order, not a secret
    count = min(len(hosts) // 2, MOST_PAIRS)
    drawn = order.sample(range(len(hosts)), 2 * count)
    places = sorted(sorted(pair) for pair in zip(drawn[::2], drawn[1::2], strict=True))
    return tuple((hosts[first], hosts[second]) for first, second in places)


def cross_over(seed: int, pairs: Sequence[Pair], launches: int, begin: int = 0) -> list[Slot]:
    """Return the slots of launches of both sides, from `begin` on; more of them change no earlier.

    Args:
        seed: of who runs when.
        pairs: disjoint, at least two; each has its turn as often as any other.
        launches: of each side, with those before `begin`; where they are odd in number, the last
            one is not answered by a change.
        begin: the first one.
    """
    slots = []
    for number, twice in enumerate(itertools.islice(_turns(seed, pairs), (launches + 1) // 2)):
        for turn, hosts in enumerate((twice, twice[::-1])):
            launch = 2 * number + turn
            slots += [
                Slot(side=side, launch=launch, block=FIRST_BLOCK + launch, period=launch, hosts=own)
                for side, own in zip(SIDES, hosts, strict=True)
                if begin <= launch < launches
            ]
    return slots


def _turns(seed: int, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Pair]]:
    """Yield two pairs at a time, the one that begins with A first, for ever."""
    waiting: list[Pair] = []
    for number in itertools.count():
        order = random.Random(f"{seed}/turn {number}")  # noqa: S311 - an order, not a secret
        drawn = order.sample(list(pairs), len(pairs))
        if waiting and drawn[0] == waiting[0]:
            drawn.reverse()
        waiting += drawn
        while len(waiting) >= 2:
            yield waiting[0], waiting[1]
            del waiting[:2]
