"""What hosts send to each other and receive, and the hosts that stand out from the others.

A host that is slow shows in all its pairs, and in one direction where only that is slow; a single
slow pair makes neither of its hosts stand out.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from statistics import median, median_high
from typing import NamedTuple

from bench.core.hostnames import host_of
from bench.core.records import About, Finding, Row, parse_params
from bench.core.units import format_bytes, format_rate
from bench.measure.profiles import comparing

STANDS_OUT = "host-stands-out"
LEAST_HOSTS = 3
"""Of two hosts nobody knows which one is slow."""
LEAST_OFF = 0.1
"""Share of the median that a host must be off, however little the others scatter."""
MOST_MADS = 3.5
"""Scaled median absolute deviations from the median that are no more than scatter, as for samples
(Iglewicz and Hoaglin, 1993)."""
_NORMAL = 1.4826
"""Times the median absolute deviation, the standard deviation of a normal distribution."""


class Line(NamedTuple):
    """What was measured from one rank to another."""

    src: str
    """HOST:rankN, as `dst`."""
    dst: str
    size: float
    """Bytes of one message."""
    window: float
    """Messages in flight."""
    memory: str
    """`host`, unless the row names another."""
    path: str
    rate: float
    """Bytes per second, one way."""
    at_once: float = 1
    """Pairs that were measured at a time."""
    buffers: str = "own"
    """`shared` where all messages in flight have the same."""


class Matrix(NamedTuple):
    """Bytes per second from host to host, in one kind of memory, at its largest messages."""

    kind: str
    """What was sent, for people."""
    hosts: tuple[str, ...]
    """In the order of their ranks."""
    rates: dict[tuple[str, str], float]
    """By source and target, the median over launches and pairs of ranks; pairs that were not
    measured are missing."""
    at_once: int
    """Pairs that were measured at a time."""


class Way(NamedTuple):
    """One direction of a host, beside the same direction of the other ones."""

    rate: float
    """Bytes per second: the median over the other ends, the higher middle one of an even number.

    Of two ends, one may be the slow host; the faster one shows what this host can do."""
    others: float
    """Median of the other hosts."""
    stands_out: bool

    @property
    def share(self) -> float:
        """What this host reaches of the others' median."""
        return self.rate / self.others


class HostRates(NamedTuple):
    """What a host sends and receives; None where that was not measured, or is nobody else's."""

    host: str
    sends: Way | None
    receives: Way | None

    @property
    def worst(self) -> Way | None:
        """The way that is furthest from the others, of those that stand out; None without any."""
        out = [way for way in (self.sends, self.receives) if way is not None and way.stands_out]
        return max(out, key=lambda way: abs(math.log(way.share)), default=None)

    @property
    def text(self) -> str:
        """How it stands out, empty where it does not."""
        parts = [
            f"{verb} at {100 * way.share:.0f} % of the median of the others "
            f"({format_rate(way.rate, 'B/s')}, theirs {format_rate(way.others, 'B/s')})"
            for verb, way in (("sends", self.sends), ("receives", self.receives))
            if way is not None and way.stands_out
        ]
        return " and ".join(parts)


def make_matrices(lines: Iterable[Line]) -> list[Matrix]:
    """Return a matrix for each memory, path, number of pairs at a time and kind of buffers."""
    kinds: dict[tuple[str, str, float, str], list[Line]] = {}
    for line in lines:
        if host_of(line.src) != host_of(line.dst):
            kind = (line.memory, line.path, line.at_once, line.buffers)
            kinds.setdefault(kind, []).append(line)
    return [_matrix(members) for members in kinds.values()]


def _matrix(lines: Sequence[Line]) -> Matrix:
    """Keep the largest messages, and of those the largest window: the link decides there."""
    size, window = max((line.size, line.window) for line in lines)
    kept = [line for line in lines if (line.size, line.window) == (size, window)]
    rates: dict[tuple[str, str], list[float]] = {}
    ranks: dict[str, int] = {}
    for line in kept:
        rates.setdefault((host_of(line.src), host_of(line.dst)), []).append(line.rate)
        for end in (line.src, line.dst):
            ranks[host_of(end)] = min(_rank(end), ranks.get(host_of(end), _rank(end)))
    kind = f"messages of {format_bytes(size)}, {window:.0f} in flight"
    if (kept[0].memory, kept[0].path) != ("host", "direct"):
        kind += f", {kept[0].memory} memory, {kept[0].path}"
    if kept[0].buffers != "own":
        kind += f", {kept[0].buffers} buffers"
    at_once = round(kept[0].at_once)
    if at_once > 1:
        kind += f", {at_once} pairs at once"
    hosts = tuple(sorted(ranks, key=lambda host: (ranks[host], host)))
    return Matrix(kind, hosts, {ends: median(found) for ends, found in rates.items()}, at_once)


def _rank(end: str) -> int:
    digits = end.rpartition(":rank")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0


def compare_hosts(matrix: Matrix) -> list[HostRates]:
    """Return what each host sends and receives beside the others, in the order of the matrix."""
    sends, receives = (_ways(_middles(matrix, end)) for end in (0, 1))
    return [HostRates(host, sends.get(host), receives.get(host)) for host in matrix.hosts]


def _middles(matrix: Matrix, end: int) -> dict[str, float]:
    """Return the middle rate of each host that was measured at this end."""
    found: dict[str, list[float]] = {}
    for ends, rate in matrix.rates.items():
        found.setdefault(ends[end], []).append(rate)
    return {host: median_high(rates) for host, rates in found.items()}


def _ways(rates: dict[str, float]) -> dict[str, Way]:
    """Return the direction of each host beside all, none of one alone; the spread is that of all.

    Without one of its values, a sorted list has its middle one place further on.
    """
    if len(rates) < 2:
        return {}
    ordered = sorted(rates.values())
    centre = median(ordered)
    scatter = _NORMAL * median(abs(rate - centre) for rate in ordered)
    least_off = max(LEAST_OFF * centre, MOST_MADS * scatter)
    halves = ((len(ordered) - 2) // 2, (len(ordered) - 1) // 2)
    ways = {}
    for host, own in rates.items():
        place = bisect_left(ordered, own)
        others = sum(ordered[half + (half >= place)] for half in halves) / 2
        stands_out = len(ordered) >= LEAST_HOSTS and abs(own - centre) > least_off
        ways[host] = Way(own, others, stands_out)
    return ways


def host_findings(rows: Iterable[Row]) -> list[Finding]:
    """Return a warning for each host that stands out in these rows."""
    of_hosts = comparing("rates")
    lines = [
        Line(
            row.src,
            row.dst,
            row.bytes or 0,
            row.window or 1,
            row.src_memory or "host",
            row.path or "direct",
            row.gbytes_per_s * 1e9,
            row.pairs or 1,
            parse_params(row.params).get("buffers", "own"),
        )
        for row in rows
        if row.benchmark in of_hosts and row.src and row.dst and row.gbytes_per_s
    ]
    return [
        Finding(
            name=STANDS_OUT,
            level="warning",
            text=f"{rates.host} {rates.text}, {matrix.kind}",
            advice=f"look at the link of {rates.host}: cable, port, rate, MTU, and what else runs "
            "there; the matrix of hosts in the report shows all pairs",
            about=About(hosts=(rates.host,)),
            value=worst.rate,
            limit=worst.others,
            unit="B/s",
        )
        for matrix in make_matrices(lines)
        for rates in compare_hosts(matrix)
        if (worst := rates.worst) is not None
    ]
