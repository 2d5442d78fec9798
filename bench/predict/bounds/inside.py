"""Bounds of what stays inside a host: data through main memory, and arithmetic."""

from collections import Counter
from collections.abc import Mapping

from bench.core.records import Case
from bench.core.units import format_bytes, format_rate
from bench.measure import MEASUREMENTS
from bench.measure.axes import whole, word
from bench.predict.bounds.bound import Bound, Situation, memory_kind
from bench.predict.bounds.hardware import Rate, Unbounded
from bench.predict.hardware import ELEMENT_BYTES


def pass_memory(asked: Situation, host: str, footprint: int, operations: int = 1) -> Bound:
    """Data that caches cannot hold passes main memory.

    Of a footprint that is used again and again, caches keep what they can; the rest is moved every
    time. Below twice the caches that rest is too little to go by.
    """
    rate = asked.hardware.memory(host)
    caches = asked.hardware.cache_bytes(host)
    if footprint < 2 * caches:
        raise Unbounded("the data fits into twice the caches, which are faster than main memory")
    seconds = (footprint - caches) / operations / rate.value
    text = f"(bytes read and written - {format_bytes(caches)} of caches) / B, B = {rate.source}"
    return Bound(seconds, text, seconds)


def host_copy(asked: Situation) -> Bound:
    """Copies inside ranks: each byte read and written once."""
    case = asked.case
    if memory_kind(case) != "host":
        raise Unbounded("no fact states the bandwidth of this memory")
    return _crowded(asked, 2 * whole(case, "bytes"))


def kernel(asked: Situation) -> Bound:
    """Kernels over arrays: what they move is their footprint."""
    work = MEASUREMENTS[asked.case.benchmark].work(asked.case)
    return _crowded(asked, work.bytes_per_rank or 0)


def _crowded(asked: Situation, each: int) -> Bound:
    """Every rank of a host uses its memory at once; the fullest host bounds the slowest rank."""
    host, ranks = Counter(asked.seats.hosts).most_common(1)[0]
    return pass_memory(asked, host, each * ranks)


def device_copy(asked: Situation) -> Bound:
    """Copies between host and GPU: over the fastest PCIe link of the GPUs of a host."""
    case = asked.case
    target = case.axes.get("dst_memory", "same")
    kinds = {memory_kind(case), memory_kind(case) if target == "same" else target}
    if kinds == {"device"}:
        raise Unbounded("no fact states what the caches of a GPU hold, which are faster")
    if "device" not in kinds:
        raise Unbounded("no fact states the bandwidth of this memory")
    best = [
        max(asked.hardware.slots(host), key=_value) for host in dict.fromkeys(asked.seats.hosts)
    ]
    slot = max(best, key=_value)
    seconds = whole(case, "bytes") / slot.value
    return Bound(seconds, f"bytes / B, B = {slot.source}", seconds)


def _value(rate: Rate) -> float:
    return rate.value


def product(asked: Situation) -> Bound:
    """Arithmetic alone, at the highest rate of all cores or GPUs of the fullest host.

    On a GPU also what must pass its memory, so that the bound is the lower roof: the peak, or
    intensity times bandwidth.
    """
    host, ranks = Counter(asked.seats.hosts).most_common(1)[0]
    arithmetics = arithmetic(asked, {host: ranks}, ranks * flop_of(asked.case))
    if memory_kind(asked.case) != "device":
        return arithmetics
    try:
        traffic = _gpu_traffic(asked, host, ranks)
    except Unbounded:
        return arithmetics
    return max(arithmetics, traffic, key=lambda bound: bound.seconds or 0.0)


_ELEMENT_BYTES = {**ELEMENT_BYTES, "tf32": 4}


def _gpu_traffic(asked: Situation, host: str, ranks: int) -> Bound:
    """Factors read once and the product written once, but for what the L2 cache may keep."""
    case, sets, cache = asked.case, asked.seats.sets, asked.seats.gpu_cache_bytes
    if sets is None or cache is None:
        raise Unbounded("the L2 cache of its GPU is not known before it has run")
    m, n, k = (whole(case, axis) for axis in ("batch", "n", "k"))
    matrices = (m * k + k * n + m * n) * _ELEMENT_BYTES[word(case, "dtype")]
    if sets * matrices < 2 * cache:
        raise Unbounded("the matrices fit into twice the L2 cache, which is faster than memory")
    best = sorted(asked.hardware.gpu_memories(host), key=lambda gpu: -gpu.value)[:ranks]
    rate = sum(gpu.value for gpu in best)
    text = (
        f"(bytes of the matrices - {format_bytes(cache)} of L2 / {sets} sets) / B, "
        f"B = {best[0].source}"
    )
    return Bound(ranks * (matrices - cache / sets) / rate, text, ranks * matrices / rate)


def flop_of(case: Case) -> int:
    """Return the FLOP of one product."""
    return 2 * whole(case, "batch") * whole(case, "n") * whole(case, "k")


def arithmetic(
    asked: Situation, ranks_on: Mapping[str, int], flop: int, dtype: str | None = None
) -> Bound:
    """Return the bound of FLOP shared out in the best way over the ranks of hosts."""
    dtype, on_host = dtype or word(asked.case, "dtype"), memory_kind(asked.case) == "host"
    rate, what = 0.0, ""
    for host, ranks in ranks_on.items():
        if on_host:
            core, cores = asked.hardware.core(host, dtype), count_cores(asked, host, ranks)
            rate += cores * core.value
            what = f"{cores} core{'s' if cores > 1 else ''} x {core.source}"
        else:
            best = sorted(asked.hardware.gpus(host, dtype), key=lambda gpu: -gpu.value)[:ranks]
            rate += sum(gpu.value for gpu in best)
            what = best[0].source
    several = f" on each of {len(ranks_on)} hosts" if len(ranks_on) > 1 else ""
    seconds = flop / rate
    return Bound(seconds, f"FLOP / {format_rate(rate, 'FLOP/s')}: {what}{several}", seconds)


def count_cores(asked: Situation, host: str, ranks: int) -> int:
    """Return the cores that can compute for the ranks of a host, at most."""
    seats = asked.seats
    known = asked.hardware.facts(host).cpu.cores
    most = [known] if known else []
    most += [seats.cores[host]] if host in seats.cores else []
    most += [ranks * seats.threads] if seats.threads else []
    if not most:
        raise Unbounded("the number of cores is not known")
    return min(most)
