"""The seconds that no run of a case can beat, by the rule of its benchmark, or why none is known.

Only what must happen is counted: bytes that must cross between nodes, arithmetic that must be done,
data that no cache can hold. So a bound is low rather than wrong, and a measurement below it means a
wrong fact, a cache that was overlooked or work that was not done.
"""

from collections import Counter

from bench.contracts.profile import BoundRule
from bench.core.gpu_cases import memory_kinds
from bench.core.records import Case
from bench.measure import MEASUREMENTS
from bench.measure.axes import STAGED_PATHS, shares_buffer, whole, word
from bench.measure.pair import pair_ranks, window_size
from bench.measure.profiles import profile_of
from bench.measure.transfers import Transfers
from bench.predict.bounds.bound import NONE, Bound, Rule, Seats, Situation, memory_kind
from bench.predict.bounds.ceilings import CEILINGS
from bench.predict.bounds.hardware import Hardware, HostNetwork, Unbounded
from bench.predict.bounds.inside import (
    arithmetic,
    device_copy,
    flop_of,
    host_copy,
    kernel,
    pass_memory,
    product,
)
from bench.predict.hardware import ELEMENT_BYTES
from bench.predict.model.datasheet.cuts import crossing, crossing_s


def find_bound(case: Case, seats: Seats, hardware: Hardware) -> Bound:
    """Return the bound of a case, or the reason why there is none.

    Facts come first: what was reached by other means bounds a case where they say nothing.
    """
    rule = profile_of(case.benchmark).bound
    if rule is None:
        return Bound(None, f"{NONE}no formula is known for {case.benchmark}")
    asked = Situation(case, seats, hardware)
    try:
        return RULES[rule](asked)
    except Unbounded as reason:
        if rule not in CEILINGS or not hardware.ceilings:
            return Bound(None, f"{NONE}{reason}")
        why = str(reason)
    try:
        return CEILINGS[rule](asked)
    except Unbounded as reason:
        return Bound(None, f"{NONE}{why}; {reason}")


def _pair(ways: int, in_turn: int | None = None) -> Rule:
    """Return the rule of messages between two ranks: their slower network, or through memory.

    Args:
        ways: directions that buffers are used in; a ping-pong has one for each.
        in_turn: messages one after the other; as many as a window has where None.
    """

    def rule(asked: Situation) -> Bound:
        case, hosts = asked.case, asked.seats.hosts
        first, last = pair_ranks(case, len(hosts))
        window = window_size(case) if "window" in case.axes else 1
        in_flight = window * whole(case, "bytes")
        if hosts[first] == hosts[last]:
            # Caches keep the one buffer that all messages of a window share.
            held = 1 if shares_buffer(case) else window
            in_memory = held * whole(case, "bytes")
            return _within(asked, hosts[first], in_memory, held, ways, in_turn or held)
        slower = min(
            (_way_out(asked, hosts[end]) for end in (first, last)), key=lambda way: way.rate
        )
        return _through(slower, float(in_flight), window, "bytes")

    return rule


def _between_devices(asked: Situation) -> Bound:
    """Messages by verbs: over the slower network; a device that reaches itself has no such fact."""
    if len(set(asked.seats.hosts)) < 2:
        raise Unbounded("no fact states what an RDMA device does between ranks of its host")
    return _pair(ways=1)(asked)


def _way_out(asked: Situation, host: str) -> HostNetwork:
    """Return what a host sends: data of a GPU passes its PCIe link first."""
    network = asked.hardware.network(host)
    if memory_kind(asked.case) != "device":
        return network
    slot = max(asked.hardware.slots(host), key=lambda slot: slot.value)
    return network if network.rate <= slot.value else HostNetwork(slot.value, slot.source)


def _within(
    asked: Situation, host: str, in_flight: int, window: int, ways: int, messages: int
) -> Bound:
    """Messages inside a host: read and written once, as far as caches cannot hold them."""
    memory = memory_kind(asked.case)
    if memory == "device" and asked.case.axes.get("path") in STAGED_PATHS:
        slot = max(asked.hardware.slots(host), key=lambda slot: slot.value)
        return _through(HostNetwork(slot.value, slot.source), float(in_flight), window, "bytes")
    if memory_kinds(asked.case) != {"host"}:
        raise Unbounded(f"no fact states the rate between ranks of a host in {memory} memory")
    return pass_memory(asked, host, 2 * ways * in_flight, messages)


def _through(network: HostNetwork, size: float, operations: int, formula: str) -> Bound:
    """Bytes through one network, in one direction."""
    seconds = max(size - network.burst, 0.0) / operations / network.rate
    if not seconds:
        raise Unbounded(_within_burst(network.burst))
    text = f"{formula} / B, B = {network.source}"
    return Bound(seconds, _with_burst(text, network.burst), size / operations / network.rate)


def _within_burst(burst: float) -> str:
    return f"a shaped link lets {burst:.0f} B pass at once after a pause, and this is no more"


def _with_burst(text: str, burst: float) -> str:
    return f"{text}, less {burst:.0f} B that pass at once" if burst else text


def _routes(asked: Situation) -> Bound:
    """Windows at once: what leaves and what enters the busiest host."""
    case, hosts = asked.case, asked.seats.hosts
    measurement = MEASUREMENTS[case.benchmark]
    if not isinstance(measurement, Transfers):
        raise Unbounded("it does not tell who sends to whom")
    routes = measurement.routes(case)
    if not all(0 <= rank < len(hosts) for route in routes for rank in route):
        raise Unbounded("it needs more ranks than there are")
    ends = [(hosts[source], hosts[target]) for source, target in routes]
    crossing_ends = [(source, target) for source, target in ends if source != target]
    if not crossing_ends:
        raise Unbounded(_INSIDE)
    window = measurement.window(case)
    size = float(window * whole(case, "bytes"))
    bounds = [
        _through(asked.hardware.network(host), count * size, window, f"{count} x bytes")
        for side in zip(*crossing_ends, strict=True)
        for host, count in Counter(side).items()
    ]
    return max(bounds, key=lambda bound: bound.seconds or 0.0)


_INSIDE = "it stays inside a host, where no fact states the rate between ranks"


def _collective(asked: Situation) -> Bound:
    """A collective call: the cut around each host."""
    measurement = MEASUREMENTS[asked.case.benchmark]
    part = measurement.work(asked.case).bytes_per_rank or 0
    rotating = asked.case.axes.get("root") == "rotating"
    return _cut(asked, str(measurement.profile.operation), part, rotating)


def _cut(asked: Situation, operation: str, part: float, rotating: bool = False) -> Bound:
    ranks_on = Counter(asked.seats.hosts)
    if len(ranks_on) < 2:
        raise Unbounded(_INSIDE)
    networks = [asked.hardware.network(host) for host in ranks_on]
    in_switch = all(network.reduces for network in networks)
    moved = crossing(operation, list(ranks_on.values()), part, in_switch, rotating)
    rates = [network.rate for network in networks]
    bursts = [network.burst for network in networks]
    seconds = crossing_s(moved, rates, bursts)
    if not seconds:
        raise Unbounded(_within_burst(max(bursts)))
    slowest = min(networks, key=lambda network: network.rate)
    text = f"{moved.formula} / B on {len(ranks_on)} nodes, B = {slowest.source}"
    if in_switch and operation == "all-reduce":
        text += "; switches may add up"
    return Bound(seconds, _with_burst(text, max(bursts)), crossing_s(moved, rates))


def _no_bytes(asked: Situation) -> Bound:
    raise Unbounded(f"{asked.case.benchmark} moves no data, and no fact states a latency")


def _between_gpus(asked: Situation) -> Bound:
    raise Unbounded(f"no fact states the rate of {asked.case.benchmark} between GPUs of a host")


def _largest(*parts: Rule) -> Rule:
    """Return the rule of what does several things: the largest bound that is known of them."""

    def rule(asked: Situation) -> Bound:
        reasons, found = [], []
        for part in parts:
            try:
                found.append(part(asked))
            except Unbounded as reason:
                reasons.append(str(reason))
        if not found:
            raise Unbounded("; ".join(dict.fromkeys(reasons)))
        return max(found, key=lambda bound: bound.seconds or 0.0)

    return rule


def _shared_arithmetic(asked: Situation) -> Bound:
    """A product over all ranks."""
    return arithmetic(asked, Counter(asked.seats.hosts), flop_of(asked.case))


def _step_arithmetic(asked: Situation) -> Bound:
    flop = MEASUREMENTS[asked.case.benchmark].work(asked.case).flop
    if not flop:
        raise Unbounded("it computes nothing")
    return arithmetic(asked, Counter(asked.seats.hosts), flop, "fp32")


def _parts_crossing(asked: Situation) -> Bound:
    case = asked.case
    nbytes = whole(case, "batch") * whole(case, "n") * ELEMENT_BYTES[word(case, "dtype")]
    if word(case, "split") == "row":
        return _cut(asked, "all-reduce", nbytes)
    return _cut(asked, "all-gather", nbytes / len(asked.seats.hosts))


def _exchange(asked: Situation) -> Bound:
    """A gradient by a strategy: what its schedule sends, or before it runs what it must send."""
    strategy = asked.case.axes.get("strategy")
    if asked.seats.link_bytes or strategy == "one-bit":
        return _counted(asked)
    # Naive sends all to all, and whichever other strategy cannot send less than the cut.
    operation = "all-to-all" if strategy == "naive" else "all-reduce"
    return _cut(asked, operation, whole(asked.case, "bytes"))


def _counted(asked: Situation) -> Bound:
    """Bytes through the busiest host, as counted on the schedules of all ranks.

    It is not known which host that is, so it may be the one with the fastest network.
    """
    size = asked.seats.link_bytes
    if not size:
        raise Unbounded("no bytes between hosts were counted on its schedule")
    networks = (asked.hardware.network(host) for host in dict.fromkeys(asked.seats.hosts))
    fastest = max(networks, key=lambda network: network.rate)
    return _through(fastest, float(size), 1, "bytes counted on its schedule")


RULES: dict[BoundRule, Rule] = {
    "ping-pong": _pair(ways=2, in_turn=2),
    "one way": _pair(ways=1),
    "both ways": _pair(ways=2),
    "between devices": _between_devices,
    "routes": _routes,
    "collective": _collective,
    "no data": _no_bytes,
    "host copy": host_copy,
    "device copy": device_copy,
    "between GPUs": _between_gpus,
    "kernel": kernel,
    "product": product,
    "split product": _largest(_shared_arithmetic, _parts_crossing),
    "gradient sum": _exchange,
    "training step": _largest(_step_arithmetic, _counted),
}
"""By the name that a benchmark declares."""
