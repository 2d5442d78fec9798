"""Bounds from what compiled loops reached on a host, where no fact gives one.

They hold for what stays inside a host. Only what must happen counts, as in bounds from facts:
each byte that ends in another place is read and written once, however a library carries it, by
as many cores as there are ranks; and no rank knows of another before a cache line has passed
between their cores.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable

from bench.contracts.profile import BoundRule
from bench.core.ceilings import pass_rate
from bench.core.gpu_cases import memory_kinds
from bench.core.records import Case
from bench.core.units import format_bytes, format_rate, format_seconds
from bench.measure import MEASUREMENTS
from bench.measure.axes import shares_buffer, whole, word
from bench.measure.pair import pair_ranks, window_size
from bench.measure.stream import ARRAYS_MOVED
from bench.measure.transfers import Transfers
from bench.predict.bounds.bound import CEILING, Bound, Rule, Situation, memory_kind
from bench.predict.bounds.hardware import NOT_TRIED, Unbounded
from bench.predict.bounds.inside import count_cores, flop_of


def _arithmetic(asked: Situation, ranks_on: Counter[str], flop: int, dtype: str) -> Bound:
    """FLOP shared out in the best way over the ranks of hosts."""
    if memory_kind(asked.case) != "host":
        raise Unbounded("ceilings of GPUs are not measured")
    rate, what = 0.0, ""
    for host, ranks in ranks_on.items():
        core, cores = asked.hardware.core_ceiling(host, dtype), count_cores(asked, host, ranks)
        rate += cores * core.value
        what = f"{cores} core{'s' if cores > 1 else ''} x {core.source}"
    if len(ranks_on) > 1:
        what += f" on each of {len(ranks_on)} hosts"
    return _bound(flop / rate, "FLOP of multiply-adds", what)


def _bound(seconds: float, formula: str, detail: str) -> Bound:
    """Return a bound; what it is comes first, and numbers that differ by the moment last."""
    return Bound(seconds, f"{CEILING}{formula} ({detail})", seconds)


def _product(asked: Situation) -> Bound:
    host, ranks = Counter(asked.seats.hosts).most_common(1)[0]
    flop = ranks * flop_of(asked.case)
    return _arithmetic(asked, Counter({host: ranks}), flop, word(asked.case, "dtype"))


def _split_product(asked: Situation) -> Bound:
    ranks_on = Counter(asked.seats.hosts)
    return _arithmetic(asked, ranks_on, flop_of(asked.case), word(asked.case, "dtype"))


def _step(asked: Situation) -> Bound:
    flop = MEASUREMENTS[asked.case.benchmark].work(asked.case).flop
    if not flop:
        raise Unbounded("it computes nothing")
    return _arithmetic(asked, Counter(asked.seats.hosts), flop, "fp32")


def _host_copy(asked: Situation) -> Bound:
    if memory_kind(asked.case) != "host":
        raise Unbounded("ceilings of this memory are not measured")
    return _crowded(asked, 2 * whole(asked.case, "bytes"), reads=1)


def _kernel(asked: Situation) -> Bound:
    moved = MEASUREMENTS[asked.case.benchmark].work(asked.case).bytes_per_rank or 0
    return _crowded(asked, moved, reads=ARRAYS_MOVED[word(asked.case, "kernel")] - 1)


def _crowded(asked: Situation, each: int, reads: int) -> Bound:
    """Every rank of a host uses its memory at once; the fullest host bounds the slowest rank."""
    host, ranks = Counter(asked.seats.hosts).most_common(1)[0]
    found = [_pass(asked, host, each, each, reads)]
    if ranks > 1:
        # Ranks that share cores were not tried at once; each is no faster than one that is alone.
        with contextlib.suppress(Unbounded):
            found.append(_pass(asked, host, each, each, reads, ranks))
    return max(found, key=lambda bound: bound.seconds or 0.0)


def _pass(
    asked: Situation, host: str, moved: float, footprint: int, reads: int = 1, ranks: int = 1
) -> Bound:
    """Return what it takes ranks at least to read and write so many bytes each.

    Args:
        moved: bytes read and written by each of `ranks`.
        footprint: bytes that each uses again and again.
    """
    if host not in asked.hardware.ceilings:
        raise Unbounded(NOT_TRIED)
    best = pass_rate(asked.hardware.ceilings[host].passes, reads, ranks, footprint)
    if best is None:
        raise Unbounded("its memory was not tried with as many ranks at once")
    what = {1: "a copy", 2: "a sum of two arrays"}[reads]
    at_once = f" of {ranks} ranks at once" if ranks > 1 else ""
    return _bound(
        ranks * moved / best.rate,
        f"bytes read and written / rate of {what}{at_once}",
        f"{format_rate(best.rate, 'B/s')} over {format_bytes(best.bytes)}",
    )


def _line(asked: Situation, host: str, lines: float) -> Bound:
    """Return what so many cache lines take that pass between cores one after the other."""
    if host not in asked.hardware.ceilings:
        raise Unbounded(NOT_TRIED)
    line_s = asked.hardware.ceilings[host].line_s
    if line_s is None:
        raise Unbounded("no cache line was passed between two cores of its own for its ranks")
    return _bound(
        lines * line_s, "a cache line from core to core", f"{format_seconds(line_s)} each"
    )


def _inside(asked: Situation, host: str, lines: float, copied: float, footprint: int) -> Bound:
    """Return the larger of what lines and what copies take that are known.

    Args:
        host: that all of it stays inside.
        lines: that must pass one after the other, in one operation.
        copied: bytes that each of its cores reads and writes in one operation.
        footprint: bytes that are certainly touched, by either side.
    """
    tries: tuple[Callable[[], Bound], ...] = (
        lambda: _line(asked, host, lines),
        lambda: _pass(asked, host, 2 * copied, footprint),
    )
    found, reasons = [], []
    for try_one in tries:
        try:
            found.append(try_one())
        except Unbounded as reason:
            reasons.append(str(reason))
    found = [bound for bound in found if bound.seconds]
    if not found:
        raise Unbounded("; ".join(dict.fromkeys(reasons)) or "it moves nothing")
    return max(found, key=lambda bound: bound.seconds or 0.0)


def _only_host(asked: Situation, ranks: Iterable[int] | None = None) -> str:
    """Return the host that some ranks share, or all."""
    seats = asked.seats.hosts
    hosts = {*seats} if ranks is None else {seats[rank] for rank in ranks}
    if len(hosts) > 1:
        raise Unbounded("ceilings between hosts are not measured")
    if memory_kinds(asked.case) != {"host"}:
        raise Unbounded("ceilings of this memory are not measured")
    return hosts.pop()


def _pair_host(asked: Situation) -> str:
    return _only_host(asked, pair_ranks(asked.case, len(asked.seats.hosts)))


def _window(case: Case) -> int:
    return window_size(case) if "window" in case.axes else 1


def _touched(case: Case) -> int:
    """Return the bytes of the buffers of either side."""
    return whole(case, "bytes") * (1 if shares_buffer(case) else _window(case))


def _ping_pong(asked: Situation) -> Bound:
    size = whole(asked.case, "bytes")
    return _inside(asked, _pair_host(asked), 1, size, size)


def _one_way(asked: Situation) -> Bound:
    """A window one way and its acknowledgement the other; one core copies, or several in turn."""
    size, window = whole(asked.case, "bytes"), _window(asked.case)
    return _inside(asked, _pair_host(asked), 2 / window, size, _touched(asked.case))


def _both_ways(asked: Situation) -> Bound:
    """Two messages for each pair of them, and a core for either."""
    size, window = whole(asked.case, "bytes"), _window(asked.case)
    return _inside(asked, _pair_host(asked), 1 / window, size, _touched(asked.case))


def _routes(asked: Situation) -> Bound:
    """All that is sent at once, by as many cores as there are ranks that send or receive."""
    measurement = MEASUREMENTS[asked.case.benchmark]
    if not isinstance(measurement, Transfers):
        raise Unbounded("it does not tell who sends to whom")
    routes = measurement.routes(asked.case)
    ends = {rank for route in routes for rank in route}
    size = whole(asked.case, "bytes")
    return _inside(asked, _only_host(asked), 0, len(routes) / len(ends) * size, size)


def _collective(asked: Situation) -> Bound:
    """What the ranks must write, shared out over their cores."""
    measurement = MEASUREMENTS[asked.case.benchmark]
    part = measurement.work(asked.case).bytes_per_rank or 0
    ranks = len(asked.seats.hosts)
    operation = str(measurement.profile.operation)
    written = {
        "all-reduce": 1.0,
        "reduce": 1 / ranks,
        "reduce-scatter": 1.0,
        "all-gather": ranks - 1.0,
        "all-to-all": ranks - 1.0,
    }.get(operation, (ranks - 1) / ranks)
    # Where one rank is the root, the calls of the others may run ahead of each other.
    lines = 1 if operation in ("all-reduce", "reduce-scatter", "all-gather", "all-to-all") else 0
    return _inside(asked, _only_host(asked), lines, written * part, round(written * part))


def _no_data(asked: Situation) -> Bound:
    return _line(asked, _only_host(asked), 1)


def _sum(asked: Situation) -> Bound:
    """Each rank writes the sum, in whatever form it travelled."""
    size = whole(asked.case, "bytes")
    return _inside(asked, _only_host(asked), 1, size, size)


CEILINGS: dict[BoundRule, Rule] = {
    "ping-pong": _ping_pong,
    "one way": _one_way,
    "both ways": _both_ways,
    "routes": _routes,
    "collective": _collective,
    "no data": _no_data,
    "host copy": _host_copy,
    "kernel": _kernel,
    "product": _product,
    "split product": _split_product,
    "gradient sum": _sum,
    "training step": _step,
}
"""By the name that a benchmark declares; other rules have no ceiling that is measured."""
