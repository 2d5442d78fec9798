"""Several transfers through the same links: all at once and fairly, or one after the other.

A resource has a rate in each direction; where the two directions share a limit, as on a
half-duplex link or in host memory, that limit is a rate of its own. Fair is max-min fair: no flow
can go faster without slowing down one that is no faster (Bertsekas and Gallager, Data Networks,
section 6.5).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Direction = Literal["out", "in"]
Constraint = tuple[str, str]


class Resource(msgspec.Struct, frozen=True):
    """Bytes per second in each direction, and of both together where they share a limit."""

    rate: float
    both_rate: float | None = None


class Flow(msgspec.Struct, frozen=True):
    """Bytes over resources, each crossed in a direction; at most `rate` where the sender limits."""

    size: float
    crosses: tuple[tuple[str, Direction], ...]
    rate: float = math.inf


def fair_rates(flows: Sequence[Flow], resources: Mapping[str, Resource]) -> tuple[float, ...]:
    """Return the max-min fair bytes per second of every flow, by progressive filling.

    Raises:
        KeyError: where a flow crosses a resource that is not there.
    """
    crossed = [_constraints(flow, resources, number) for number, flow in enumerate(flows)]
    left = {c: rate for constraints in crossed for c, rate in constraints.items()}
    rates = [math.inf] * len(flows)
    open_flows = {i for i in range(len(flows)) if crossed[i]}
    while open_flows:
        users = {c: sum(c in crossed[i] for i in open_flows) for c in left}
        tightest = min((c for c in left if users[c]), key=lambda c: left[c] / users[c])
        share = left[tightest] / users[tightest]
        for i in [i for i in sorted(open_flows) if tightest in crossed[i]]:
            rates[i] = share
            open_flows.remove(i)
            for constraint in crossed[i]:
                left[constraint] = max(0.0, left[constraint] - share)
    return tuple(rates)


def finish_fairly(flows: Sequence[Flow], resources: Mapping[str, Resource]) -> tuple[float, ...]:
    """Return when each flow ends, all starting at 0; who ends leaves its share to the others."""
    left = [flow.size for flow in flows]
    ends = [0.0] * len(flows)
    now = 0.0
    active = [i for i, size in enumerate(left) if size > 0]
    while active:
        rates = dict(zip(active, fair_rates([flows[i] for i in active], resources), strict=True))
        step = min(left[i] / rates[i] for i in active)
        now += step
        still = []
        for i in active:
            # The flow that set the step ends in it, whatever rounding leaves of its bytes.
            if left[i] / rates[i] <= step:
                ends[i] = now
            else:
                left[i] -= rates[i] * step
                still.append(i)
        active = still
    return tuple(ends)


def finish_in_turn(flows: Sequence[Flow], resources: Mapping[str, Resource]) -> tuple[float, ...]:
    """Return when each flow ends where one starts as the one before it ends, in the order given."""
    now = 0.0
    ends = []
    for flow in flows:
        (rate,) = fair_rates([flow], resources)
        now += flow.size / rate
        ends.append(now)
    return tuple(ends)


def shared_seconds(
    size: float, senders: int, resource_rate: float, sender_rate: float, latency_s: float = 0
) -> float:
    """Return when the last of `senders` equal transfers through one resource ends.

    t = alpha + k m / min(B, k B1) (the max-rate model; Gropp, Olson and Samfass, EuroMPI 2016).
    """
    if not senders:
        return 0.0
    return latency_s + senders * size / min(resource_rate, senders * sender_rate)


def _constraints(
    flow: Flow, resources: Mapping[str, Resource], number: int
) -> dict[Constraint, float]:
    found: dict[Constraint, float] = {}
    for name, direction in flow.crosses:
        found[name, direction] = resources[name].rate
        both = resources[name].both_rate
        if both is not None:
            found[name, "both"] = both
    if math.isfinite(flow.rate):
        found[f"flow {number}", "own"] = flow.rate
    return found
