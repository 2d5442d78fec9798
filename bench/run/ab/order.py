"""Which order a comparison has: a crossover where its jobs and hosts allow one, else neighbours."""

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from bench.core.errors import RequestError
from bench.plan.suite import Suite
from bench.run.ab.crossover import LEAST_HOSTS, Pair, cross_over, draw_pairs, why_not_crossed
from bench.run.ab.schedule import interleave
from bench.run.request import Request, ask_ranks, plan_request
from bench.store.ab import Slot

_LAUNCHER = "mpirun"
"""The one that starts a job on hosts that are named for it alone."""


def choose_pairs(
    requests: Mapping[str, Request], suite: Suite, seed: int, say: Callable[[str], None]
) -> tuple[Pair, ...]:
    """Return the pairs of hosts of a crossover; none where launches follow each other.

    Args:
        requests: of each side, with what it sets.
        suite: of both sides.
        seed: of the pairs.
        say: told which pairs, or why there are none although there are hosts for them.
    """
    try:
        listed = [request.host_list() for request in requests.values()]
    except RequestError:
        return ()  # its side tells what is wrong
    hosts = listed[0].names
    if any(each != listed[0] for each in listed) or len(hosts) < LEAST_HOSTS:
        return ()
    if any(request.launcher != _LAUNCHER for request in requests.values()):
        return ()
    request = replace(next(iter(requests.values())), launches=1)
    jobs = plan_request(request, ask_ranks(request, suite), len(hosts)).jobs
    if (why := why_not_crossed(jobs, hosts, listed[0].counts)) is not None:
        say(f"no crossover, launches follow each other: {why}")
        return ()
    pairs = draw_pairs(hosts, seed)
    used = {host for pair in pairs for host in pair}
    out = [host for host in hosts if host not in used]
    shown = ", ".join("-".join(pair) for pair in pairs)
    say(f"crossover of {shown}" + (f"; left out: {', '.join(out)}" if out else ""))
    return pairs


def plan_slots(seed: int, pairs: Sequence[Pair], launches: int, begin: int = 0) -> list[Slot]:
    """Return the slots of launches of both sides, from `begin` on; more of them change no earlier.

    Args:
        seed: of the order.
        pairs: of a crossover; none where launches follow each other.
        launches: of each side, with those before `begin`.
        begin: the first one.
    """
    if pairs:
        return cross_over(seed, pairs, launches, begin)
    return interleave(seed, launches, begin)
